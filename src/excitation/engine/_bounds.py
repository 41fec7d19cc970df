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


Side = bool | torch.Tensor
"""A truth, or one for each of several neurons."""


class Bounds(_Interval):
    """An interval that contains the activations.

    Attributes:
        lower: largest known lower limit.
        upper: smallest known upper limit.
        above: for neurons with both limits, true if they are silent at the upper limit instead of the lower limit. This
            is the case after a multiplication by a negative factor. The result of a function is a new neuron, which is
            silent at its smallest activation.
    """

    above: Side = False

    def silent_above(self, above: Side) -> Bounds:
        """Return the same interval with another `above`: true where the neurons are silent at the upper limit."""
        if above is self.above:
            return self
        turned = Bounds(*self)
        turned.above = above
        return turned

    @property
    def uniform(self) -> bool:
        """Whether limits and `above` are the same for all neurons, and so need no shape."""
        return not any(isinstance(side, torch.Tensor) for side in (*self, self.above))

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
SYMMETRIC = Bounds(-1.0, 1.0)


def _all_at_least(limit: Limit, number: float) -> bool:
    return bool((limit >= number).all()) if isinstance(limit, torch.Tensor) else limit >= number


def _tensor(limit: Limit) -> torch.Tensor:
    return limit if isinstance(limit, torch.Tensor) else torch.tensor(limit, dtype=torch.float64)


def _least(a: Limit, b: Limit) -> Limit:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return torch.minimum(*_alike(a, b))
    return min(a, b)


def _most(a: Limit, b: Limit) -> Limit:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return torch.maximum(*_alike(a, b))
    return max(a, b)


