"""Layers that combine, slice, repeat, reshape or resize blobs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from ._builders import MANY, Shape, axis_of, builds, space_of
from ._inputs import MAX_COUNT
from ._plan import Layer
from ._schema import ENUMS

Blob = Float[torch.Tensor, "image *blob"]
Made = Float[torch.Tensor, "image *made"]
Other = Float[torch.Tensor, "image *_"]
Maps = Float[torch.Tensor, "image channel height width"]
Resized = Float[torch.Tensor, "image channel rows columns"]

SUM, PRODUCT = ENUMS["Operation"]["SUM"], ENUMS["Operation"]["PROD"]


class Eltwise(nn.Module):
    """Elementwise combination of blobs of the same shape."""

    def __init__(self, operation: int, coefficients: Sequence[float]) -> None:
        super().__init__()
        self.operation, self.coefficients = operation, tuple(coefficients)

    def forward(self, *inputs: Blob) -> Blob:
        """Combine the inputs; the shape does not change."""
        if self.operation == SUM:
            return self._sum(inputs)
        if self.operation == PRODUCT:
            result = inputs[0]
            for other in inputs[1:]:
                result = result * other
            return result
        # Not `torch.maximum`: `max` of a stack selects a winner.
        return torch.stack(inputs, 1).max(1).values

    def _sum(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        result: torch.Tensor | None = None
        for input, factor in zip(inputs, self.coefficients, strict=True):
            if result is not None and factor == -1:
                result = result - input
                continue
            term = input if factor == 1 else input * factor
            result = term if result is None else result + term
        assert result is not None
        return result


@builds("Eltwise", bottoms=(1, MANY))
def eltwise(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Eltwise`."""
    options = layer.message.eltwise_param
    if len(set(shapes)) > 1:
        layer.fail(f"its inputs must have one shape, not {', '.join(map(str, shapes[:4]))}.")
    coefficients = list(options.coeff) or [1.0] * len(shapes)
    if len(coefficients) != len(shapes) or (options.coeff and options.operation != SUM):
        layer.fail(f"it has {len(options.coeff)} coeff for {len(shapes)} inputs; give one each, of a SUM.")
    if not all(map(math.isfinite, coefficients)):
        layer.fail(f"coeff {coefficients[:20]} has numbers that are NaN or infinite.")
    return Eltwise(options.operation, coefficients)


class Concat(nn.Module):
    """Concatenation of blobs."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *inputs: Other) -> Made:
        """Concatenate the inputs along the axis."""
        return torch.cat(inputs, self.axis)


@builds("Concat", bottoms=(1, MANY))
def concat(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Concat`."""
    options = layer.message.concat_param
    value = options.concat_dim if options.HasField("concat_dim") else options.axis
    return Concat(axis_of(layer, value, len(shapes[0])))


