"""What comes into a network from outside: pictures, and labels that have no use here."""

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
"""Layers that bring pictures (first top) and labels (the others)."""

MAX_COUNT = 1 << 28
"""Numbers in one blob of one image: a gigabyte in single precision."""

MAX_INPUT = 1 << 25
"""Numbers in one input image: 3 channels of 3300 x 3300 pixels. Preprocessing makes several copies of it."""


@dataclass(frozen=True)
class Declared:
    """One blob that comes from outside."""

    name: str
    shape: tuple[int, ...] | None
    where: str
    source: Any


def declared_inputs(text: Text) -> list[Declared]:
    """The blobs that a prototxt declares with `input`.

    Caffe drops these names where the prototxt gives no size for any of them, and leaves the input to its layers
    (BVLC Caffe, `UpgradeNetInput`).

    Raises:
        ModelError: not one size for each.
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
    """The shape of the network's input, images first.

    Raises:
        ModelError: it is not known, or makes no sense.
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
