"""From a prototxt to the layers of its TEST network, with their blobs resolved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from .._loaded import ModelError
from ._schema import ENUMS
from ._text import Text

TEST = ENUMS["Phase"]["TEST"]

DATA = frozenset(
    {"Input", "Data", "ImageData", "MemoryData", "DummyData", "HDF5Data", "WindowData", "AnnotatedData"}
)  # fmt: skip
"""Layers that bring pictures (first top) and labels (the others)."""

NOT_COMPUTED = frozenset(
    {"Accuracy", "Silence", "HDF5Output", "SoftmaxWithLoss", "EuclideanLoss", "HingeLoss", "InfogainLoss"}
    | {"SigmoidCrossEntropyLoss", "MultinomialLogisticLoss", "ContrastiveLoss"}
)
"""Layers that a trained network is judged by: nothing of them is left in a network that is explained."""

_OLD = {
    "ABSVAL": "AbsVal", "ARGMAX": "ArgMax", "BNLL": "BNLL", "ELTWISE": "Eltwise", "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output", "IM2COL": "Im2col", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN", "MVN": "MVN",
    "RELU": "ReLU", "SOFTMAX_LOSS": "SoftmaxWithLoss", "TANH": "TanH",
}  # fmt: skip

MAX_COUNT = 1 << 28
"""Numbers in one blob of one image: a gigabyte in single precision."""


@dataclass(frozen=True)
class Shared:
    """A parameter with a name, which all layers that use the name share."""

    name: str
    strict: bool


@dataclass(frozen=True)
class Layer:
    """One layer of the network.

    Attributes:
        name: Caffe's.
        kind: its type, in the new dialect's words.
        message: its options.
        where: what to call it in messages.
        inputs: numbers of the blobs it takes in. A blob changed in place gets a new number.
        outputs: numbers of the blobs it makes.
        tops: the names of those.
        params: names of its parameters, in order; `None` where it has its own.
        batch: how many images the prototxt speaks of.
    """

    name: str
    kind: str
    message: Any
    where: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    tops: tuple[str, ...]
    params: tuple[Shared | None, ...]
    batch: int

    def fail(self, reason: str) -> NoReturn:
        """Refuse this layer."""
        raise ModelError(f"{self.where}: {reason}")


@dataclass(frozen=True)
class Plan:
    """The network to build.

    Attributes:
        name: the prototxt's.
        shape: of the input, without images.
        layers: in the order they run.
        outputs: blobs by name that no layer takes in.
        source: the layer that reads the pictures, `None` if the prototxt declares its input.
    """

    name: str
    shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    outputs: dict[str, int]
    source: Any


@dataclass(frozen=True)
class _Declared:
    """One blob that comes from outside."""

    name: str
    shape: tuple[int, ...] | None
    where: str
    source: Any


def make_plan(text: Text) -> Plan:
    """Choose the layers of the TEST network and follow their blobs.

    Raises:
        ModelError: no input, no layers, a blob that nothing makes (or that only a later layer makes), a name that is
            made twice.
    """
    layers = [item for item in _layers(text) if _included(item.message, text.net)]
    declared = [*_declared(text), *(blob for item in layers if item.kind in DATA for blob in _data(item))]
    if not declared:
        raise ModelError(f"prototxt {text.path} has no input: neither `input` nor an Input or data layer.")
    chosen = next((blob for blob in declared if blob.shape is not None and len(blob.shape) > 2), declared[0])
    batch, *shape = _checked(chosen)
    blobs = {blob.name: -1 for blob in declared} | {chosen.name: 0}
    if len(blobs) != len(declared):
        raise ModelError(f"prototxt {text.path}: two inputs have one name, among {[blob.name for blob in declared]}.")
    gone: dict[str, str] = {}
    planned: list[Layer] = []
    used: set[int] = set()
    count = 1
    for item in layers:
        if item.kind in DATA:
            continue
        if item.kind in NOT_COMPUTED:
            gone |= {top: item.where for top in item.message.top if top not in blobs}
            if item.kind == "Silence":
                used |= {blobs[name] for name in item.message.bottom if name in blobs}
            continue
        inputs = tuple(_find(item, name, blobs, gone, layers) for name in item.message.bottom)
        tops = tuple(item.message.top)
        if not tops:
            item.fail("it has no top.")
        for place, top in enumerate(tops):
            in_place = item.message.bottom[place : place + 1] == [top]
            if (top in blobs and not in_place) or tops.count(top) > 1:
                item.fail(f"its top {top!r} is already made by another layer; give it another name.")
        outputs = tuple(range(count, count + len(tops)))
        count += len(tops)
        blobs |= dict(zip(tops, outputs, strict=True))
        used |= set(inputs)
        planned.append(Layer(item.name, item.kind, item.message, item.where, inputs, outputs, tops, item.params, batch))
    results = {name: number for name, number in blobs.items() if number > 0 and number not in used}
    if not results:
        raise ModelError(f"prototxt {text.path} holds no layer of a TEST network whose result is an output.")
    return Plan(text.net.name, tuple(shape), tuple(planned), results, chosen.source)


@dataclass(frozen=True)
class _Item:
    """A layer as written."""

    name: str
    kind: str
    message: Any
    where: str
    params: tuple[Shared | None, ...]

    def fail(self, reason: str) -> NoReturn:
        raise ModelError(f"{self.where}: {reason}")


def _layers(text: Text) -> list[_Item]:
    items = []
    for message, line in zip([*text.net.layer, *text.net.layers], text.lines, strict=True):
        old = message.DESCRIPTOR.name == "OldLayer"
        if old and message.HasField("layer"):
            raise ModelError(
                f"prototxt {text.path}, line {line}: layers inside `layers` are Caffe's dialect before 2014; convert"
                " the file with Caffe's upgrade_net_proto_text."
            )
        kind = _new_type(message.type) if old else message.type
        at = f", line {line}" if line else ""
        where = f"layer {message.name!r} ({kind or 'no type'}{at} of {text.path.name})"
        params = _old_params(message) if old else tuple(
            Shared(param.name, param.share_mode == ENUMS["ShareMode"]["STRICT"]) if param.name else None
            for param in message.param
        )  # fmt: skip
        items.append(_Item(message.name, kind, message, where, params))
    return items


def _new_type(number: int) -> str:
    name = next(name for name, value in ENUMS["OldType"].items() if value == number)
    return _OLD.get(name) or "".join(part.capitalize() for part in name.split("_"))


def _old_params(message: Any) -> tuple[Shared | None, ...]:
    modes = [*message.blob_share_mode, *(ENUMS["ShareMode"]["STRICT"],) * len(message.param)]
    return tuple(
        Shared(name, mode == ENUMS["ShareMode"]["STRICT"]) if name else None
        for name, mode in zip(message.param, modes, strict=False)
    )


def _included(message: Any, net: Any) -> bool:
    """Caffe's rules: without `include` rules a layer is in unless excluded, with them only if one is met."""
    if message.include and message.exclude:
        raise ModelError(f"layer {message.name!r} has both include and exclude rules; give one kind.")
    if message.include:
        return any(_met(rule, net.state) for rule in message.include)
    return not any(_met(rule, net.state) for rule in message.exclude)


