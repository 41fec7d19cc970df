"""Damaged ONNX files: bytes flipped, cut and copied, and messages changed field by field."""

from __future__ import annotations

import random

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper
from onnx_networks import model_of

NUMBERS = (-(2**63), -(2**31), -7, -2, -1, 0, 1, 2, 3, 5, 7, 16, 100, 10**6, 2**31 - 1, 2**31, 2**40, 2**63 - 1)
TEXTS = ("", "x", "y", "c1", "s", "NOTSET", "SAME_UPPER", "pads", "axis", "Add", "Reshape", "a\nb", "\x00", "é" * 50)


def network():
    """A small classifier with convolutions, sums, reshapes by shapes, resizing, padding, splitting."""
    draw = np.random.default_rng(0)
    constants = {
        "w1": draw.normal(size=(4, 3, 3, 3)), "b1": draw.normal(size=4), "scale": draw.uniform(0.5, 1.5, 4),
        "shift": draw.normal(size=4), "mean": draw.normal(size=4), "var": draw.uniform(0.5, 1.5, 4),
        "w3": draw.normal(size=(2, 8)), "b3": draw.normal(size=2),
    }  # fmt: skip
    constants = {name: value.astype(np.float32) for name, value in constants.items()}
    whole = {"first": [0], "rest": [-1], "twice": [1, 2], "pads": [0, 0, 1, 1, 0, 0, 1, 1], "from": [0], "to": [4],
             "third": [2], "steps": [1], "copies": [1, 1, 1, 1], "one": [1]}  # fmt: skip
    constants |= {name: np.array(value, np.int64) for name, value in whole.items()}
    constants |= {"factors": np.array([1, 1, 2, 2], np.float32), "six": np.float32(6), "zero": np.float32(0)}
    constants |= {"q": np.array([3, -4, 5, 6], np.int8), "qs": np.float32(0.1)}
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "qs"], ["d"]),
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c1", "scale", "shift", "mean", "var"], ["n1"]),
        helper.make_node("Clip", ["n1", "zero", "six"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_UPPER"),
        helper.make_node("Resize", ["p1", "", "factors"], ["u1"], mode="nearest"),
        helper.make_node("AveragePool", ["u1"], ["a1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Pad", ["a1", "pads"], ["e1"]),
        helper.make_node("Slice", ["e1", "from", "to", "third", "steps"], ["s1"]),
        helper.make_node("Tile", ["s1", "copies"], ["t1"]),
        helper.make_node("Expand", ["t1", "one"], ["x1"]),
        helper.make_node("Transpose", ["x1"], ["o1"], perm=[0, 1, 3, 2]),
        helper.make_node("Split", ["o1"], ["h1", "h2"], axis=1),
        helper.make_node("Concat", ["h1", "h2"], ["k1"], axis=1),
        helper.make_node("ReduceMean", ["k1"], ["m1"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["m1", "d"], ["m2"]),
        helper.make_node("Shape", ["m2"], ["sh"]),
        helper.make_node("Gather", ["sh", "first"], ["batch"]),
        helper.make_node("ConstantOfShape", ["sh"], ["ones"],
                         value=numpy_helper.from_array(np.array([1], np.float32))),
        helper.make_node("Concat", ["m2", "ones"], ["wide"], axis=1),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["wide", "target"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["g"], transB=1),
        helper.make_node("Softmax", ["g"], ["y"], axis=1),
    ]  # fmt: skip
    return model_of(nodes, constants, opset=13, shape=(1, 3, 8, 8))


def damaged(content: bytes, seed: int) -> bytes:
    """One damaged copy; the same seed gives the same damage."""
    draw = random.Random(seed)
    if seed % 4 == 0:
        return _bytes(content, draw)
    model = onnx.ModelProto.FromString(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        _field(model, draw)
    return model.SerializeToString()


def _bytes(content: bytes, draw: random.Random) -> bytes:
    made = bytearray(content)
    for _ in range(draw.choice((1, 2, 8))):
        place = draw.randrange(len(made))
        how = draw.randrange(4)
        if how == 0:
            made[place] ^= 1 << draw.randrange(8)
        elif how == 1:
            made[place] = draw.randrange(256)
        elif how == 2:
            del made[place : place + draw.randrange(1, 20)]
        else:
            made[place:place] = made[place : place + draw.randrange(1, 20)]
    return bytes(made)


def _field(model: Message, draw: random.Random) -> None:
    """Change one field of a message chosen at random, anywhere below."""
    message = model.graph if draw.random() < 0.95 else model
    while True:
        inner = [
            part
            for field, value in message.ListFields()
            if field.message_type is not None
            for part in (value if hasattr(value, "add") else [value])
        ]
        if not inner or (message is not model.graph and draw.random() < 0.3):
            break
        message = draw.choice(inner)
    if not message.ListFields():
        return
    field, value = draw.choice(message.ListFields())
    repeated = hasattr(value, "append") or hasattr(value, "add")
    if draw.random() < 0.15:
        message.ClearField(field.name)
    elif repeated:
        _list(value, field, draw)
    elif field.message_type is None:
        setattr(message, field.name, _scalar(field, value, draw))


def _list(items, field, draw) -> None:
    place, how = draw.randrange(len(items)), draw.randrange(4)
    if how == 0:
        del items[place]
    elif how == 1 and field.message_type is None:
        items.append(_scalar(field, items[place], draw))
    elif how == 1:
        items.add().CopyFrom(items[place])
    elif field.message_type is None:
        items[place] = _scalar(field, items[place], draw)
    else:
        other = draw.randrange(len(items))
        kept = type(items[place])()
        kept.CopyFrom(items[place])
        items[place].CopyFrom(items[other])
        items[other].CopyFrom(kept)


def _scalar(field, value, draw):
    if isinstance(value, str):
        return draw.choice(TEXTS)
    if isinstance(value, bytes):
        return draw.choice(
            (b"", value[:-1], value + b"\x00", value[::-1], b"\xff" * len(value), b"SAME_LOWER", b"linear")
        )
    if isinstance(value, float):
        return draw.choice((0.0, -1.0, 1e30, float("nan"), float("inf"), 1e-30))
    if field.enum_type is not None:
        return draw.choice(field.enum_type.values).number
    if field.name == "data_type":
        return draw.choice((0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 13, TensorProto.BFLOAT16, 17))
    limit = 2**31 - 1 if field.cpp_type in {1, 3} else 2**63 - 1
    return max(min(draw.choice(NUMBERS), limit), -limit - 1 if field.cpp_type in {1, 2} else 0)
