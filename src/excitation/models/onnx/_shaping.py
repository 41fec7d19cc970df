"""Operators for shapes and types, computed mostly on values that do not depend on the images."""

from __future__ import annotations

import math
from typing import Any

import torch

from ._activations import number
from ._call import MAX_MADE, Call, axis_of, computes
from ._tensors import FLOATING, torch_type


@computes("Shape")
def shape_of(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The shape, or a part of it, as integers."""
    return torch.tensor(list(x.shape)[slice(call.get("start", 0), call.get("end", None))], dtype=torch.long)


@computes("Size")
def size_of(call: Call, x: torch.Tensor) -> torch.Tensor:
    """The number of elements."""
    del call
    return torch.tensor(x.numel(), dtype=torch.long)


@computes("ConstantOfShape", host=(0,))
def constant_of_shape(call: Call, shape: Any) -> torch.Tensor:
    """A tensor filled with one value."""
    value, dtype = call.get("value", (0.0, torch.float32))
    return torch.full(call.room([1, *shape], MAX_MADE)[1:], value, dtype=dtype)


@computes("Range", host=(0, 1, 2))
def counted(call: Call, start: Any, limit: Any, delta: Any) -> torch.Tensor:
    """A range with a step."""
    first, last, step = (number(call, item) for item in (start, limit, delta))
    if None in {first, last, step} or step == 0 or not all(map(math.isfinite, (first, last, step))):
        call.fail(f"it counts from {first} to {last} by {step}.")
    count = max(math.ceil((last - first) / step), 0)
    call.room([1, count], MAX_MADE)
    dtype = torch.float32 if any(isinstance(item, float) for item in (first, last, step)) else torch.long
    made: torch.Tensor = torch.arange(count, dtype=dtype) * step + first
    return made


@computes("Cast")
def cast(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Convert the type. Activations keep the precision of the model for every floating-point type in the file."""
    kind = call.get("to", 0)
    if x.is_floating_point() and kind in FLOATING:
        return x
    dtype = torch.get_default_dtype() if kind in FLOATING else torch_type(kind, f"{call.where}: what it casts to")
    return x.to(dtype)


@computes("CastLike")
def cast_like(call: Call, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Convert to the type of another tensor, like `cast`."""
    del call
    return x if x.is_floating_point() and other.is_floating_point() else x.to(other.dtype)


@computes("DequantizeLinear", constants_only="quantised activations have no rule; export the model before quantisation")
def dequantise(call: Call, x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None = None) -> torch.Tensor:
    """`(x - zero) scale`, for weights."""
    shifted = x.to(torch.float32) - (0 if zero is None else _along(call, x, zero).to(torch.float32))
    return shifted * _along(call, x, scale).to(torch.float32)


@computes("QuantizeLinear", constants_only="quantised activations have no rule; export the model before quantisation")
def quantise(call: Call, x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None = None) -> torch.Tensor:
    """`x / scale + zero`, rounded half to even and clamped to the range of the type, for weights."""
    dtype = torch.uint8 if zero is None else zero.dtype
    if dtype.is_floating_point or dtype == torch.bool:
        call.fail("it quantises to a type that is no whole number.")
    shift = 0 if zero is None else _along(call, x, zero).to(torch.float32)
    limits = torch.iinfo(dtype)
    return (torch.round(x / _along(call, x, scale)) + shift).clamp(limits.min, limits.max).to(dtype)


def _along(call: Call, x: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
    """Broadcast a scale or zero point to the tensor: a single value, or one per index of an axis."""
    if item.numel() == 1:
        return item.reshape(())
    axis = axis_of(call, x, call.get("axis", 1))
    if item.dim() != 1 or item.shape[0] != x.shape[axis] or call.get("block_size", 0):
        call.fail(f"its scale of shape {tuple(item.shape)} does not fit its input of shape {tuple(x.shape)}.")
    return item.reshape(-1, *(1,) * (x.dim() - axis - 1))
