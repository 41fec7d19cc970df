"""Readers for writes: `y[:, :4] = z`, index and scatter functions, masked filling, `where`.

A written neuron receives the signal of its position. The signal on a written constant is lost. Positions are constants,
or masks and indices that were computed in the forward pass. They receive no signal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from .._layout import Axis, Layout, MixedImagesError, broadcast, holds_images
from .._values import tensor_list
from ._choices import Taken, Written
from ._linear_maps import linear_map
from ._readers import CallContext, Number, Parts, Read, reads
from ._selection import taken

Write = Callable[[Sequence[torch.Tensor], Callable[[Any], Any]], torch.Tensor]
"""The operation on tensors in the place of its operands, and on its constant by what is done to constants."""


def written(context: CallContext, operands: Sequence[torch.Tensor], write: Write, *places: object) -> Read:
    """Read a call that combines parts of several tensors and constants.

    Args:
        context: context of the call.
        operands: tensors that contain the kept and the written neurons.
        write: the call as a function.
        places: arguments that determine the positions: masks, indices, slices.
    """
    if not all(operand.is_floating_point() for operand in operands):
        context.refuse("it writes integers or masks into activations.", "Cast them before.")
    carrying = [context.carries(operand) for operand in operands]
    neurons = [operand for operand, own in zip(operands, carrying, strict=True) if own]

    def among(tensors: Sequence[torch.Tensor], constant: Callable[[Any], Any]) -> list[torch.Tensor]:
        """Replace the operands that receive signals by the given tensors, and the other operands by constants."""
        rest, dtype = iter(tensors), tensors[0].dtype
        return [
            next(rest) if own else constant(operand).to(dtype) for operand, own in zip(operands, carrying, strict=True)
        ]

    def number(constant: Any) -> Any:
        return torch.zeros_like(constant) if isinstance(constant, torch.Tensor) else 0

    known = Taken(neurons, lambda numbers: [write(among(numbers, number), number)])
    operation = Written(
        (1.0,),
        apply=lambda tensors: (write(among(tensors, lambda constant: constant), lambda constant: constant),),
        adjoint=known.adjoint,
        laid=known.laid,
        steered=any(context.carries(tensor) for tensor in tensor_list(places)),
        known=known,
    )
    return operation, tuple(neurons)


@reads("where")
def where(context: CallContext, condition: torch.Tensor, input: Any = None, other: Any = None) -> Read:
    """`torch.where`. The mask receives no signal."""
    if input is None or other is None:
        context.refuse(
            "it returns the positions of a mask, and signals cannot pass through these.", "Use the mask itself."
        )
    if condition.is_floating_point() and context.carries(condition):
        condition = condition.bool()
    choices = [input, other]
    places = [place for place, choice in enumerate(choices) if isinstance(choice, torch.Tensor)]
    if not any(context.carries(choices[place]) for place in places):
        context.refuse("a mask that depends on the images selects between constants, so it has no input neurons.")
    kept_places = [place for place in places if choices[place].is_floating_point()]
    kept = [choices[place] for place in kept_places]

    def write(tensors: Sequence[torch.Tensor], constant: Callable[[Any], Any]) -> torch.Tensor:
        given = [constant(choice) for choice in choices]
        for place, tensor in zip(kept_places, tensors, strict=True):
            given[place] = tensor
        return torch.where(condition, given[0], given[1])

    return written(context, kept, write, condition)


def _into(input: torch.Tensor, write: Callable[[torch.Tensor], Any]) -> torch.Tensor:
    """Return a copy of a tensor after a write."""
    copy = input.clone()
    write(copy)
    return copy


@reads("setitem")
def setitem(context: CallContext, input: torch.Tensor, index: Any, value: Any) -> Read:
    """`y[index] = value`. The index consists of slices, masks and integers; the value is a tensor or a number."""
    if not isinstance(value, torch.Tensor):

        def number(xs: Sequence[torch.Tensor], constant: Callable[[Any], Any]) -> torch.Tensor:
            return _into(xs[0], lambda x: x.__setitem__(index, constant(value)))

        return written(context, [input], number, index)
    if not context.carries(input) and not context.carries(value):
        context.refuse("a mask that depends on the images selects between constants, so it has no input neurons.")
    return written(context, [input, value], lambda xs, _: _into(xs[0], lambda x: x.__setitem__(index, xs[1])), index)


@reads("copy")
def copy(context: CallContext, input: torch.Tensor, src: torch.Tensor, non_blocking: bool = False) -> Read:
    """`Tensor.copy_`: all values are overwritten by a tensor that broadcasts to the shape."""
    del non_blocking
    if not context.carries(src):
        context.refuse("it overwrites activations by constants.", "Use the constants in their place.")
    shape = input.shape
    return taken(src, lambda x: x.expand(shape))


@reads("masked_fill", "index_fill")
def fill(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """A number written at the positions of a mask, or at indices along a dimension."""
    method: Callable[..., torch.Tensor] = getattr(torch.Tensor, context.name)
    value, rest = kwargs.get("value", args[-1]), args if "value" in kwargs else args[:-1]
    named = {key: item for key, item in kwargs.items() if key != "value"}
    if context.carries(value):
        return written(context, [input, value], lambda xs, _: _filled(method, xs, rest, named), rest, named)

    def number(xs: Sequence[torch.Tensor], constant: Callable[[Any], Any]) -> torch.Tensor:
        return method(xs[0], *rest, **named, value=constant(value))

    return written(context, [input], number, rest, named)


def _filled(method: Any, xs: Sequence[torch.Tensor], rest: Any, named: Any) -> torch.Tensor:
    mask = method(torch.zeros_like(xs[0], dtype=torch.bool), *rest, **named, value=True)
    return torch.where(mask, xs[1], xs[0])


@reads("index_copy", "slice_scatter", "select_scatter", "diagonal_scatter")
def write_along(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """A tensor written at given indices along a dimension."""
    method: Callable[..., torch.Tensor] = getattr(torch, context.name)
    names = ("dim", "index", "source") if context.name == "index_copy" else ("src",)
    settings = dict(zip(names, args, strict=False)) | kwargs
    rest = args[len(names) :]
    source = settings.pop(names[-1])
    if context.name == "index_copy":
        d, index = settings["dim"], settings["index"]
        return written(context, [input, source], lambda xs, _: torch.index_copy(xs[0], d, index, xs[1]), index)
    return written(context, [input, source], lambda xs, _: method(xs[0], xs[1], *rest, **settings))


@reads("as_strided_scatter")
def write_view(context: CallContext, input: torch.Tensor, src: torch.Tensor, *geometry: Any, **kwargs: Any) -> Read:
    """A tensor written to the memory of a view."""
    return written(
        context,
        [input, src],
        lambda xs, _: torch.as_strided_scatter(_laid_out(xs[0], input), xs[1], *geometry, **kwargs),
    )


@reads("as_strided")
def view_of_memory(context: CallContext, input: torch.Tensor, *geometry: Any, **kwargs: Any) -> Read:
    """`as_strided`: neurons selected by their positions in memory."""
    del context
    return taken(input, lambda x: _laid_out(x, input).as_strided(*geometry, **kwargs))


def _laid_out(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return a tensor in the memory layout of another tensor of the same shape."""
    return torch.empty_like(like, dtype=x.dtype, device=x.device).copy_(x)