class Slice(nn.Module):
    """Division of a blob along an axis."""

    def __init__(self, axis: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.axis, self.sizes = axis, list(sizes)

    def forward(self, input: Blob) -> tuple[torch.Tensor, ...]:
        """The parts, in order."""
        return torch.split(input, self.sizes, self.axis)


@builds("Slice", tops=MANY)
def slice_(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Slice`, at given points or in equal parts."""
    (shape,), options = shapes, layer.message.slice_param
    value = options.slice_dim if options.HasField("slice_dim") else options.axis
    axis, parts = axis_of(layer, value, len(shape)), len(layer.outputs)
    points = list(options.slice_point)
    if not points:
        if shape[axis] % parts:
            layer.fail(f"axis {axis} of its input of shape {shape} cannot be cut into {parts} equal parts.")
        points = [shape[axis] // parts * i for i in range(1, parts)]
    edges = [0, *points, shape[axis]]
    sizes = [stop - start for start, stop in itertools.pairwise(edges)]
    if len(points) != parts - 1 or min(sizes) < 1:
        layer.fail(f"slice_point {points[:20]} does not cut {shape[axis]} at axis {axis} into {parts} parts.")
    return Slice(axis, sizes)


class Split(nn.Module):
    """A blob that several layers use."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, input: Blob) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return the same blob for each output."""
        return (input,) * self.count if self.count > 1 else input


@builds("Split", tops=MANY)
def split(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`Split`."""
    return Split(len(layer.outputs))


@builds("Flatten")
def flatten(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Flatten`."""
    options, dims = layer.message.flatten_param, len(shapes[0])
    axis, end = axis_of(layer, options.axis, dims), axis_of(layer, options.end_axis, dims)
    if end < axis:
        layer.fail(f"end_axis {options.end_axis} lies before axis {options.axis}.")
    return nn.Flatten(axis, end)


class Reshape(nn.Module):
    """Reshape of a blob."""

    def __init__(self, front: int, sizes: Sequence[int], back: int) -> None:
        super().__init__()
        self.front, self.sizes, self.back = front, tuple(sizes), back

    def forward(self, input: Blob) -> Made:
        """Reshape the input; the number of elements per image does not change."""
        shape = list(input.shape)
        middle = [shape[self.front + place] if size == 0 else size for place, size in enumerate(self.sizes)]
        return input.reshape(*shape[: self.front], *middle, *shape[self.back :])


@builds("Reshape")
def reshape(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Reshape`. A first size equal to the batch size in the prototxt stands for any batch size."""
    (shape,), options = shapes, layer.message.reshape_param
    dims, sizes, count = len(shape), list(options.shape.dim), options.num_axes
    front = axis_of(layer, options.axis, dims, images=True, end=True)
    back = dims if count == -1 else front + count
    if count < -1 or back > dims or min(sizes, default=0) < -1 or sizes.count(-1) > 1:
        layer.fail(f"axis {options.axis}, num_axes {count} and sizes {sizes[:20]} do not fit an input of {dims} axes.")
    if front == 0 and sizes and sizes[0] not in {0, -1} and sizes[0] == layer.batch:
        sizes[0] = 0
    if any(size == 0 and front + place >= dims for place, size in enumerate(sizes)):
        layer.fail(f"size 0 keeps an axis, but its input of shape {shape} has none there.")
    if front == 0 and sizes[:1] != [0] and not (sizes[:1] == [-1] and math.prod(sizes[1:]) == math.prod(shape[1:])):
        layer.fail(f"sizes {sizes[:20]} would mix the images of a batch; begin with 0, which keeps their number.")
    return Reshape(front, sizes, back)


class Crop(nn.Module):
    """Cropping of a blob to the size of another blob, of which only the size is used."""

    def __init__(self, axis: int, offsets: Sequence[int]) -> None:
        super().__init__()
        self.axis, self.offsets = axis, tuple(offsets)

    def forward(self, input: Blob, like: Other) -> Made:
        """Crop to the size of the second blob, from the axis on."""
        cuts = [
            slice(offset, offset + size) for offset, size in zip(self.offsets, like.shape[self.axis :], strict=True)
        ]
        return input[(slice(None),) * self.axis + tuple(cuts)]


@builds("Crop", bottoms=(2, 2))
def crop(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Crop`."""
    (shape, like), options = shapes, layer.message.crop_param
    axis = axis_of(layer, options.axis, len(shape))
    offsets = list(options.offset) or [0]
    if len(shape) != len(like) or len(offsets) not in {1, len(shape) - axis}:
        layer.fail(f"it has {len(offsets)} offsets for inputs of shapes {shape} and {like} from axis {axis}.")
    offsets *= len(shape) - axis if len(offsets) == 1 else 1
    sizes = zip(offsets, like[axis:], shape[axis:], strict=True)
    if any(offset + size > whole for offset, size, whole in sizes):
        layer.fail(f"offsets {offsets} and size {like[axis:]} reach beyond its input of shape {shape}.")
    return Crop(axis, offsets)


class Permute(nn.Module):
    """Permutation of axes."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = tuple(order)

    def forward(self, input: Blob) -> Made:
        """Permute the axes."""
        return input.permute(self.order)


@builds("Permute")
def permute(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Permute` of SSD's Caffe: axes not listed in `order` follow in their original order."""
    (shape,), order = shapes, list(layer.message.permute_param.order)
    if len(set(order)) < len(order) or any(axis >= len(shape) for axis in order):
        layer.fail(f"order {order[:20]} does not name each of the {len(shape)} axes of its input at most once.")
    order += [axis for axis in range(len(shape)) if axis not in order]
    if order[0] != 0:
        layer.fail(f"order {order} moves the axis of the images; axis 0 must stay in front.")
    return Permute(order)


class Tile(nn.Module):
    """Repetition of a blob along an axis."""

    def __init__(self, axis: int, count: int) -> None:
        super().__init__()
        self.axis, self.count = axis, count

    def forward(self, input: Blob) -> Made:
        """Repeat the input along the axis."""
        return input.repeat([self.count if axis == self.axis else 1 for axis in range(input.dim())])


@builds("Tile")
def tile(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Tile`."""
    (shape,), options = shapes, layer.message.tile_param
    axis = axis_of(layer, options.axis, len(shape))
    if not 1 <= options.tiles <= MAX_COUNT:
        layer.fail(f"tiles is {options.tiles}; a number from 1 to {MAX_COUNT} is expected.")
    return Tile(axis, options.tiles)


class Interp(nn.Module):
    """Bilinear resizing with aligned corners, after cropping the border."""

    def __init__(self, cut: tuple[int, int], size: Callable[[int], int], fixed: tuple[int, int] | None) -> None:
        super().__init__()
        self.cut, self.size, self.fixed = cut, size, fixed

    def forward(self, input: Maps) -> Resized:
        """Resize the input."""
        begin, end = self.cut
        height, width = input.shape[2:]
        if begin or end:
            input = input[:, :, begin : height - end, begin : width - end]
        size = self.fixed or (self.size(height - begin - end), self.size(width - begin - end))
        return F.interpolate(input, size=size, mode="bilinear", align_corners=True)


@builds("Interp")
def interp(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Interp` of DeepLab's Caffe: resizes to a size, or by an integer factor.

    A negative `pad_beg` or `pad_end` crops as many rows and columns. The factors apply to the distance between the
    first and the last position: a side of length `n` shrinks to `(n - 1) / shrink + 1` and grows to `n + (n - 1) (zoom
    - 1)`.
    """
    (shape,), options = shapes, layer.message.interp_param
    space_of(layer, shape, (2,))
    zoom: int = options.zoom_factor
    shrink: int = options.shrink_factor
    cut = (-options.pad_beg, -options.pad_end)
    if min(cut) < 0 or sum(cut) >= min(shape[2:]):
        layer.fail(
            f"pad_beg is {options.pad_beg} and pad_end {options.pad_end}; they cut off a border, so numbers below or"
            f" equal to 0 are expected, and less than the sides of its input of shape {shape}."
        )
    factors = options.HasField("zoom_factor") or options.HasField("shrink_factor")
    fixed = None if factors else (options.height, options.width)
    if not 1 <= min(zoom, shrink) <= max(zoom, shrink) <= MAX_COUNT or min(fixed or (1,)) < 1:
        layer.fail("height and width, or zoom_factor or shrink_factor, are expected, each at least 1.")

    def size(side: int) -> int:
        smaller = (side - 1) // shrink + 1
        return smaller + (smaller - 1) * (zoom - 1)

    return Interp(cut, size, fixed)
