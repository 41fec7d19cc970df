"""Inputs of a network: images, and labels, which are ignored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .._loaded import ModelError
from ._text import Text
from ._written import Item

DATA = frozenset(
    {"Input", "Data", "ImageData", "MemoryData", "DummyData", "HDF5Data", "WindowData", "AnnotatedData"}
)  # fmt: skip
"""Layers that read images (first top) and labels (other tops)."""

MAX_COUNT = 1 << 28
"""Maximum number of elements of one blob per image: a gigabyte in single precision."""

MAX_INPUT = 1 << 25
"""Maximum number of elements in one input image: 3 x 3300 x 3300. Preprocessing makes several copies."""


@dataclass(frozen=True)
class Declared:
    """An input blob of the network."""

    name: str
    shape: tuple[int, ...] | None
    where: str
    source: Any


def declared_inputs(text: Text) -> list[Declared]:
    """The blobs that a prototxt declares with `input`.

    If the prototxt gives no size for any of them, Caffe ignores these names and uses the data layers (BVLC Caffe,
    `UpgradeNetInput`).

    Raises:
        ModelError: the number of sizes differs from the number of inputs.
    """
    net, names = text.net, list(text.net.input)
    if not net.input_dim and not net.input_shape:
        return []
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
    return [Declared(name, shape, where, None) for name, shape in zip(names, shapes, strict=True)]


def data_inputs(item: Item) -> list[Declared]:
    """The blobs of a data layer: first the images; labels are not used and have no size."""
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
    return [Declared(top, size, item.where, item.message) for top, size in zip(tops, sizes, strict=True)]


def _data_size(item: Item) -> tuple[int, ...] | None:
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


def checked_size(blob: Declared) -> tuple[int, ...]:
    """The shape of the network input, with the batch axis first.

    Raises:
        ModelError: the shape is unknown or invalid.
    """
    if blob.shape is None:
        raise ModelError(
            f"{blob.where} does not say how large the pictures in {blob.name!r} are; give crop_size, or use the"
            " network's deploy.prototxt."
        )
    if len(blob.shape) < 2 or min(blob.shape) < 1 or math.prod(blob.shape[1:]) > MAX_INPUT:
        raise ModelError(
            f"{blob.where} gives input {blob.name!r} the size {' x '.join(map(str, blob.shape)) or 'of nothing'};"
            f" images, channels and space are expected, each at least 1, at most {MAX_INPUT} numbers an image."
        )
    return blob.shape
