"""Interval arithmetic: lower and upper limits of the activations of a tensor, valid for all images.

A limit is one number, or a tensor that broadcasts to the activation, for example one number per channel. Most limits
are plain numbers, and most operations return one of the constants below. Limits hold for neurons only, not for padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

Limit = float | torch.Tensor
"""A lower or upper limit of activations: a number (infinite if there is none), or one for each of several neurons."""


class _Interval(NamedTuple):
    lower: Limit
    upper: Limit


class Bounds(_Interval):
    """An interval that contains the activations.

    Attributes:
        lower: largest known lower limit.
        upper: smallest known upper limit.
        silent: for neurons with both limits, the silent value: the activation that Eq. 5 counts from. `None` for the
            lower limit. The result of a function is a new neuron, which is silent at its smallest activation. All
            linear operations apply to the silent value as they apply to the activation, so that a neuron times -1 is
            silent at its upper limit, and a difference of two neurons is silent between its limits.
    """

    silent: Limit | None = None

    def silent_at(self, silent: Limit | None) -> Bounds:
        """Return the same interval with another silent value. Intervals with an infinite limit have no other one."""
        if any(not isinstance(limit, torch.Tensor) and math.isinf(limit) for limit in self):
            return self
        if not isinstance(silent, torch.Tensor) and not isinstance(self.lower, torch.Tensor) and silent == self.lower:
            silent = None
        if silent is self.silent:
            return self
        changed = Bounds(*self)
        changed.silent = silent
        return changed

    @property
    def origin(self) -> Limit:
        """The activation that each neuron counts from: the silent value, or the only limit, or zero without limits."""
        lower, upper = self
        silent = lower if self.silent is None else self.silent
        if self.uniform:
            assert not isinstance(lower, torch.Tensor)
            assert not isinstance(upper, torch.Tensor)
            if math.isinf(lower):
                return 0.0 if math.isinf(upper) else upper
            return lower if math.isinf(upper) else silent
        lower, upper = alike(lower, upper)
        silent, lower = alike(silent, lower)
        silent, upper = alike(silent, upper)
        one = torch.where(lower.isfinite(), lower, torch.where(upper.isfinite(), upper, 0.0))
        return torch.where(lower.isfinite() & upper.isfinite(), silent, one)

    @property
    def limited(self) -> bool:
        """Whether all neurons have both limits."""
        return all(
            bool(limit.isfinite().all()) if isinstance(limit, torch.Tensor) else math.isfinite(limit) for limit in self
        )

    @property
    def uniform(self) -> bool:
        """Whether limits and silent values are the same for all neurons, and so need no shape."""
        return not any(isinstance(side, torch.Tensor) for side in (*self, self.silent))

    @property
    def plain(self) -> bool:
        """Whether all neurons count from their lower limit, or have no limits: the common case, without comparisons."""
        if self.silent is not None:
            return False
        lower, upper = self
        if isinstance(lower, torch.Tensor):
            return bool(lower.isfinite().all())
        return math.isfinite(lower) or (not isinstance(upper, torch.Tensor) and math.isinf(upper))

    @property
    def nonnegative(self) -> bool:
        """Whether all activations are zero or more."""
        return _all_at_least(self.lower, 0.0)

    @property
    def positive(self) -> bool:
        """Whether the lower limit is above zero."""
        lower = self.lower
        return bool((lower > 0).all()) if isinstance(lower, torch.Tensor) else lower > 0

    @property
    def nonpositive(self) -> bool:
        """Whether all activations are zero or less."""
        upper = self.upper
        return bool((upper <= 0).all()) if isinstance(upper, torch.Tensor) else upper <= 0

    @property
    def one_sign(self) -> bool:
        """Whether all activations are nonnegative, or all are nonpositive."""
        return self.nonnegative or self.nonpositive

    @property
    def gate(self) -> bool:
        """Whether all activations lie between zero and one."""
        upper = self.upper
        below = bool((upper <= 1).all()) if isinstance(upper, torch.Tensor) else upper <= 1
        return below and self.nonnegative


UNBOUNDED = Bounds(-math.inf, math.inf)
NONNEGATIVE = Bounds(0.0, math.inf)
NONPOSITIVE = Bounds(-math.inf, 0.0)
ZERO = Bounds(0.0, 0.0)
UNIT = Bounds(0.0, 1.0)


def _all_at_least(limit: Limit, number: float) -> bool:
    return bool((limit >= number).all()) if isinstance(limit, torch.Tensor) else limit >= number


def _tensor(limit: Limit) -> torch.Tensor:
    # Limits can come from weights that require gradients; no gradient passes through bounds.
    return limit.detach() if isinstance(limit, torch.Tensor) else torch.tensor(limit, dtype=torch.float64)


def least_of(a: Limit, b: Limit) -> Limit:
    """Return the smaller limit of each neuron."""
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return torch.minimum(*alike(a, b))
    return min(a, b)


def most_of(a: Limit, b: Limit) -> Limit:
    """Return the larger limit of each neuron."""
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return torch.maximum(*alike(a, b))
    return max(a, b)


def alike(a: Limit, b: Limit) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two limits as tensors with the same dtype and device."""
    a, b = _tensor(a).double(), _tensor(b).double()
    return (a.to(b.device) if a.dim() == 0 else a), (b.to(a.device) if b.dim() == 0 else b)


