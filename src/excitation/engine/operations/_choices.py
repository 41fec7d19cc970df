"""Families whose outputs are neurons of their inputs, selected by value, by a mask or by recorded indices.

The selected neurons are determined by neuron indices: number the neurons of the operands from 1 and apply the operation
to the numbers. Each output then contains the number of its neuron. Zero means that the output is a constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from .._bounds import Bounds, Limit, compact, spread
from .._layout import Axis, Layout, MixedImagesError, broadcast, holds_images
from .._selected_bounds import hull, positions, selected
from .._values import Value
from ._families import LEAD, Operation
from ._moving import Arrangement

Tensors = Sequence[torch.Tensor]


@dataclass(eq=False)
class Selection(Operation):
    """Selection of one of several neurons for each output, or a soft selection.

    This family contains maxima and minima over dimensions or between tensors, sorting, the k largest, medians, and
    logsumexp. Logsumexp divides its signal in proportion to the softmax of its inputs.

    Attributes:
        adjoint: maps the signals of the outputs (`None` for no signal) to the signals of the operands.
        bound: maps the limits of the operands to the limit of the first output, with one entry per output neuron. All
            members of this family increase with each input, so that this is the operation itself.
        largest: maps numbers for the operands to the largest number of the candidates of each output. `None` for a soft
            selection, which is a function of all its inputs and no candidate.
        operands: the neurons to select from.
    """

    adjoint: Callable[[Sequence[torch.Tensor | None]], Tensors]
    bound: Callable[[Tensors], torch.Tensor]
    largest: Callable[[Tensors], torch.Tensor] | None = None
    operands: Tensors = ()

    @property
    def shares(self) -> bool:
        """Whether the signal of an output can go to several neurons."""
        return self.largest is None

    def gate(self, inputs: Sequence[Value]) -> bool:
        """A selection from gates is a gate. The result of a soft selection can be outside the range of its inputs."""
        return not self.shares and all(value.gate for value in inputs)

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Apply the operation to the bounds of the inputs."""

        def combined(limits: Sequence[Limit], unknown: float) -> Limit:
            first = limits[0]
            alike = all(not isinstance(limit, torch.Tensor) and limit == first for limit in limits)
            if alike and (not self.shares or first == unknown):
                return first
            wide = [spread(limit, value.shape) for limit, value in zip(limits, inputs, strict=True)]
            return compact(self.bound(wide).nan_to_num(unknown, math.inf, -math.inf))

        lowers, uppers = ([value.bounds[side] for value in inputs] for side in (0, 1))
        bounds = Bounds(combined(lowers, -math.inf), combined(uppers, math.inf))
        if self.largest is None or all(value.bounds.plain for value in inputs):
            return bounds
        places = [positions(value.bounds) for value in inputs]
        wide = [
            [spread(pair[side], value.shape) for pair, value in zip(places, inputs, strict=True)] for side in (0, 1)
        ]
        return selected(bounds, -self.largest([-place for place in wide[0]]), self.largest(wide[1]))


@dataclass(eq=False)
class Written(Arrangement):
    """An arrangement of several tensors into one. Some positions can contain constants that the operation wrote.

    Attributes:
        steered: whether the written positions depend on the images.
        known: the selected neuron of each position, if any.
    """

    steered: bool = False
    known: Taken = field(kw_only=True)

    @property
    def proportional(self) -> bool:
        """Written constants do not depend on the neurons."""
        return False

    def intervals(self, inputs: Sequence[Value], count: int) -> Sequence[Bounds]:
        """Return the bounds at each position: those of the written neuron, or of all candidates if `steered`."""
        if not self.steered:
            limits = [self._placed([value.bounds[side] for value in inputs], inputs) for side in (0, 1)]
            found = [Bounds(lower, upper) for lower, upper in zip(*limits, strict=True)]
            if all(value.bounds.silent is None for value in inputs):
                return found
            silent = self._placed([value.bounds.origin for value in inputs], inputs)
            return [bounds.silent_at(limit) for bounds, limit in zip(found, silent, strict=True)]
        made = self.apply([torch.full((), math.nan).expand(value.shape) for value in inputs])
        written = torch.cat([part[~part.isnan()] for part in made])
        constants = [float(written.min()), float(written.max())] if written.numel() else []
        terms = [_whole(value.bounds, value.shape) for value in inputs]
        return [hull([*terms, *(Bounds(number, number) for number in constants)])] * count

    def _placed(self, limits: Sequence[Limit], inputs: Sequence[Value]) -> list[Limit]:
        """Return limits at the positions of their neurons. At a written constant, it is the constant."""
        wide = [spread(limit, value.shape).expand(value.shape) for limit, value in zip(limits, inputs, strict=True)]
        return [compact(limit) for limit in self.apply(wide)]

    def gate(self, inputs: Sequence[Value]) -> bool:
        """The result is a gate if all operands are gates and all written constants lie between zero and one."""
        if not super().gate(inputs):
            return False
        low, high = (self.apply([torch.full((), b).expand(v.shape) for v in inputs])[0] for b in (0.0, 1.0))
        return bool((low >= 0).all()) and bool((high <= 1).all())


