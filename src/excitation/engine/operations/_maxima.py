"""Readers for every maximum over a set: over dimensions or between tensors, minima, sorting, the k largest, medians.

Each output is one of the candidate neurons, and its signal passes to this neuron. If several neurons are equal, the
first one in the order of the dimension or of the arguments is the winner, as in max pooling. All implementations of a
maximum therefore give the same map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .._axes import AxisSource, Kept, Made, Resampled
from .._bounds import Bounds
from .._selected_bounds import maximum, minimum
from ._choices import Selection, Taken
from ._elementwise import Activation
from ._families import LEAD
from ._readers import CallContext, Parts, Read, common_shape, reads, reduced_axes, reduced_dims

Indices = Callable[[torch.Tensor], torch.Tensor]
"""From the input to the places of the chosen neurons along one dimension, which stays."""


def _together(x: torch.Tensor, dims: Sequence[int]) -> torch.Tensor:
    """Move some dimensions of a tensor to the end and flatten them."""
    rest = [d for d in range(x.dim()) if d not in dims]
    return x.permute(*rest, *dims).reshape([x.shape[d] for d in rest] + [-1])


def _over(
    input: torch.Tensor, dims: Sequence[int], keepdim: bool, *kinds: tuple[Indices, Callable[..., torch.Tensor]]
) -> Read:
    """Return a reduction that selects one neuron. Each kind gives the index function and the function of the bounds."""

    def take(numbers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        set_ = _together(input, dims)
        return [_together(numbers[0], dims).gather(-1, find(set_)) for find, _ in kinds]

    operation = Selection(
        None,
        adjoint=Taken([input], take).adjoint,
        operands=(input,),
        bound=lambda lowers: kinds[0][1](lowers[0], dims, keepdim=keepdim),
        largest=lambda numbers: numbers[0].amax(tuple(dims), keepdim=keepdim),
        axes=reduced_axes(input.dim(), dims, keepdim=keepdim),
    )
    return operation, (input,)


def _first_largest(x: torch.Tensor) -> torch.Tensor:
    return x.max(-1, keepdim=True).indices


def _first_smallest(x: torch.Tensor) -> torch.Tensor:
    return x.min(-1, keepdim=True).indices


def _first(x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return the first index in the last dimension with the given value."""
    return (x == value).to(torch.uint8).argmax(-1, keepdim=True)


LARGEST = _first_largest, torch.amax
SMALLEST = _first_smallest, torch.amin


@reads("max", "min", "amax", "amin")
def extremum(
    context: CallContext, input: torch.Tensor, dim: Any = None, keepdim: bool = False, other: Any = None
) -> Read | Parts:
    """Maximum or minimum over dimensions, over all dimensions, or of two tensors.

    The first of equal neurons is the winner. In contrast, PyTorch's derivative of `amax` divides the gradient.
    """
    second = dim if isinstance(dim, torch.Tensor) else other
    if second is not None:
        return larger(context, input, second)
    return _over(input, reduced_dims(input, dim), keepdim, LARGEST if context.name.endswith("max") else SMALLEST)


@reads("aminmax")
def smallest_and_largest(
    context: CallContext, input: torch.Tensor, *, dim: int | None = None, keepdim: bool = False
) -> Read:
    """`torch.aminmax`: minimum and maximum."""
    del context
    return _over(input, reduced_dims(input, dim), keepdim, SMALLEST, LARGEST)


