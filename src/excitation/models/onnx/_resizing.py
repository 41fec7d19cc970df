"""Resizing of spatial dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .._loaded import shown
from ._call import Call, axes_of, computes

LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}

MAX_SIDE = 1 << 15
"""Maximum size of one resized axis."""

ROUND: dict[str, Callable[[float], int]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round_prefer_floor": lambda place: math.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: math.floor(place + 0.5),
}
"""Rounding modes: functions from a coordinate to an integer."""


@computes("Upsample", host=(1,))
def upsample(call: Call, x: torch.Tensor, scales: Any = None) -> torch.Tensor:
    """The predecessor of `Resize`, with asymmetric coordinates."""
    scales = call.get("scales", None) if scales is None else scales
    return _resize(call, x, scales, None, "asymmetric", "floor")


@computes("Resize", host=(1, 2, 3))
def resize(call: Call, x: torch.Tensor, *inputs: Any) -> torch.Tensor:
    """Resize by scales or to sizes."""
    if call.version < 11:
        return _resize(call, x, inputs[0] if inputs else None, None, "asymmetric", "floor")
    scales, sizes = (*inputs, None, None, None)[1:3]
    for name, plain in (("antialias", 0), ("exclude_outside", 0), ("keep_aspect_ratio_policy", "stretch")):
        if call.get(name, plain) != plain:
            call.fail(f"{name} = {call.get(name, plain)!r} is not supported.")
    how = call.get("coordinate_transformation_mode", "half_pixel")
    return _resize(call, x, scales, sizes, how, call.get("nearest_mode", "round_prefer_floor"))


def _resize(call: Call, x: torch.Tensor, scales: Any, sizes: Any, how: str, rounding: str) -> torch.Tensor:
    factors, made = _target(call, x, scales, sizes)
    mode = call.get("mode", "nearest")
    if mode not in {"nearest", "linear", "bilinear"} or rounding not in ROUND:
        call.fail(f"mode {shown(mode)} ({shown(rounding)}) is not supported; nearest or linear is expected.")
    if made == list(x.shape) and all(factor == 1 for factor in factors):
        return x
    whole = x.dim() in LINEAR and all(factor == 1 for factor in factors[:2])
    if mode == "nearest":
        places = [_nearest(call, *of, how, rounding) for of in zip(x.shape, made, factors, strict=True)]
        plain = all(
            line == [place * size // len(line) for place in range(len(line))]
            for line, size in zip(places, x.shape, strict=True)
        )
        if whole and plain:
            return F.interpolate(x, size=made[2:], mode="nearest")
        for axis, line in enumerate(places):
            if line != list(range(x.shape[axis])):
                x = x.index_select(axis, torch.tensor(line, dtype=torch.long, device=x.device))
        return x
    even = all(math.isclose(size * f, new, rel_tol=1e-6) for size, f, new in zip(x.shape, factors, made, strict=True))
    single = any(new == 1 and size > 1 for size, new in zip(x.shape, made, strict=True))
    if whole and how == "align_corners":
        return F.interpolate(x, size=made[2:], mode=LINEAR[x.dim()], align_corners=True)
    if whole and even and (how == "half_pixel" or (how == "pytorch_half_pixel" and not single)):
        return F.interpolate(x, size=made[2:], mode=LINEAR[x.dim()], align_corners=False)
    for axis, (size, new, factor) in enumerate(zip(x.shape, made, factors, strict=True)):
        if (size, factor) != (new, 1):
            weights = torch.tensor(_linear(call, size, new, factor, how), dtype=x.dtype, device=x.device)
            x = torch.matmul(x.transpose(axis, -1), weights.t()).transpose(axis, -1)
    return x


def _target(call: Call, x: torch.Tensor, scales: Any, sizes: Any) -> tuple[list[float], list[int]]:
    """The scale and the new size of each axis."""
    axes = axes_of(call, x, call.attributes["axes"]) if "axes" in call.attributes else list(range(x.dim()))
    scales, sizes = scales or None, sizes or None  # an empty list stands for an omitted input
    given = sizes if scales is None else scales
    if given is None or (scales is not None and sizes is not None) or len(given) != len(axes):
        call.fail(f"either one factor or one size for each of {len(axes)} axes is expected.")
    factors, made = [1.0] * x.dim(), list(x.shape)
    for axis, item in zip(axes, given, strict=True):
        length = x.shape[axis]
        if not (math.isfinite(item) and item > 0 and length):
            call.fail(f"axis {axis} of length {length} cannot be resized by or to {item}.")
        made[axis] = int(item) if scales is None else math.floor(length * item)
        factors[axis] = made[axis] / length if scales is None else float(item)
        if made[axis] != length and not 1 <= made[axis] <= MAX_SIDE:
            call.fail(f"axis {axis} would have length {made[axis]}; 1 to {MAX_SIDE} are expected.")
    call.room(made)
    return factors, made


def _original(call: Call, size: int, new: int, factor: float, how: str) -> list[float]:
    """The input coordinate of each output position."""
    if how == "align_corners":
        return [0.0 if new == 1 else place * (size - 1) / (new - 1) for place in range(new)]
    if how == "asymmetric":
        return [place / factor for place in range(new)]
    if how == "pytorch_half_pixel" and new == 1:
        return [0.0]
    if how in {"half_pixel", "pytorch_half_pixel"}:
        return [(place + 0.5) / factor - 0.5 for place in range(new)]
    if how != "half_pixel_symmetric":
        call.fail(f"coordinate_transformation_mode {shown(how)} is not supported.")
    start = size / 2 * (1 - new / (factor * size))
    return [start + (place + 0.5) / factor - 0.5 for place in range(new)]


def _nearest(call: Call, size: int, new: int, factor: float, how: str, rounding: str) -> list[int]:
    if (size, factor) == (new, 1):
        return list(range(size))
    return [min(max(ROUND[rounding](place), 0), size - 1) for place in _original(call, size, new, factor, how)]


def _linear(call: Call, size: int, new: int, factor: float, how: str) -> Sequence[Sequence[float]]:
    """Interpolation weights, with output positions as rows and input positions as columns."""
    rows = []
    for place in _original(call, size, new, factor, how):
        place = min(max(place, 0.0), size - 1.0)
        low = min(math.floor(place), size - 1)
        row = [0.0] * size
        row[low] += 1 - (place - low)
        if place > low:
            row[low + 1] += place - low
        rows.append(row)
    return rows
