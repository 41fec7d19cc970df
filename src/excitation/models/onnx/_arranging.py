"""Operators that rearrange elements: shapes, slices, concatenation, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .._loaded import shown
from ._activations import number
from ._call import Call, axes_of, axis_of, computes, sides


@computes("Identity")
def identity(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Return the input."""
    del call
    return x


@computes("Dropout", host=(1, 2))
def dropout(call: Call, x: torch.Tensor, ratio: Any = None, training: Any = None) -> torch.Tensor:
    """Return the input, as in evaluation mode."""
    del ratio
    if call.outputs > 1 or number(call, training):
        call.fail("it is in training mode or its mask is used; export the model in evaluation mode.")
    return x


@computes("Concat")
def concatenate(call: Call, *tensors: torch.Tensor) -> torch.Tensor:
    """Concatenate tensors along an axis."""
    if "axis" not in call.attributes:
        call.fail("its axis is missing.")
    return torch.cat(tensors, axis_of(call, tensors[0], call.attributes["axis"]))


@computes("Split", host=(1,))
def split(call: Call, x: torch.Tensor, sizes: Any = None) -> Any:
    """Split along an axis into parts of given or equal sizes; the last equal part can be smaller."""
    axis = axis_of(call, x, call.get("axis", 0))
    sizes = call.get("split", None) if sizes is None else sizes
    if sizes is None:
        each = -(-x.shape[axis] // call.outputs)
        sizes = [max(min(each, x.shape[axis] - place * each), 0) for place in range(call.outputs)]
    if len(sizes) != call.outputs or sum(sizes) != x.shape[axis] or min(sizes) < 0:
        call.fail(f"axis {axis} of its input of shape {tuple(x.shape)} cannot be split into {tuple(sizes)[:16]}.")
    parts = torch.split(x, [int(size) for size in sizes], axis)
    return parts if call.outputs > 1 else parts[0]


@computes("Slice", host=(1, 2, 3, 4))
def cut(
    call: Call, x: torch.Tensor, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None
) -> torch.Tensor:
    """Slice some axes; a negative step reverses the order."""
    if call.version < 10:
        starts, ends, axes = (call.get(name, None) for name in ("starts", "ends", "axes"))
    if starts is None or ends is None:
        call.fail("its starts or ends are missing.")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        call.fail("starts, ends, axes and steps are not equally many.")
    for start, end, axis, step in zip(starts, ends, axes_of(call, x, axes), steps, strict=True):
        if step == 0:
            call.fail("a step is 0.")
        first, last, stride = slice(start, end, step).indices(x.shape[axis])
        if (first, last, stride) == (0, x.shape[axis], 1):
            continue
        if stride > 0:
            place = (*(slice(None),) * axis, slice(first, max(first, last), stride))
            x = x[place]
        elif stride == -1 and len(range(first, last, -1)) == x.shape[axis]:
            x = x.flip(axis)
        else:
            x = x.index_select(axis, torch.tensor(list(range(first, last, stride)), dtype=torch.long, device=x.device))
    return x


@computes("Gather", scalars=True)
def gather(call: Call, x: torch.Tensor, indices: torch.Tensor | int) -> torch.Tensor:
    """Select entries of an axis by index."""
    axis = axis_of(call, x, call.get("axis", 0))
    if not isinstance(indices, torch.Tensor):
        return x.select(axis, int(indices))
    if indices.is_floating_point() or indices.dtype == torch.bool:
        call.fail("its indices are no whole numbers.")
    length = x.shape[axis]
    if not indices.is_meta and indices.numel() and not -length <= int(indices.min()) <= int(indices.max()) < length:
        call.fail(f"an index lies outside axis {axis} of its input of shape {tuple(x.shape)}.")
    if not indices.is_meta and indices.dim() == 0:
        return x.select(axis, int(indices))
    places = torch.where(indices < 0, indices + length, indices).long()
    call.room([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])
    taken = x.index_select(axis, places.reshape(-1))
    return taken if indices.dim() == 1 else taken.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


@computes("Reshape", host=(1,))
def reshape(call: Call, x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Reshape; -1 stands for the remaining size, 0 for the size of the input."""
    sizes = [int(size) for size in shape]
    if not call.get("allowzero", 0):
        if any(size == 0 and place >= x.dim() for place, size in enumerate(sizes)):
            call.fail(f"shape {tuple(sizes)[:16]} copies an axis that its input of shape {tuple(x.shape)} has not.")
        sizes = [size or x.shape[place] for place, size in enumerate(sizes)]
    rest = math.prod(size for size in sizes if size != -1)
    free = sizes.count(-1)
    fits = free <= 1 and min(sizes, default=1) >= -1
    if not fits or (x.numel() % rest if free and rest else x.numel() != rest):
        call.fail(f"its input of shape {tuple(x.shape)} cannot be given the shape {tuple(sizes)[:16]}.")
    if len(sizes) == 2 and x.dim() >= 2 and sizes[0] == x.shape[0]:
        return torch.flatten(x, 1)
    return x.reshape(sizes)


@computes("Flatten")
def flatten(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Flatten to two axes: the axes before the given one, and the rest."""
    axis = axis_of(call, x, call.get("axis", 1), end=True)
    if axis == 1:
        return torch.flatten(x, 1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@computes("Transpose")
def transpose(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Permute the axes; the default reverses them."""
    order = call.get("perm", tuple(range(x.dim()))[::-1])
    if sorted(order) != list(range(x.dim())):
        call.fail(f"perm is {tuple(order)[:16]}; the axes of its input of shape {tuple(x.shape)} are expected.")
    return x.permute(order)


@computes("Squeeze", host=(1,))
def squeeze(call: Call, x: torch.Tensor, axes: Any = None) -> torch.Tensor:
    """Remove some axes of length 1."""
    given = call.get("axes", None) if axes is None else axes
    if given is None:
        if x.is_floating_point() and x.dim() > 1:
            call.fail("it names no axes, so with one picture it would take away the axis of pictures; give it axes.")
        return x.squeeze()
    dims = axes_of(call, x, given)
    if any(x.shape[axis] != 1 for axis in dims):
        call.fail(f"axes {tuple(dims)[:16]} of its input of shape {tuple(x.shape)} are not all of length 1.")
    return x.squeeze(tuple(dims))


@computes("Unsqueeze", host=(1,))
def unsqueeze(call: Call, x: torch.Tensor, axes: Any = None) -> torch.Tensor:
    """Insert axes of length 1."""
    given = call.get("axes", None) if axes is None else axes
    if given is None:
        call.fail("its axes are missing.")
    dims = x.dim() + len(given)
    if any(not -dims <= axis < dims for axis in given) or len({axis % dims for axis in given}) != len(given):
        call.fail(f"axes {tuple(given)[:16]} do not fit an output of {dims} dimensions.")
    for axis in sorted(int(axis) % dims for axis in given):
        x = x.unsqueeze(axis)
    return x


@computes("Expand", host=(1,))
def expand(call: Call, x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Repeat along axes of length 1."""
    target = call.room([int(size) for size in shape])
    both = torch.broadcast_shapes(tuple(x.shape), target)  # type: ignore[no-untyped-call]
    return x.expand(call.room(both))


@computes("Tile", host=(1,))
def tile(call: Call, x: torch.Tensor, repeats: Sequence[int]) -> torch.Tensor:
    """Repeat along each axis."""
    if len(repeats) != x.dim():
        call.fail(f"its input of shape {tuple(x.shape)} has {x.dim()} axes; it repeats {len(repeats)}.")
    call.room([size * int(count) for size, count in zip(x.shape, repeats, strict=True)])
    return x.repeat(*(int(count) for count in repeats))


MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@computes("Pad", host=(1, 2, 3))
def pad(call: Call, x: torch.Tensor, pads: Any = None, value: Any = None, axes: Any = None) -> torch.Tensor:
    """Pad with a constant, or with copies of the input."""
    if call.version < 11:
        pads, value = call.get("pads", None), call.get("value", 0.0)
    dims = list(range(x.dim())) if axes is None else axes_of(call, x, axes)
    mode = call.get("mode", "constant")
    if mode not in MODES or pads is None or len(pads) != 2 * len(dims):
        call.fail(f"mode {shown(mode)} with pads {pads and tuple(pads)[:16]} does not fit shape {tuple(x.shape)}.")
    before, after = [0] * x.dim(), [0] * x.dim()
    for place, axis in enumerate(dims):
        before[axis], after[axis] = int(pads[place]), int(pads[place + len(dims)])
    call.room([size + b + a for size, b, a in zip(x.shape, before, after, strict=True)])
    given = sides(before, after)
    while given and given[-2:] == [0, 0]:  # leading axes without padding
        del given[-2:]
    if not given:
        return x
    if mode == "constant":
        return F.pad(x, given, value=number(call, value) or 0.0)
    return F.pad(x, given + [0] * (max(2 * (x.dim() - 2), 0) - len(given)), mode=MODES[mode])


@computes("DepthToSpace")
def depth_to_space(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Move blocks of channels to spatial blocks."""
    size = _block(call, x)
    images, channels, height, width = x.shape
    if channels % size**2:
        call.fail(f"{channels} channels cannot be spread over blocks of {size} x {size}.")
    if call.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, size)
    apart = x.reshape(images, size, size, channels // size**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return apart.reshape(images, channels // size**2, height * size, width * size)


@computes("SpaceToDepth")
def space_to_depth(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Move spatial blocks to blocks of channels."""
    size = _block(call, x)
    images, channels, height, width = x.shape
    if height % size or width % size:
        call.fail(f"{height} x {width} cannot be cut into blocks of {size} x {size}.")
    apart = x.reshape(images, channels, height // size, size, width // size, size).permute(0, 3, 5, 1, 2, 4)
    return apart.reshape(images, channels * size**2, height // size, width // size)


def _block(call: Call, x: torch.Tensor) -> int:
    size: int = call.get("blocksize", 0)
    if not 1 <= size < 1 << 16 or x.dim() != 4:
        call.fail(f"blocksize is {size}, its input of shape {tuple(x.shape)}; at least 1 and 4 axes are expected.")
    return size
