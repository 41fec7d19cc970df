"""Interval arithmetic: between which numbers the activations of a tensor lie, whatever the images.

A limit is one number, or a tensor that broadcasts to the activation: one number per channel, say. Most limits are plain
numbers, and most operations return one of the constants below. Limits hold for neurons; padding is no neuron.
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
    """The interval that activations lie in.

    Attributes:
        lower: largest known lower limit.
        upper: smallest known upper limit.
        above: of neurons with both limits, whether they are silent at the upper one and not at the lower one: those
            that a negative factor turned round. What comes out of a function is a neuron of its own, silent at its
            least activation.
    """

    above: Side = False

    def silent_above(self, above: Side) -> Bounds:
        """The same interval of neurons that are silent at its other end, where `above` says so."""
        if above is self.above:
            return self
        turned = Bounds(*self)
        turned.above = above
        return turned

    @property
    def nonnegative(self) -> bool:
        """Whether no activation can be below zero."""
        return _all_at_least(self.lower, 0.0)

    @property
    def positive(self) -> bool:
        """Whether every activation is above zero by some margin."""
        lower = self.lower
        return bool((lower > 0).all()) if isinstance(lower, torch.Tensor) else lower > 0

    @property
    def nonpositive(self) -> bool:
        """Whether no activation can be above zero."""
        upper = self.upper
        return bool((upper <= 0).all()) if isinstance(upper, torch.Tensor) else upper <= 0

    @property
    def one_sign(self) -> bool:
        """Whether no two activations can have opposite signs."""
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
    """Two limits as tensors of one type on one device."""
    a, b = _tensor(a).double(), _tensor(b).double()
    return (a.to(b.device) if a.dim() == 0 else a), (b.to(a.device) if b.dim() == 0 else b)


def _product(a: Limit, b: Limit) -> Limit:
    """`a b`, where zero times infinity is zero: activations are finite."""
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        a, b = _alike(a, b)
        return torch.where((a == 0) | (b == 0), 0.0, a * b)
    return 0.0 if a == 0 or b == 0 else a * b


def affine(bounds: Bounds, factor: Limit, shift: Limit) -> Bounds:
    """Bounds of `factor * a + shift`, with numbers or tensors of constants.

    Args:
        bounds: of `a`.
        factor: of either sign.
        shift: finite.
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
    """Where neurons times a factor are silent at their upper limit."""
    if any(not isinstance(limit, torch.Tensor) and math.isinf(limit) for limit in bounds):
        return False  # they have one limit at most
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
    """Where neurons that are made of several are silent at their upper limit: where all of these are."""
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
    """Bounds of a product of two numbers that may be anything in their intervals."""
    if a is UNBOUNDED or b is UNBOUNDED:
        return UNBOUNDED
    corners = [_product(x, y) for x in a for y in b]
    lower, upper = corners[0], corners[0]
    for corner in corners[1:]:
        lower, upper = _least(lower, corner), _most(upper, corner)
    return Bounds(lower, upper)


def inverse(bounds: Bounds) -> Bounds:
    """Bounds of `1 / a` for `a` that is never negative."""
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
    """Bounds of a number that is one of several."""
    lower, upper = terms[0]
    for other_lower, other_upper in terms[1:]:
        lower, upper = _least(lower, other_lower), _most(upper, other_upper)
    return Bounds(lower, upper).silent_above(_all_above(terms))


def either(where: torch.Tensor, a: Bounds, b: Bounds) -> Bounds:
    """Bounds of a number that is the one of two where a mask says so, else the other."""

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
    """Bounds of a function that does not fall: its values at the bounds.

    Args:
        bounds: of its argument.
        function: of a tensor, element by element.
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
    """Bounds of a function of one neuron that has its sign, and for which Eq. 5 counts from zero.

    Smooth rectifiers dip a little below zero. Eq. 5 could count from their minimum, but then every silent neuron wins a
    part (11 to 25 % of all mass in trained networks). So no bound is given where the neuron can have both signs.

    Args:
        bounds: of the neuron.
        function: its bounds where the neuron is never negative.
    """
    if bounds is UNBOUNDED:
        return UNBOUNDED
    if bounds.nonnegative:
        return function(bounds)
    return NONPOSITIVE if bounds.nonpositive else UNBOUNDED


def scaled_by_statistic(bounds: Bounds) -> Bounds:
    """Bounds of `a` times a number that is never negative and that the images decide."""
    return times(bounds, NONNEGATIVE)


def spread(limit: Limit, shape: torch.Size, valid: torch.Tensor | None = None) -> torch.Tensor:
    """A limit with one entry per neuron; one image stands for all where the limit is the same for all.

    Args:
        limit: to be expanded.
        shape: of the activation.
        valid: false where the tensor holds padding, which is zero.
    """
    limit = _tensor(limit)
    if valid is not None:
        limit = torch.where(valid.to(limit.device), limit, 0.0)
    alone = limit.dim() < len(shape) or limit.shape[0] == 1
    return limit.expand(1, *shape[1:]) if alone and len(shape) > 1 else limit.expand(shape)


def compact(limit: torch.Tensor) -> Limit:
    """A limit without the dimensions that it is the same along; a number if it is the same everywhere."""
    for dim in range(limit.dim()):
        if limit.shape[dim] > 1:
            first = limit.narrow(dim, 0, 1)
            if bool((limit == first).all()):
                limit = first
    return float(limit) if limit.numel() == 1 else limit.clone()


def mapped(bounds: Bounds, apply: Callable[[Limit], Limit]) -> Bounds:
    """Both limits put through an operation that keeps their order."""
    lower, upper = bounds
    above = bounds.above
    if isinstance(above, torch.Tensor):
        moved = apply(above.double())
        above = moved > 0.5
    return Bounds(apply(lower), apply(upper)).silent_above(above)