def _product(a: Limit, b: Limit) -> Limit:
    """Return `a * b`. Zero times infinity is zero, because activations are finite."""
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        a, b = alike(a, b)
        return torch.where((a == 0) | (b == 0), 0.0, a * b)
    return 0.0 if a == 0 or b == 0 else a * b


def affine(bounds: Bounds, factor: Limit, shift: Limit) -> Bounds:
    """Bounds of `factor * a + shift`, where the factor and the shift are numbers or constant tensors.

    Args:
        bounds: bounds of `a`.
        factor: positive, negative or zero.
        shift: finite number.
    """
    lower, upper = bounds
    if isinstance(factor, torch.Tensor):
        lower, upper = times(bounds, Bounds(factor, factor))
    elif factor < 0:
        lower, upper = _product(upper, factor), _product(lower, factor)
    elif factor != 1:
        lower, upper = _product(lower, factor), _product(upper, factor)
    if isinstance(shift, torch.Tensor) or shift != 0:
        lower, upper = _sum(lower, shift), _sum(upper, shift)
    moved = Bounds(lower, upper)
    if bounds.silent is None and not isinstance(factor, torch.Tensor) and factor > 0:
        return moved
    if any(not isinstance(limit, torch.Tensor) and math.isinf(limit) for limit in bounds):
        return moved  # at most one limit is finite
    return moved.silent_at(_sum(_product(bounds.origin, factor), shift))


def _sum(a: Limit, b: Limit) -> Limit:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        a, b = alike(a, b)
    return a + b


def negated(bounds: Bounds) -> Bounds:
    """Bounds of `-a`."""
    turned = Bounds(-bounds.upper, -bounds.lower)
    return turned if bounds is UNBOUNDED else turned.silent_at(-bounds.origin)


def added(terms: Sequence[Bounds]) -> Bounds:
    """Bounds of a sum. Its silent value is the sum of the silent values."""
    lower, upper = terms[0]
    for other_lower, other_upper in terms[1:]:
        lower, upper = _sum(lower, other_lower), _sum(upper, other_upper)
    whole = Bounds(lower, upper)
    if all(term.silent is None for term in terms):
        return whole
    silent = terms[0].origin
    for term in terms[1:]:
        silent = _sum(silent, term.origin)
    return whole.silent_at(silent)


def silent_within(bounds: Bounds, silent: Limit) -> Bounds:
    """Return bounds with a silent value, or the nearest limit. Differences by rounding do not count."""
    lower, upper = bounds
    if bounds.uniform and not isinstance(silent, torch.Tensor):
        assert not isinstance(lower, torch.Tensor)
        assert not isinstance(upper, torch.Tensor)
        return bounds.silent_at(lower if silent <= lower + SAME else upper if silent >= upper - SAME else silent)
    silent, low = alike(silent, lower)
    silent, high = alike(silent, upper)
    return bounds.silent_at(torch.where(silent <= low + SAME, low, torch.where(silent >= high - SAME, high, silent)))


def times(a: Bounds, b: Bounds) -> Bounds:
    """Bounds of a product of two numbers. Each number can have any value in its interval.

    The product is silent if one number is zero, or as near to zero as possible.
    """
    if a is UNBOUNDED or b is UNBOUNDED:
        return UNBOUNDED
    corners = [_product(x, y) for x in a for y in b]
    lower, upper = corners[0], corners[0]
    for corner in corners[1:]:
        lower, upper = least_of(lower, corner), most_of(upper, corner)
    product = Bounds(lower, upper)
    return product if product.nonnegative else product.silent_at(least_of(most_of(lower, 0.0), upper))


def inverse(bounds: Bounds) -> Bounds:
    """Bounds of `1 / a` for nonnegative `a`."""
    return Bounds(_inverse(bounds.upper), _inverse(bounds.lower))


def _inverse(limit: Limit) -> Limit:
    if isinstance(limit, torch.Tensor):
        return limit.double().reciprocal()
    return math.inf if limit == 0 else 1 / limit


def magnitude(bounds: Bounds) -> Bounds:
    """Bounds of `|a|`."""
    if bounds.nonnegative:
        return bounds
    flipped = negated(bounds)
    if flipped.nonnegative:
        return flipped
    return Bounds(most_of(0.0, most_of(bounds.lower, flipped.lower)), most_of(bounds.upper, flipped.upper))


def either(where: torch.Tensor, a: Bounds, b: Bounds) -> Bounds:
    """Bounds of `torch.where(where, a, b)`."""

    def picked(x: Limit, y: Limit) -> torch.Tensor:
        one, other = (torch.as_tensor(side, device=where.device) for side in (x, y))
        return torch.where(where, one, other)

    bounds = Bounds(picked(a.lower, b.lower), picked(a.upper, b.upper))
    return bounds if a.silent is None and b.silent is None else bounds.silent_at(picked(a.origin, b.origin))


