"""Every operator of the table against ONNX's own reference evaluator, which is written in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="onnx is not installed", exc_type=ImportError)

from onnx import TensorProto, helper, numpy_helper
from onnx_networks import PICTURES, agree, expected, loaded, model_of, node
from tests.conftest import document

from excitation.models.onnx._call import OPERATORS

draw = np.random.default_rng(2)


def f4(*shape):
    return draw.normal(size=shape).astype(np.float32)


def i8(*numbers):
    return np.array(numbers, np.int64)


CASES: dict[str, tuple] = {}
"""Name: operator, opset, constants (inputs after the pictures, by name), attributes."""


def case(name, kind, opset, constants=None, **attributes):
    assert name not in CASES
    CASES[name] = (kind, opset, constants or {}, attributes)


for kind in ("Relu", "Sigmoid", "HardSwish", "Softplus", "Softsign", "Tanh", "Erf", "Abs", "Exp", "Neg", "Floor",
             "Ceil", "Sign", "Sin", "Cos", "Identity", "LeakyRelu", "Elu", "Selu", "HardSigmoid",
             "ThresholdedRelu", "Softmax", "LogSoftmax", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Transpose",
             "Dropout", "Reciprocal", "Round"):  # fmt: skip
    case(kind, kind, 15)
case("Mish", "Mish", 18)
case("Celu", "Celu", 12, alpha=0.7)
case("Gelu", "Gelu", 20)
case("Gelu tanh", "Gelu", 20, approximate="tanh")
case("LeakyRelu slope", "LeakyRelu", 7, alpha=0.3)
case("Elu alpha", "Elu", 7, alpha=0.5)
case("Selu settings", "Selu", 7, alpha=1.1, gamma=0.9)
case("HardSigmoid sixth", "HardSigmoid", 7, alpha=1 / 6, beta=0.5)
case("PRelu channels", "PRelu", 9, {"s": f4(3, 1, 1)})
case("PRelu one", "PRelu", 9, {"s": f4(1)})
case("PRelu places", "PRelu", 9, {"s": f4(3, 8, 10)})
case("Clip attributes", "Clip", 7, min=-0.5, max=0.25)
case("Clip inputs", "Clip", 13, {"a": np.float32(0), "b": np.float32(6)})
case("Clip below", "Clip", 11, {"a": np.float32(0)})
case("Softmax axis", "Softmax", 13, axis=1)
case("Conv", "Conv", 11, {"w": f4(4, 3, 3, 3), "b": f4(4)}, pads=[1, 1, 1, 1], strides=[2, 1])
case("Conv groups", "Conv", 11, {"w": f4(6, 1, 3, 2)}, group=3, dilations=[2, 1])
case("Conv sides", "Conv", 11, {"w": f4(4, 3, 3, 3), "b": f4(4)}, pads=[0, 1, 2, 0])
for how in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    case(f"Conv {how}", "Conv", 11, {"w": f4(4, 3, 2, 3)}, auto_pad=how, strides=[2, 2])
case("ConvTranspose", "ConvTranspose", 11, {"w": f4(3, 4, 3, 3), "b": f4(4)}, strides=[2, 2], pads=[1, 1, 1, 1],
     output_padding=[1, 1])  # fmt: skip
case("ConvTranspose sides", "ConvTranspose", 11, {"w": f4(3, 4, 3, 3), "b": f4(4)}, strides=[2, 2], pads=[0, 1, 1, 0])
case("BatchNormalization 15", "BatchNormalization", 15, {"s": f4(3), "b": f4(3), "m": f4(3), "v": abs(f4(3)) + 0.1},
     epsilon=0.01)  # fmt: skip
case("InstanceNormalization", "InstanceNormalization", 7, {"s": f4(3), "b": f4(3)}, epsilon=0.01)
case("LayerNormalization", "LayerNormalization", 17, {"s": f4(10), "b": f4(10)}, epsilon=0.01)
case("LayerNormalization axes", "LayerNormalization", 17, {"s": f4(8, 10)}, axis=2)
case("GroupNormalization", "GroupNormalization", 21, {"s": f4(3), "b": f4(3)}, num_groups=3)
case("LRN odd", "LRN", 13, size=3, alpha=0.5, beta=0.6, bias=1.2)
case("LRN even", "LRN", 13, size=2, alpha=0.5, beta=0.6, bias=1.2)
case("LpNormalization", "LpNormalization", 7, axis=1)
for name in ("MaxPool", "AveragePool"):
    case(f"{name}", name, 12, kernel_shape=[3, 2], strides=[2, 1])
    case(f"{name} pads", name, 12, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    case(f"{name} sides", name, 12, kernel_shape=[3, 3], pads=[0, 1, 2, 0], strides=[2, 2])
    case(f"{name} same", name, 12, kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2])
    case(f"{name} ceil", name, 12, kernel_shape=[3, 3], ceil_mode=1, strides=[2, 2])
case("MaxPool dilated", "MaxPool", 12, kernel_shape=[2, 2], dilations=[2, 3])
case("AveragePool include", "AveragePool", 12, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
case("AveragePool include sides", "AveragePool", 12, kernel_shape=[3, 3], pads=[0, 1, 2, 0], count_include_pad=1)
for name in ("Mean", "Sum", "Max", "Min", "L1", "L2", "Prod", "SumSquare"):
    old = 12 if name == "Sum" else 13
    case(f"Reduce{name} attribute", f"Reduce{name}", old, axes=[2, -1], keepdims=0)
    case(f"Reduce{name} input", f"Reduce{name}", 18, {"a": i8(-1, 1)})
case("ReduceSum nothing", "ReduceSum", 13, noop_with_empty_axes=1)
for name in ("Add", "Sub", "Mul", "Div"):
    case(f"{name} number", name, 14, {"c": np.float32(1.7)})
    case(f"{name} channels", name, 7, {"c": f4(3, 1, 1) + 4})
case("Pow", "Pow", 13, {"c": np.float32(3)})
case("Mod", "Mod", 13, {"c": np.float32(0.7)}, fmod=1)
for name in ("Max", "Min"):
    case(f"{name} tensors", name, 13, {"c": f4(3, 1, 1), "d": f4(10)})
    case(f"{name} number", name, 13, {"c": np.float32(0.2)})
case("Sum", "Sum", 13, {"c": f4(3, 1, 1), "d": f4(10)})
case("Mean", "Mean", 13, {"c": f4(3, 1, 1), "d": f4(10)})
case("Concat", "Concat", 13, {"c": f4(3, 3, 8, 2)}, axis=-1)
case("Slice", "Slice", 13, {"s": i8(1, -7), "e": i8(1000, -1), "a": i8(2, 3), "t": i8(2, 1)})
case("Slice backwards", "Slice", 13, {"s": i8(-1, 8), "e": i8(-(2**63), 1), "a": i8(2, 3), "t": i8(-1, -3)})
case("Slice attributes", "Slice", 9, starts=[1, 0], ends=[3, -2], axes=[1, 3])
case("Gather", "Gather", 13, {"i": i8(2, -3, 1)}, axis=1)
case("Gather one", "Gather", 13, {"i": np.int64(-2)}, axis=2)
case("Gather table", "Gather", 13, {"i": i8(0, 2, 1, 1).reshape(2, 2)}, axis=1)
case("Reshape", "Reshape", 13, {"s": i8(0, -1, 5)})
case("Reshape flat", "Reshape", 13, {"s": i8(-1, 240)})
case("Flatten axis", "Flatten", 13, axis=2)
case("Transpose order", "Transpose", 13, perm=[0, 2, 3, 1])
case("Unsqueeze", "Unsqueeze", 13, {"a": i8(-1, 1)})
case("Unsqueeze attribute", "Unsqueeze", 11, axes=[0, 3])
case("Expand", "Expand", 13, {"s": i8(2, 1, 3, 8, 10)})
case("Tile", "Tile", 13, {"r": i8(1, 2, 1, 3)})
case("Pad 2", "Pad", 7, pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5)
case("Pad", "Pad", 13, {"p": i8(0, 1, 1, 2, 0, 0, 2, 1), "v": np.float32(2)})
case("Pad axes", "Pad", 18, {"p": i8(1, 0, 2, 3), "v": np.float32(0), "a": i8(3, -2)})
case("Pad reflect", "Pad", 13, {"p": i8(0, 0, 1, 2, 0, 0, 2, 1)}, mode="reflect")
case("Pad edge", "Pad", 13, {"p": i8(0, 0, 1, 2, 0, 0, 2, 1)}, mode="edge")
case("DepthToSpace", "DepthToSpace", 13, blocksize=1)
case("SpaceToDepth", "SpaceToDepth", 13, blocksize=2)
case("Cast there and back", "Cast", 13, to=TensorProto.FLOAT16)
case("MatMul", "MatMul", 13, {"w": f4(10, 4)})
case("MatMul many", "MatMul", 13, {"w": f4(3, 10, 4)})
case("Einsum", "Einsum", 12, {"w": f4(3, 5)}, equation="nchw,cd->ndhw")
case("ArgMax", "ArgMax", 13, axis=1)
case("ArgMin", "ArgMin", 13, axis=-1, keepdims=0)


@pytest.mark.parametrize("name", CASES)
def test_an_operator(name, tmp_path):
    kind, opset, constants, attributes = CASES[name]
    pictures = np.concatenate([PICTURES, PICTURES[:1] + 1])
    model = model_of([node(kind, "x", *constants, **attributes)], constants, opset=opset, shape=pictures.shape)
    agree(model, tmp_path / "m.onnx", pictures, 1e-3 if name.startswith("Cast") else 1e-5)


@pytest.mark.parametrize("name", ["Sqrt", "Log"])
def test_functions_of_positive_numbers(name, tmp_path):
    agree(model_of([node(name, "x")]), tmp_path / "m.onnx", abs(PICTURES) + 0.1)


RESIZES = {
    "twice": (
        [1, 1, 2, 2], {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    "half pixel": ([1, 1, 1.7, 0.6], {"mode": "nearest"}),
    "ceil": ([1, 1, 1.7, 0.6], {"mode": "nearest", "nearest_mode": "ceil"}),
    "prefer ceil": ([1, 1, 1.5, 2.5], {"mode": "nearest", "nearest_mode": "round_prefer_ceil"}),
    "corners nearest": ([1, 1, 2, 3], {"mode": "nearest", "coordinate_transformation_mode": "align_corners"}),
    "linear": ([1, 1, 2, 0.5], {"mode": "linear"}),
    "linear odd": ([1, 1, 1.7, 0.6], {"mode": "linear"}),
    "linear corners": ([1, 1, 2, 3], {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    "linear asymmetric": ([1, 1, 2, 1.3], {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}),
    "linear pytorch": ([1, 1, 2, 0.5], {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}),
    "linear symmetric": (
        [1, 1, 1.7, 0.6], {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"}),
    "channels": ([1, 2, 1, 1], {"mode": "nearest"}),
}  # fmt: skip


@pytest.mark.parametrize("name", RESIZES)
def test_resize_by_factors(name, tmp_path):
    scales, attributes = RESIZES[name]
    made = helper.make_node("Resize", ["x", "", "s"], ["y"], **attributes)
    agree(model_of([made], {"s": np.array(scales, np.float32)}, opset=19), tmp_path / "m.onnx")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_to_sizes(mode, tmp_path):
    made = helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode=mode)
    agree(model_of([made], {"s": i8(2, 3, 5, 21)}, opset=13, shape=PICTURES.shape), tmp_path / "m.onnx")
    made = helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode=mode, axes=[3, 2])
    agree(model_of([made], {"s": i8(21, 5)}, opset=18), tmp_path / "m.onnx")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("kind", "opset"), [("Upsample", 7), ("Upsample", 9), ("Resize", 10)])
def test_the_older_resizes_count_places_from_the_first_corner(kind, opset, mode, tmp_path):
    scales = [1.0, 1.0, 2.0, 3.0]
    constants = {} if opset == 7 else {"s": np.array(scales, np.float32)}
    more = {"scales": scales} if opset == 7 else {}
    net = loaded(
        model_of([node(kind, "x", *constants, mode=mode, **more)], constants, opset=opset), tmp_path / "m.onnx"
    )
    attributes = {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    made = helper.make_node("Resize", ["x", "", "s"], ["y"], **attributes)
    wanted = expected(model_of([made], {"s": np.array(scales, np.float32)}, opset=13))
    np.testing.assert_allclose(net(torch.from_numpy(PICTURES)).detach().numpy(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"alpha": 0.5, "beta": 2.0}, {"transB": 1}])
@pytest.mark.parametrize("bias", ["none", "one", "row"])
def test_gemm(settings, bias, tmp_path):
    weight = f4(4, 3) if settings.get("transB") else f4(3, 4)
    constants = {"w": weight} | ({} if bias == "none" else {"b": f4(1 if bias == "one" else 4)})
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["g"]), helper.make_node("Flatten", ["g"], ["f"]),
        node("Gemm", "f", *constants, **settings),
    ]  # fmt: skip
    agree(model_of(nodes, constants, opset=13), tmp_path / "m.onnx")


def test_group_normalisation_before_opset_21_has_one_scale_a_group(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        node("GroupNormalization", "c", "s", "b", num_groups=2, epsilon=0.01),
    ]
    constants = {"w": f4(6, 3, 1, 1), "s": f4(2), "b": f4(2)}
    net = loaded(model_of(nodes, constants, opset=18), tmp_path / "m.onnx")
    x = torch.from_numpy(PICTURES)
    convolved = torch.nn.functional.conv2d(x, torch.from_numpy(constants["w"])).reshape(2, 2, -1)
    normal = (convolved - convolved.mean(2, True)) / (convolved.var(2, unbiased=False, keepdim=True) + 0.01).sqrt()
    wanted = normal * torch.from_numpy(constants["s"])[:, None] + torch.from_numpy(constants["b"])[:, None]
    torch.testing.assert_close(net(x), wanted.reshape(2, 6, 8, 10), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode, tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), node("DepthToSpace", "c", blocksize=2, mode=mode)]
    agree(model_of(nodes, {"w": f4(8, 3, 1, 1)}, opset=13), tmp_path / "m.onnx")


@pytest.mark.parametrize(("opset", "sizes"), [(11, "attribute"), (13, "input"), (13, "equal"), (18, "number")])
def test_split(opset, sizes, tmp_path):
    constants = {"s": i8(2, 3, 5)} if sizes == "input" else {}
    attributes = {"split": [2, 3, 5]} if sizes == "attribute" else {"num_outputs": 3} if sizes == "number" else {}
    count = 2 if sizes == "equal" else 3
    parts = [f"p{place}" for place in range(count)]
    nodes = [
        helper.make_node("Split", ["x", *constants], parts, axis=3, **attributes),
        node("Concat", *parts[::-1], axis=3),
    ]
    agree(model_of(nodes, constants, opset=opset), tmp_path / "m.onnx")


@pytest.mark.parametrize(("opset", "axes"), [(11, "attribute"), (13, "input")])
def test_squeeze(opset, axes, tmp_path):
    constants = {"a": i8(-1, 2)} if axes == "input" else {}
    attributes = {"axes": [2, 3]} if axes == "attribute" else {}
    nodes = [helper.make_node("GlobalMaxPool", ["x"], ["g"]), node("Squeeze", "g", *constants, **attributes)]
    agree(model_of(nodes, constants, opset=opset), tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"])
def test_a_mask(kind, tmp_path):
    nodes = [
        helper.make_node(kind, ["x", "c"], ["m"]), helper.make_node("Not", ["m"], ["k"]),
        helper.make_node("And", ["m", "k"], ["none"]), helper.make_node("Or", ["m", "none"], ["o"]),
        helper.make_node("Xor", ["o", "none"], ["q"]), node("Where", "q", "x", "c"),
    ]  # fmt: skip
    agree(model_of(nodes, {"c": PICTURES[:1, :, :, :1]}, opset=16), tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", ["Div", "Mod"])
def test_whole_numbers_are_divided_towards_zero(kind, tmp_path):
    """Also the least number by -1, for which the processor would stop the program."""
    a, b = i8(7, -7, 7, -7, -(2**63)), i8(2, 2, -2, -2, -1)
    nodes = [
        helper.make_node(kind, ["a", "b"], ["c"]), helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("GlobalMaxPool", ["x"], ["g"]), node("Add", "g", "f"),
    ]  # fmt: skip
    net = loaded(model_of(nodes, {"a": a, "b": b}), tmp_path / "m.onnx")
    zero = torch.zeros(1, 3, 8, 10)
    wanted = [3.0, -3, -3, 3] if kind == "Div" else [1.0, 1, -1, -1]
    assert net(zero)[0, 0, 0].tolist() == [*wanted, -(2.0**63) if kind == "Div" else 0.0]


def test_shapes_are_computed_for_each_batch(tmp_path):
    """`view(x.size(0), -1)`, an expanded constant and a mask, as exporters write them."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "first"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["r"]),
        helper.make_node("Shape", ["r"], ["u"], start=1), helper.make_node("Cast", ["u"], ["v"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["v", "two"], ["h"]), helper.make_node("Cast", ["h"], ["hi"], to=TensorProto.INT64),
        helper.make_node("Concat", ["n1", "hi"], ["z"], axis=0),
        helper.make_node("ConstantOfShape", ["z"], ["ones"],
                         value=numpy_helper.from_array(np.array([1.5], np.float32))),
        helper.make_node("Size", ["s"], ["size"]), helper.make_node("Range", ["zero", "size", "one"], ["count"]),
        helper.make_node("ReduceSum", ["count"], ["six"], keepdims=0),
        helper.make_node("Cast", ["six"], ["weight"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ones", "weight"], ["w"]),
        node("Concat", "r", "w", axis=1),
    ]  # fmt: skip
    constants = {"zero": np.int64(0), "one": np.int64(1), "first": i8(0), "rest": i8(-1), "two": np.float32(2)}
    net = agree(model_of(nodes, constants), tmp_path / "m.onnx")
    assert net(torch.from_numpy(PICTURES[:1])).shape == (1, 360)
    assert [name for name, _ in net.named_children()] == ["r", "y"], "numbers of shapes are no layers"


# Where the reference evaluator departs from ONNX's text: the formula of that text, by hand ---------------------------

X = torch.from_numpy(PICTURES)


def ours(tmp_path, kind, opset, constants=None, **attributes):
    model = model_of([node(kind, "x", *(constants or {}), **attributes)], constants, opset=opset)
    with torch.no_grad():
        return loaded(model, tmp_path / "m.onnx")(X)


@pytest.mark.parametrize("opset", [7, 11])
@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_softmax_before_opset_13_is_over_all_axes_from_the_given_one_on(opset, axis, tmp_path):
    powers = X.double().exp()
    wanted = powers / powers.sum(tuple(range(axis % 4, 4)), keepdim=True)
    found = ours(tmp_path, "Softmax", opset, axis=axis)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-7)
    found = ours(tmp_path, "LogSoftmax", opset, axis=axis)
    torch.testing.assert_close(found.double(), wanted.log(), rtol=1e-5, atol=1e-5)


def test_batch_norm_before_opset_14(tmp_path):
    scale, bias, mean, variance = f4(3), f4(3), f4(3), abs(f4(3)) + 0.1
    found = ours(tmp_path, "BatchNormalization", 9, {"s": scale, "b": bias, "m": mean, "v": variance}, epsilon=0.5)
    s, b, m, v = (item[:, None, None] for item in (scale, bias, mean, variance))
    np.testing.assert_allclose(found.numpy(), (PICTURES - m) / np.sqrt(v + 0.5) * s + b, rtol=1e-5, atol=1e-5)


def test_a_norm_of_order_one_is_of_absolute_values(tmp_path):
    found = ours(tmp_path, "LpNormalization", 7, axis=-1, p=1)
    torch.testing.assert_close(found, X / X.abs().sum(-1, keepdim=True))


def scattered(weight, groups, strides, before, size):
    """A transposed convolution by its definition: every input neuron adds its kernel to the output."""
    whole = np.zeros((2, weight.shape[1] * groups, 60, 60))
    each, made = 3 // groups, weight.shape[1]
    for c in range(3):
        for i in range(8):
            for j in range(10):
                patch = PICTURES[:, c, i, j][:, None, None, None] * weight[c][None]
                top, left, first = i * strides[0], j * strides[1], c // each * made
                whole[:, first : first + made, top : top + weight.shape[2], left : left + weight.shape[3]] += patch
    return whole[:, :, before[0] : before[0] + size[0], before[1] : before[1] + size[1]]


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(
    ("attributes", "before", "size"),
    [
        ({}, (0, 0), (17, 21)),
        ({"pads": [1, 0, 0, 2]}, (1, 0), (16, 19)),
        ({"output_shape": [16, 20]}, (1, 1), (16, 20)),
        ({"output_shape": [16, 20], "auto_pad": "SAME_UPPER"}, (0, 0), (16, 20)),
        ({"auto_pad": "SAME_LOWER"}, (1, 1), (16, 20)),
    ],
)
def test_a_transposed_convolution(groups, attributes, before, size, tmp_path):
    weight = f4(3, 2, 3, 3)
    found = ours(tmp_path, "ConvTranspose", 11, {"w": weight}, group=groups, strides=[2, 2], **attributes)
    np.testing.assert_allclose(found, scattered(weight, groups, (2, 2), before, size), rtol=1e-4, atol=1e-4)


def test_negative_padding_cuts(tmp_path):
    found = ours(tmp_path, "Pad", 13, {"p": i8(0, 0, 0, 2, 0, 0, -3, -1)})
    torch.testing.assert_close(found, torch.nn.functional.pad(X[:, :, :5, :9], (2, 0)), rtol=0, atol=0)


def test_a_single_place_is_the_first_one_in_pytorchs_own_reckoning(tmp_path):
    settings = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}
    made = helper.make_node("Resize", ["x", "", "s"], ["y"], **settings)
    net = loaded(model_of([made], {"s": np.array([1, 1, 1, 0.1], np.float32)}, opset=13), tmp_path / "m.onnx")
    torch.testing.assert_close(net(X), X[..., :1])


def test_all_operators_are_tested():
    """A mistake in an operator that no test computes would go unseen."""
    elsewhere = {
        "Gemm", "Split", "Squeeze", "Resize", "Upsample", "Sqrt", "Log", "Equal", "Less", "Greater", "LessOrEqual",
        "GreaterOrEqual", "Not", "And", "Or", "Xor", "Where", "Shape", "Size", "ConstantOfShape", "Range",
        "DequantizeLinear", "QuantizeLinear", "CastLike",
    }  # fmt: skip
    assert set(OPERATORS) == elsewhere | {kind for kind, *_ in CASES.values()}


def test_the_documentation_lists_the_operators():
    text = document("models.md").read_text()
    listed = text.partition("## ONNX\n")[2].partition("these operators:\n")[2].partition("- **Layers**")[0]
    assert set(listed.replace(".", "").replace(",", " ").split()) == {*OPERATORS, "Constant"}