@reads("maximum", "fmax", "minimum", "fmin")
def larger(context: CallContext, input: torch.Tensor, other: torch.Tensor) -> Read | Parts:
    """Element-wise maximum or minimum of two tensors. With a constant, it is a rectifier with given thresholds."""
    most = context.name in {"max", "maximum", "fmax"}
    carrying = [context.carries(tensor) for tensor in (input, other)]
    if not all(carrying):
        x, limit = (input, other) if carrying[0] else (other, input)
        return _limited(x, limit, most=most)

    def take(numbers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        # The second is selected where it is beyond the first, or where the first is NaN.
        first_wins = (input >= other if most else input <= other) | other.isnan()
        return [torch.where(first_wins, numbers[0], numbers[1])]

    operation = Selection(
        (1.0,),
        adjoint=Taken([input, other], take).adjoint,
        operands=(input, other),
        bound=lambda lowers: (torch.maximum if most else torch.minimum)(lowers[0], lowers[1]),
        largest=lambda numbers: torch.maximum(numbers[0], numbers[1]),
    )
    return operation, (input, other)


def _limited(x: torch.Tensor, limit: torch.Tensor, *, most: bool) -> Read | Parts:
    shape = common_shape(x.shape, limit.shape)
    if shape != x.shape:
        call = torch.maximum if most else torch.minimum
        return Parts(lambda: call(x.expand(shape), limit))
    if not limit.is_floating_point():
        limit = limit.to(x.dtype)
    constant = Bounds(limit.detach(), limit.detach())
    joined = maximum if most else minimum
    return Activation((1.0,), lambda bounds: Bounds(*joined([bounds, constant]))), (x,)


def _ordered(
    input: torch.Tensor, dim: int, indices: Callable[[torch.Tensor], torch.Tensor],
    values: Callable[[torch.Tensor], torch.Tensor], axis: AxisSource | None,
) -> Read:  # fmt: skip
    """Return an operation that sorts the neurons along one dimension."""
    d = dim % max(input.dim(), 1)

    def take(numbers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [numbers[0].gather(d, indices(input))] if input.dim() else [numbers[0]]

    axes = tuple(Kept(a) if a != d else axis for a in range(input.dim()) if a != d or axis is not None)
    operation = Selection(
        None,
        adjoint=Taken([input], take).adjoint,
        operands=(input,),
        bound=lambda lowers: values(lowers[0]),
        largest=lambda numbers: torch.ones_like(values(numbers[0])) * numbers[0].amax(d, keepdim=True),
        axes=axes,  # type: ignore[arg-type]
    )
    return operation, (input,)


@reads("topk")
def largest_few(
    context: CallContext, input: torch.Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Read:  # fmt: skip
    """`torch.topk`: the k largest or smallest neurons along a dimension."""
    del context

    def run(x: torch.Tensor) -> Any:
        return x.topk(k, dim, largest, sorted)

    def indices(x: torch.Tensor) -> torch.Tensor:
        # Without sorting, only the call determines the order. With sorting, the first of equal neurons comes first.
        if not sorted:
            return run(x).indices  # type: ignore[no-any-return]
        return torch.sort(x, stable=True, dim=dim, descending=largest).indices.narrow(dim, 0, k)

    return _ordered(input, dim, indices, lambda x: run(x).values, Made())


@reads("sort", "msort")
def sorting(
    context: CallContext, input: torch.Tensor, dim: Any = -1, descending: bool = False, *, stable: bool | None = None
) -> Read:
    """Stable sort along a dimension."""
    del stable
    along = 0 if context.name == "msort" else dim

    def run(x: torch.Tensor) -> Any:
        return torch.sort(x, stable=True, dim=along, descending=descending)

    return _ordered(input, along, lambda x: run(x).indices, lambda x: run(x).values, Made())


@reads("kthvalue")
def kth_smallest(context: CallContext, input: torch.Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Read:
    """`torch.kthvalue`: the k-th smallest neuron along a dimension."""
    del context
    return _over(
        input,
        reduced_dims(input, dim),
        keepdim,
        (
            lambda x: _first(x, x.kthvalue(k, -1, keepdim=True).values),
            lambda x, dims, keepdim: x.kthvalue(k, dims[0], keepdim=keepdim).values,
        ),
    )


@reads("median", "nanmedian")
def median(context: CallContext, input: torch.Tensor, dim: int | None = None, keepdim: bool = False) -> Read:
    """Median. For an even number of neurons, PyTorch returns the lower of the two middle ones."""
    run = torch.median if context.name == "median" else torch.nanmedian

    def bound(x: torch.Tensor, dims: Sequence[int], *, keepdim: bool) -> torch.Tensor:
        return x.median(dims[0], keepdim=keepdim).values if len(dims) == 1 else x.median()

    return _over(
        input, reduced_dims(input, dim), keepdim, (lambda x: _first(x, run(x, -1, keepdim=True).values), bound)
    )


@reads("cummax", "cummin")
def running_extremum(context: CallContext, input: torch.Tensor, dim: int) -> Read:
    """Cumulative maximum or minimum along a dimension."""
    run = torch.cummax if context.name == "cummax" else torch.cummin
    return _ordered(input, dim, lambda x: run(x, dim).indices, lambda x: run(x, dim).values, Resampled(dim, 1.0))


@reads("logsumexp", "special_logsumexp")
def soft_maximum(context: CallContext, input: torch.Tensor, dim: Any = None, keepdim: bool = False) -> Read:
    """`logsumexp`. The probability of each input is its softmax weight, which is also its derivative."""
    del context
    dims = reduced_dims(input, dim)

    def adjoint(signals: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
        p = next(signal for signal in signals if signal is not None)
        x = input.to(p.dtype)
        top = x.amax(dims, keepdim=True)
        weights = (x - torch.where(top.isfinite(), top, 0)).exp()
        weights = weights / weights.sum(dims, keepdim=True)
        shape = [1 if d in dims else size for d, size in enumerate(input.shape)]
        return [p.reshape(*p.shape[:LEAD], *shape) * weights]

    operation = Selection(
        None,
        adjoint=adjoint,
        bound=lambda lowers: lowers[0].logsumexp(dims, keepdim),
        axes=reduced_axes(input.dim(), dims, keepdim=keepdim),
    )
    return operation, (input,)


@reads("logaddexp")
def soft_larger(context: CallContext, input: torch.Tensor, other: torch.Tensor) -> Parts:
    """`logaddexp`: the logsumexp of two tensors."""
    del context
    shape = common_shape(input.shape, other.shape)
    return Parts(lambda: torch.stack([input.expand(shape), other.expand(shape)]).logsumexp(0))