def on_device(bounds: Bounds, device: torch.device | str) -> Bounds:
    """Return bounds whose tensors are on a device."""
    if bounds.uniform:
        return bounds
    lower, upper = (limit.to(device) if isinstance(limit, torch.Tensor) else limit for limit in bounds)
    silent = bounds.silent
    return Bounds(lower, upper).silent_at(silent.to(device) if isinstance(silent, torch.Tensor) else silent)


def one_sided(bounds: Bounds) -> Bounds:
    """Return no bounds for neurons that are silent between their limits: weights of both signs add up there."""
    lower, upper = alike(*bounds)
    silent, lower = alike(bounds.origin, lower)
    beside = (silent <= lower + SAME) | (silent >= upper - SAME)
    return either(beside, bounds, UNBOUNDED)


def clipped(bounds: Bounds, least: float, most: float) -> Bounds:
    """Bounds of `min(max(a, least), most)`."""
    if bounds.silent is not None:
        return rising(bounds, lambda x: x.clamp(least, most))
    lower, upper = bounds
    if isinstance(lower, torch.Tensor) or isinstance(upper, torch.Tensor):
        return Bounds(least_of(most_of(lower, least), most), least_of(most_of(upper, least), most))
    return Bounds(min(max(lower, least), most), min(max(upper, least), most))


def rising(bounds: Bounds, function: Callable[[torch.Tensor], torch.Tensor]) -> Bounds:
    """Bounds of a monotonically increasing function: its values at the limits of its argument.

    The result is a new neuron, which is silent at its lower limit, unless the function is linear between the limits.

    Args:
        bounds: bounds of the argument.
        function: an element-wise function of a tensor.
    """
    made = Bounds(_at(bounds.lower, function, -math.inf), _at(bounds.upper, function, math.inf))
    if bounds.silent is None:
        return made
    lower, upper = alike(*bounds)
    silent, lower = alike(bounds.silent, lower)
    first, last = function(lower), function(upper)
    steps = [(part, function(lower + part * (upper - lower))) for part in (0.25, 0.5, 0.75)]
    straight = [(step - first - part * (last - first)).abs() <= SAME * (last - first) for part, step in steps]
    linear = straight[0] & straight[1] & straight[2]
    return made.silent_at(compact(torch.where(linear, function(silent), first)))


SAME = 1e-9
"""Limits, or positions in an interval, that differ by less are the same."""

HUGE = 1e300
"""Stands for infinity where a function's formula has no value there (`x / (1 + |x|)`)."""


def _at(limit: Limit, function: Callable[[torch.Tensor], torch.Tensor], unknown: float) -> Limit:
    x = _tensor(limit).double()
    y = function(x).detach()
    if not isinstance(limit, torch.Tensor) and y.numel() == 1:
        found = float(y)
        if found != found:
            found = float(function(x.clamp(-HUGE, HUGE)))
        return unknown if found != found else found
    y = torch.where(y.isnan(), function(x.clamp(-HUGE, HUGE)), y)
    return torch.where(y.isnan(), unknown, y)


def sign_kept(bounds: Bounds, function: Callable[[Bounds], Bounds]) -> Bounds:
    """Bounds of an element-wise function that keeps the sign of its argument. Eq. 5 counts its results from zero.

    Smooth rectifiers (GELU, SiLU) have a minimum slightly below zero. Eq. 5 could count from this minimum, but then
    every silent neuron receives mass (11 to 25 % of all mass in trained networks). Therefore the result is unbounded if
    the neuron can have both signs.

    Args:
        bounds: bounds of the neuron.
        function: maps the bounds of a nonnegative neuron to the bounds of the result.
    """
    if bounds is UNBOUNDED:
        return UNBOUNDED
    if bounds.nonnegative:
        return function(bounds)
    return NONPOSITIVE if bounds.nonpositive else UNBOUNDED


def scaled_by_statistic(bounds: Bounds) -> Bounds:
    """Bounds of `a` times a nonnegative number that depends on the images."""
    return times(bounds, NONNEGATIVE)


def spread(limit: Limit, shape: torch.Size, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Expand a limit to one entry per neuron. The image axis has size one if the limit is the same for all images.

    Args:
        limit: the limit.
        shape: shape of the activation.
        valid: false where the tensor contains padding. The limit is zero there.
    """
    limit = _tensor(limit)
    if valid is not None:
        limit = torch.where(valid.to(limit.device), limit, 0.0)
    alone = limit.dim() < len(shape) or limit.shape[0] == 1
    return limit.expand(1, *shape[1:]) if alone and len(shape) > 1 else limit.expand(shape)


def compact(limit: torch.Tensor) -> Limit:
    """Reduce dimensions along which a limit is constant to size one. Return a number if it is constant everywhere."""
    limit = limit.detach()
    for dim in range(limit.dim()):
        if limit.shape[dim] > 1:
            first = limit.narrow(dim, 0, 1)
            if bool((limit == first).all()):
                limit = first
    return float(limit) if limit.numel() == 1 else limit.clone()