def _whole(bounds: Bounds, shape: torch.Size) -> Bounds:
    """Return bounds that hold for every neuron of a tensor, each a number."""
    if bounds.uniform:
        return bounds
    limits = [spread(limit, shape) for limit in bounds]
    first, last = (spread(place, shape) for place in positions(bounds))
    whole = Bounds(float(limits[0].min()), float(limits[1].max()))
    return selected(whole, float(first.min()), float(last.max()))


def numbered(operands: Tensors) -> list[torch.Tensor]:
    """Return tensors with the shapes of the operands that number their neurons from 1."""
    found, start = [], 1
    for operand in operands:
        numbers = torch.arange(start, start + operand.numel(), device=operand.device)
        found.append(numbers.reshape(operand.shape))
        start += operand.numel()
    return found


class Taken:
    """The selected neurons of an operation.

    Args:
        operands: operands of the operation.
        take: maps the neuron numbers of the operands to those of the outputs, 0 for a constant. It is called once.
    """

    def __init__(self, operands: Tensors, take: Callable[[Tensors], Tensors]) -> None:
        self._shapes = [operand.shape for operand in operands]
        self._sizes = [operand.numel() for operand in operands]
        self._operands: Tensors = operands
        self._take = take
        self._numbers: Tensors | None = None

    def numbers(self) -> Tensors:
        """Return the number of the selected neuron at each position of the outputs."""
        if self._numbers is None:
            self._numbers = self._take(numbered(self._operands))
        return self._numbers

    def adjoint(self, signals: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
        """Add each signal to the selected neuron."""
        like = next(signal for signal in signals if signal is not None)
        lead = like.shape[:LEAD]
        whole = like.new_zeros((*lead, 1 + sum(self._sizes)))
        for signal, numbers in zip(signals, self.numbers(), strict=False):
            if signal is not None:
                places = numbers.flatten().to(whole.device)
                whole.index_add_(-1, places, signal.reshape(*lead, places.numel()))
        parts = torch.split(whole[..., 1:], self._sizes, -1)
        return [part.reshape(*lead, *shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def laid(self, layouts: Sequence[Layout | None], shapes: Sequence[torch.Size]) -> list[Layout]:
        """Return the layouts of the outputs. An axis equals an operand's axis if all neurons keep their positions.

        Raises:
            MixedImagesError: neurons were moved to other images.
        """
        found = []
        for numbers, shape in zip(self.numbers(), shapes, strict=True):
            aligned, start = [], 1
            for layout, own, size in zip(layouts, self._shapes, self._sizes, strict=True):
                if layout is not None:
                    aligned.append(_aligned(layout, own, numbers - start, size))
                start += size
            found.append(broadcast(aligned, shape))
        return found


def _aligned(layout: Layout, own: torch.Size, places: torch.Tensor, size: int) -> Layout:
    """Return the axes of an operand, aligned with the axes of an output.

    Args:
        layout: layout of the operand.
        own: shape of the operand.
        places: index of the operand's neuron at each position of the output. Indices outside `[0, size)` belong to
            other operands.
        size: number of neurons of the operand.
    """
    there = ((places >= 0) & (places < size)).nonzero(as_tuple=True)
    sources = torch.unravel_index(places[there], own) if own else ()
    result: list[Axis] = [()] * places.dim()
    for axis, length, source in zip(layout, own, sources, strict=True):
        open_ = [a for a in range(places.dim()) if not result[a] and places.shape[a] == length]
        kept = next((a for a in open_ if torch.equal(there[a], source)), None)
        if kept is not None:
            result[kept] = axis
        elif holds_images(axis) and len(source):
            raise MixedImagesError
    return tuple(result)


def in_doubles(take: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Apply an operation that PyTorch supports only for floats to integers and masks. Exact up to 2^53 neurons."""
    return lambda x: take(x) if x.is_floating_point() else take(x.to(torch.float64)).to(x.dtype)