def _met(rule: Any, state: Any) -> bool:
    return (
        (not rule.HasField("phase") or rule.phase == TEST)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and set(rule.stage) <= set(state.stage)
        and not set(rule.not_stage) & set(state.stage)
    )


def _find(item: _Item, name: str, blobs: dict[str, int], gone: dict[str, str], layers: Sequence[_Item]) -> int:
    number = blobs.get(name)
    if number == -1:
        item.fail(f"it takes in {name!r}, which a picture does not give; only networks of one picture are read.")
    if number is not None:
        return number
    if name in gone:
        item.fail(f"it takes in {name!r} of {gone[name]}, which is not computed here.")
    later = next((other for other in layers if name in other.message.top), None)
    reason = "which nothing makes."
    if later is not None:
        reason = f"which only {later.where} makes, at or after it; layers run in file order."
    raise ModelError(f"{item.where}: it takes in {name!r}, {reason}")


# Inputs --------------------------------------------------------------------------------------------------------------


def _declared(text: Text) -> list[_Declared]:
    net, names = text.net, list(text.net.input)
    where = f"prototxt {text.path}"
    if net.input_dim and net.input_shape:
        raise ModelError(f"{where} gives both input_dim and input_shape; give one of them.")
    shapes = [tuple(shape.dim) for shape in net.input_shape]
    if net.input_dim:
        shapes = [tuple(net.input_dim[i : i + 4]) for i in range(0, len(net.input_dim), 4)]
    if len(shapes) != len(names) or (shapes and net.input_dim and len(shapes[-1]) != 4):
        raise ModelError(
            f"{where} names {len(names)} inputs and gives {len(shapes)} sizes; each input needs one input_shape or"
            " four input_dim."
        )
    return [_Declared(name, shape, where, None) for name, shape in zip(names, shapes, strict=True)]


def _data(item: _Item) -> list[_Declared]:
    """The blobs of a data layer: the picture first; labels have no use here, so no size."""
    tops = list(item.message.top)
    if not tops:
        item.fail("it has no top.")
    if item.kind == "Input":
        shapes = [tuple(shape.dim) for shape in item.message.input_param.shape]
        if len(shapes) not in {1, len(tops)}:
            item.fail(f"it has {len(tops)} tops and {len(shapes)} shapes; give one for all, or one each.")
        sizes: list[tuple[int, ...] | None] = [*shapes * (len(tops) if len(shapes) == 1 else 1)]
    else:
        sizes = [_data_size(item), *(None,) * (len(tops) - 1)]
    return [_Declared(top, size, item.where, item.message) for top, size in zip(tops, sizes, strict=True)]


def _data_size(item: _Item) -> tuple[int, ...] | None:
    message = item.message
    if item.kind == "DummyData":
        options = message.dummy_data_param
        if options.shape:
            return tuple(options.shape[0].dim)
        old = (options.num, options.channels, options.height, options.width)
        return tuple(part[0] for part in old) if all(old) else None
    crop = message.transform_param.crop_size or message.data_param.crop_size or message.image_data_param.crop_size
    memory, images = message.memory_data_param, message.image_data_param
    gray = message.transform_param.force_gray or (item.kind == "ImageData" and not images.is_color)
    channels = memory.channels or (1 if gray else 3)
    height, width = (crop, crop) if crop else (memory.height or images.new_height, memory.width or images.new_width)
    return (1, channels, height, width) if height and width else None


def _checked(blob: _Declared) -> tuple[int, ...]:
    if blob.shape is None:
        raise ModelError(
            f"{blob.where} does not say how large the pictures in {blob.name!r} are; give crop_size, or use the"
            " network's deploy.prototxt."
        )
    if len(blob.shape) < 2 or min(blob.shape) < 1 or math.prod(blob.shape[1:]) > MAX_COUNT:
        raise ModelError(
            f"{blob.where} gives input {blob.name!r} the size {' x '.join(map(str, blob.shape)) or 'of nothing'};"
            f" images, channels and space are expected, each at least 1, at most {MAX_COUNT} numbers an image."
        )
    return blob.shape
