"""Readers for the selection of neurons by position: gather, index_select, roll, take, unpooling, unfold.

The positions are constants or were computed in the forward pass (the indices of a maximum). They receive no signal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .._axes import Axes, AxisSource, Kept, Made, Resampled
from ._choices import Taken, Written, in_doubles
from ._moving import Arrangement
from ._readers import CallContext, Parts, Read, common_shape, reads

Take = Callable[[torch.Tensor], torch.Tensor]


def taken(input: torch.Tensor, take: Take, axes: Axes | None = None, *, made: bool = False) -> Read:
    """Return a selection of neurons. `take` is applied to neuron indices; without `axes`, it also gives the axes."""
    known = Taken([input], lambda numbers: [take(numbers[0])])
    operation = Arrangement(
        None,
        apply=lambda tensors: (take(tensors[0]),),
        adjoint=known.adjoint,
        made=made,
        axes=axes,
        laid=known.laid if axes is None else None,
    )
    return operation, (input,)


def along(input: torch.Tensor, dim: int | None, step: float | None = None) -> Axes | None:
    """Return the axes of an operation that rearranges one dimension; `None` without a dimension."""
    if dim is None:
        return None
    if input.dim() == 0:
        return ()
    return tuple(Resampled(a, step) if a == dim % input.dim() else Kept(a) for a in range(input.dim()))


@reads("index_select", "gather", "take_along_dim")
def gather(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Neurons at given indices along one dimension."""
    method: Callable[..., torch.Tensor] = getattr(torch.Tensor, context.name)
    if not context.carries(input):
        context.refuse("it looks up constants by indices that depend on the images.")
    dims = [item for item in (*args, *kwargs.values()) if isinstance(item, int) and not isinstance(item, bool)]
    return taken(input, lambda x: method(x, *args, **kwargs), along(input, dims[0] if dims else None))


@reads("take")
def take(context: CallContext, input: torch.Tensor, index: torch.Tensor) -> Read:
    """`torch.take`: neurons at given flat indices in row-major order."""
    del context
    return taken(input, lambda x: x.take(index))


@reads("roll")
def roll(context: CallContext, input: torch.Tensor, shifts: Any, dims: Any = ()) -> Read:
    """`torch.roll`: cyclic shift."""
    del context
    moved = [dims] if isinstance(dims, int) else list(dims or range(input.dim()))
    moved = [d % input.dim() for d in moved]
    axes: Axes = tuple(Resampled(a, 1.0) if a in moved else Kept(a) for a in range(input.dim()))
    return taken(input, lambda x: x.roll(shifts, dims), axes)


@reads(*(f"max_unpool{n}d" for n in (1, 2, 3)))
def max_unpooling(context: CallContext, input: torch.Tensor, indices: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Max unpooling: each neuron moves to the position of its maximum; all other positions are zero."""
    unpool: Callable[..., torch.Tensor] = getattr(F, context.name)
    n = int(context.name[-2])
    take = in_doubles(lambda x: unpool(x, indices, *args, **kwargs))
    lead = input.dim() - n
    axes: list[AxisSource] = [Kept(a) if a < lead else Resampled(a) for a in range(input.dim())]
    known = Taken([input], lambda numbers: [take(numbers[0])])
    operation = Written(
        None, apply=lambda tensors: (take(tensors[0]),), adjoint=known.adjoint, axes=tuple(axes), known=known
    )
    return operation, (input,)


@reads("unfold")
def unfold(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Sliding windows. Neurons in several windows are copied, and the signals of the copies are summed."""
    if len(args) == 3 or {"size", "step", "dimension"} & set(kwargs):
        settings = dict(zip(("dimension", "size", "step"), args, strict=False)) | kwargs
        d, step = settings["dimension"] % input.dim(), settings["step"]
        axes: list[AxisSource] = [Resampled(a, float(step)) if a == d else Kept(a) for a in range(input.dim())]
        return taken(input, lambda x: torch.Tensor.unfold(x, d, settings["size"], step), (*axes, Made()))
    del context
    apply = in_doubles(lambda x: F.unfold(x, *args, **kwargs))
    lead: Axes = (Kept(0),) if input.dim() == 4 else ()
    return taken(input, apply, (*lead, Made(), Made()), made=True)


@reads("broadcast_tensors")
def broadcast(context: CallContext, *tensors: torch.Tensor) -> Parts:
    """All tensors broadcast to one shape."""
    del context
    shape = common_shape(*(tensor.shape for tensor in tensors))
    return Parts(lambda: tuple([tensor.expand(shape) for tensor in tensors]))


@reads("nan_to_num")
def without_nan(
    context: CallContext, input: torch.Tensor, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Read:
    """`nan_to_num`: NaN and infinite values are replaced by constants, whose signal is lost."""
    del context
    odd = ~input.isfinite()

    def apply(tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor]:
        x = tensors[0]
        return (torch.where(odd.to(x.device), input.nan_to_num(nan, posinf, neginf).to(x.dtype), x),)

    def take(numbers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [numbers[0].masked_fill(odd, 0)]

    known = Taken([input], take)
    return Written((1.0,), apply=apply, adjoint=known.adjoint, known=known), (input,)


@reads("softmin")
def softmin(context: CallContext, input: torch.Tensor, dim: int | None = None, *args: Any, **kwargs: Any) -> Parts:
    """Softmin: the softmax of the negated input."""
    del args, kwargs
    if dim is None:
        context.refuse("it is called without a dimension.", "Give it one.")
    return Parts(lambda: (-input).softmax(dim))