def _alike(a: Limit, b: Limit) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two limits as tensors with the same dtype and device."""
    a, b = _tensor(a).double(), _tensor(b).double()
    return (a.to(b.device) if a.dim() == 0 else a), (b.to(a.device) if b.dim() == 0 else b)


def _product(a: Limit, b: Limit) -> Limit:
    """Return `a * b`. Zero times infinity is zero, because activations are finite."""
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        a, b = _alike(a, b)
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
    return Bounds(lower, upper).silent_above(_turned(bounds, factor))


def _turned(bounds: Bounds, factor: Limit) -> Side:
    """Return where neurons are silent at their upper limit after a multiplication by a factor."""
    if any(not isinstance(limit, torch.Tensor) and math.isinf(limit) for limit in bounds):
        return False  # at most one limit is finite
    if not isinstance(factor, torch.Tensor):
        return _not(bounds.above) if factor < 0 else bounds.above
    negative = factor < 0
    return negative ^ (bounds.above.to(negative.device) if isinstance(bounds.above, torch.Tensor) else bounds.above)


def _not(side: Side) -> Side:
    return ~side if isinstance(side, torch.Tensor) else not side


def _sum(a: Limit, b: Limit) -> Limit:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        a, b = _alike(a, b)
    return a + b


def negated(bounds: Bounds) -> Bounds:
    """Bounds of `-a`."""
    return Bounds(-bounds.upper, -bounds.lower).silent_above(_turned(bounds, -1.0))


def _all_above(terms: Sequence[Bounds]) -> Side:
    """Return where a combination of neurons is silent at its upper limit: where this holds for all of the neurons."""
    above = terms[0].above
    for term in terms[1:]:
        above = above & term.above if above is not False and term.above is not False else False
    return above


def added(terms: Sequence[Bounds]) -> Bounds:
    """Bounds of a sum."""
    lower, upper = terms[0]
    for other_lower, other_upper in terms[1:]:
        lower, upper = _sum(lower, other_lower), _sum(upper, other_upper)
    return Bounds(lower, upper).silent_above(_all_above(terms))


def times(a: Bounds, b: Bounds) -> Bounds:
    """Bounds of a product of two numbers. Each number can have any value in its interval."""
    if a is UNBOUNDED or b is UNBOUNDED:
        return UNBOUNDED
    corners = [_product(x, y) for x in a for y in b]
    lower, upper = corners[0], corners[0]
    for corner in corners[1:]:
        lower, upper = _least(lower, corner), _most(upper, corner)
    return Bounds(lower, upper)


def inverse(bounds: Bounds) -> Bounds:
    """Bounds of `1 / a` for nonnegative `a`."""
    return Bounds(_inverse(bounds.upper), _inverse(bounds.lower))


def _inverse(limit: Limit) -> Limit:
    if isinstance(limit, torch.Tensor):
        return limit.double().reciprocal()
    return math.inf if limit == 0 else 1 / limit


def magnitude(bounds: Bounds) -> Bounds:
    """Bounds of `|a|`."""
    flipped = negated(bounds)
    return Bounds(_most(0.0, _most(bounds.lower, flipped.lower)), _most(bounds.upper, flipped.upper))


def maximum(terms: Sequence[Bounds]) -> Bounds:
    """Bounds of the largest of several numbers."""
    lower, upper = terms[0]
    for other_lower, other_upper in terms[1:]:
        lower, upper = _most(lower, other_lower), _most(upper, other_upper)
    return Bounds(lower, upper).silent_above(_all_above(terms))


def minimum(terms: Sequence[Bounds]) -> Bounds:
    """Bounds of the smallest of several numbers."""
    return negated(maximum([negated(term) for term in terms]))


def hull(terms: Sequence[Bounds]) -> Bounds:
    """Bounds of a number that equals one of several numbers: the union of their intervals."""
    lower, upper = terms[0]
    for other_lower, other_upper in terms[1:]:
        lower, upper = _least(lower, other_lower), _most(upper, other_upper)
    return Bounds(lower, upper).silent_above(_all_above(terms))


def either(where: torch.Tensor, a: Bounds, b: Bounds) -> Bounds:
    """Bounds of `torch.where(where, a, b)`."""

    def picked(x: Limit | Side, y: Limit | Side) -> torch.Tensor:
        one, other = (torch.as_tensor(side, device=where.device) for side in (x, y))
        return torch.where(where, one, other)

    return Bounds(picked(a.lower, b.lower), picked(a.upper, b.upper)).silent_above(picked(a.above, b.above))


def clipped(bounds: Bounds, least: float, most: float) -> Bounds:
    """Bounds of `min(max(a, least), most)`."""
    lower, upper = bounds
    if isinstance(lower, torch.Tensor) or isinstance(upper, torch.Tensor):
        lower, upper = _least(_most(lower, least), most), _least(_most(upper, least), most)
    else:
        lower, upper = min(max(lower, least), most), min(max(upper, least), most)
    same = math.isinf(least) and math.isinf(most)
    return Bounds(lower, upper).silent_above(bounds.above if same else False)


def rising(bounds: Bounds, function: Callable[[torch.Tensor], torch.Tensor]) -> Bounds:
    """Bounds of a monotonically increasing function: its values at the limits of its argument.

    Args:
        bounds: bounds of the argument.
        function: an element-wise function of a tensor.
    """
    return Bounds(_at(bounds.lower, function, -math.inf), _at(bounds.upper, function, math.inf))


HUGE = 1e300
"""Stands for infinity where a function's formula has no value there (`x / (1 + |x|)`)."""


def _at(limit: Limit, function: Callable[[torch.Tensor], torch.Tensor], unknown: float) -> Limit:
    x = _tensor(limit).double()
    y = function(x)
    if not isinstance(limit, torch.Tensor):
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
    for dim in range(limit.dim()):
        if limit.shape[dim] > 1:
            first = limit.narrow(dim, 0, 1)
            if bool((limit == first).all()):
                limit = first
    return float(limit) if limit.numel() == 1 else limit.clone()


def mapped(bounds: Bounds, apply: Callable[[Limit], Limit]) -> Bounds:
    """Apply an operation that preserves order to both limits."""
    lower, upper = bounds
    above = bounds.above
    if isinstance(above, torch.Tensor):
        moved = apply(above.double())
        above = moved > 0.5
    return Bounds(apply(lower), apply(upper)).silent_above(above)