@reads("scatter", "scatter_add")
def scatter(
    context: CallContext, input: torch.Tensor, dim: int, index: torch.Tensor, src: Any = None, value: Any = None,
    reduce: str | None = None,
) -> Read | Parts:  # fmt: skip
    """Neurons written or added at indices along a dimension."""
    source = value if src is None else src
    if context.name == "scatter_add" or reduce == "add":
        if not isinstance(source, torch.Tensor):
            return Parts(lambda: input + torch.zeros_like(input).scatter(dim, index, source, reduce="add"))
        return _added(context, input, source, lambda base, x: base.scatter_add(dim, index, x))
    if reduce is not None:
        context.refuse(f"it reduces by {reduce!r}; only writing and adding have a rule.")
    if not isinstance(source, torch.Tensor):
        return written(context, [input], lambda xs, constant: xs[0].scatter(dim, index, constant(source)), index)
    return written(context, [input, source], lambda xs, _: xs[0].scatter(dim, index, xs[1]), index)


@reads("index_add")
def index_add(
    context: CallContext, input: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, *, alpha: Number = 1
) -> Read | Parts:  # fmt: skip
    """Neurons added at indices along a dimension."""
    if alpha != 1:
        return Parts(lambda: input.index_add(dim, index, source * alpha))
    return _added(context, input, source, lambda base, x: base.index_add(dim, index, x))


@reads("index_put")
def index_put(
    context: CallContext, input: torch.Tensor, indices: Any, values: torch.Tensor, accumulate: bool = False
) -> Read | Parts:
    """`y[indices] = values`, or `+=`."""
    if accumulate:
        return _added(context, input, values, lambda base, x: base.index_put(indices, x, accumulate=True))
    return written(context, [input, values], lambda xs, _: xs[0].index_put(indices, xs[1]), indices)


def _added(
    context: CallContext, base: torch.Tensor, source: torch.Tensor, add: Callable[[torch.Tensor, torch.Tensor], Any]
) -> Read | Parts:
    """Return the sum of a tensor and neurons of another at given positions. Several neurons can share a position."""
    if context.carries(base):
        return Parts(lambda: base + add(torch.zeros_like(base), source))

    def forward(x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = add(torch.zeros(base.shape, dtype=x.dtype, device=x.device), x)
        return made

    def laid(layouts: Sequence[Layout | None], shapes: Sequence[torch.Size]) -> list[Layout]:
        layout = layouts[0]
        assert layout is not None
        return [broadcast([_kept_in_sum(layout, source, forward)], shapes[0])]

    operation, operands = linear_map(source, forward, axes=None, apart=False)
    return replace(operation, laid=laid), operands


def _kept_in_sum(layout: Layout, source: torch.Tensor, add: Callable[[torch.Tensor], torch.Tensor]) -> Layout:
    """Return the axes of neurons that are added at positions of another tensor. Other axes are empty.

    An axis is kept if all neurons of a sum come from its position. The positions of these neurons have a variance of
    zero and a mean equal to the position of the sum.

    Raises:
        MixedImagesError: a sum has neurons of several images, or of another image than its own.
    """
    own = source.shape
    counts = add(torch.ones(own, dtype=torch.float64, device=source.device))
    filled = counts.nonzero(as_tuple=True)
    count = counts[filled]
    result: list[Axis] = [()] * counts.dim()
    for place, (axis, length) in enumerate(zip(layout, own, strict=True)):
        ends = (1,) * (len(own) - place - 1)
        positions = torch.arange(length, dtype=torch.float64, device=source.device).reshape(-1, *ends).expand(own)
        total, squares = (add(item)[filled] for item in (positions, positions**2))
        kept = None
        if torch.equal(count * squares, total**2):
            open_ = [a for a in range(counts.dim()) if not result[a] and counts.shape[a] == length]
            kept = next((a for a in open_ if torch.equal(count * filled[a], total)), None)
        if kept is not None:
            result[kept] = axis
        elif holds_images(axis) and len(count):
            raise MixedImagesError
    return tuple(result)
