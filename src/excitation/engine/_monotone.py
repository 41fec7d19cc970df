"""Finds whether a function of one number rises or falls in an interval, and its values at the ends of the interval.

The function is given by its values, so that its spelling does not matter. It is computed at samples whose magnitudes
grow exponentially.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float64

from ._bounds import HUGE, NONNEGATIVE, NONPOSITIVE, UNBOUNDED, Bounds, Limit, compact

Numbers = Float64[torch.Tensor, "..."]
Function = Callable[[Numbers], Numbers]

FAR = 300.0
"""Largest magnitude of the samples. The exponential function and its square are finite there."""

DECADES, EACH = 9, 96
"""Number of decades of the samples' magnitudes, and of samples in each."""

NOISE = 1e-11
"""Rounding of a value, relative to its magnitude or to one."""

ENDLESS = 1e20
"""Values beyond this, at arguments far away, stand for infinity."""

ROUND = 1e-9
"""A limit that is this near to a whole number is this number."""


@dataclass(frozen=True, slots=True)
class Course:
    """The course of a monotonic function in an interval.

    Attributes:
        rises: whether it rises; otherwise, it falls.
        bounds: bounds of its values.
        zero: whether it maps zero to zero.
        flat: whether it is zero in a part of the interval, and never negative.
        linear: whether it is linear in the interval.
    """

    rises: bool
    bounds: Bounds
    zero: bool
    flat: bool
    linear: bool


def samples(lower: float, upper: float) -> Float64[torch.Tensor, " samples"]:
    """Return increasing numbers in an interval: its finite ends, zero, and numbers of all magnitudes."""
    sizes = torch.logspace(
        math.log10(FAR) - DECADES, math.log10(FAR), DECADES * EACH, dtype=torch.float64, device="cpu"
    )
    ends = torch.tensor([end for end in (lower, upper) if math.isfinite(end)], dtype=torch.float64, device="cpu")
    around = [end + side * sizes for end in ends for side in (-1, 1)]
    numbers = torch.cat([-sizes, torch.zeros(1, dtype=torch.float64, device="cpu"), sizes, ends, *around])
    found: torch.Tensor = torch.unique(numbers[(numbers >= lower) & (numbers <= upper)])
    return found


def course(function: Function, bounds: Bounds) -> Course | None:
    """Return the course of a function between bounds; `None` if it does not rise or fall. A constant counts as rising.

    Args:
        function: an element-wise function. It can have different values for different channels.
        bounds: bounds of its argument.
    """
    lowest, highest = _outermost(bounds.lower, torch.amin), _outermost(bounds.upper, torch.amax)
    x = samples(lowest, highest)
    y = function(x)
    known = ~y.flatten(1).isnan().any(1) if y.dim() > 1 else ~y.isnan()
    x, y = x[known], y[known]
    if lowest == highest and len(x):  # a function of a constant
        return Course(True, Bounds(compact(y), compact(y)), False, False, True)
    if len(x) < 3:
        return None
    steps = (y[1:] - y[:-1]).nan_to_num(0.0)
    sizes = y.abs().clamp(1.0, HUGE)
    slack = NOISE * torch.maximum(sizes[1:], sizes[:-1])
    rises, falls = bool((steps >= -slack).all()), bool((steps <= slack).all())
    if rises == falls:
        return None
    lower, upper = (
        _end(limit, function, x, y, rises=rises, last=last) for limit, last in zip(bounds, (0, -1), strict=True)
    )
    there = bool((function(torch.zeros(1, dtype=torch.float64, device="cpu")).abs() <= NOISE).all())
    flat = bool((y >= 0).all()) and bool(((y == 0).sum(0) > EACH).all())
    return Course(rises, _shared(Bounds(lower, upper) if rises else Bounds(upper, lower)), there, flat, _linear(x, y))


def _shared(bounds: Bounds) -> Bounds:
    """Return the constant with these bounds, if there is one: constants are quick to compare."""
    if any(isinstance(limit, torch.Tensor) for limit in bounds):
        return bounds
    return next((known for known in (UNBOUNDED, NONNEGATIVE, NONPOSITIVE) if bounds == known), bounds)


def _outermost(limit: Limit, choose: Callable[[torch.Tensor], torch.Tensor]) -> float:
    return float(choose(limit)) if isinstance(limit, torch.Tensor) else limit


def _linear(x: torch.Tensor, y: torch.Tensor) -> bool:
    if not bool(y.isfinite().all()):
        return False
    run = (x - x[0]).reshape(-1, *(1,) * (y.dim() - 1))
    slope = (y[-1] - y[0]) / run[-1]
    return bool(((y - y[0] - slope * run).abs() <= 1e-10 * y.abs().clamp(min=1.0)).all())


def _end(limit: Limit, function: Function, x: torch.Tensor, y: torch.Tensor, *, rises: bool, last: int) -> Limit:
    """Return the values of the function at a limit of its argument. `last` is the index of the outermost sample."""
    far = _far(function, x, y, rises=rises, last=last)[None]
    if not isinstance(limit, torch.Tensor):
        at = far if math.isinf(limit) else function(torch.tensor([limit], dtype=torch.float64, device="cpu"))
        return compact(_whole(at))
    limit = limit.double()
    return compact(_whole(torch.where(limit.isfinite(), function(torch.where(limit.isfinite(), limit, 0.0)), far)))


def _far(function: Function, x: torch.Tensor, y: torch.Tensor, *, rises: bool, last: int) -> torch.Tensor:
    """Return the limit of the function at infinity: its value there, or far away, or where it still has one."""
    side = 1 if last else -1
    outward = side if rises else -side  # whether the values grow or fall towards this end
    outermost = y[last]
    for distance in (math.inf, HUGE, 1e30):
        found = function(torch.tensor([side * distance], dtype=torch.float64, device="cpu"))[0]
        grows = outward * (found - outermost) >= -NOISE * outermost.abs().clamp(min=1.0)
        if not bool(found.isnan().any()) and bool((grows | (found == outermost)).all()):
            return torch.where(found.abs() > ENDLESS, found.sign() * math.inf, found)
    before = y[int((x - x[last] / 2).abs().argmin())]
    still = (outermost - before).abs() <= 1e-6 * outermost.abs().clamp(min=1.0)
    return torch.where(still, outermost, outward * math.inf)


def settled(function: Function, like: torch.Tensor) -> torch.Tensor:
    """Return the limit of a function at infinity where its formula has no value there; NaN if it is unknown.

    Args:
        function: an element-wise function.
        like: an infinite argument.
    """
    side = like.sign()
    half, last = function(side * FAR / 2), function(side * FAR)
    still = (last - half).abs() <= 1e-6 * last.abs().clamp(min=1.0)
    further = function(side * HUGE)
    return torch.where(still, last, torch.where(further.isnan(), function(side * 1e30), further))


def _whole(x: torch.Tensor) -> torch.Tensor:
    near = x.round()
    return torch.where((x - near).abs() <= ROUND, near, x)
