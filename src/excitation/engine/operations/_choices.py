"""Families whose outputs are neurons of their inputs, chosen by value, by a mask or by recorded places.

All of them are told by numbers: number the operands' neurons, do to the numbers what the operation did to the neurons,
and each output shows which neuron it took. Zero stands for none: a constant that the operation wrote itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from .._bounds import Bounds, Limit, compact, spread
from .._layout import Axis, Layout, MixedImagesError, broadcast, holds_images
from .._values import Value
from ._families import LEAD, Operation
from ._moving import Arrangement

Tensors = Sequence[torch.Tensor]


@dataclass(eq=False)
class Selection(Operation):
    """Each output is the neuron that won among several, or a soft choice between them: every maximum over a set.

    Maxima and minima over dimensions or between tensors, sorting, the k largest, medians; and logsumexp, which divides
    its signal by the softmax of its inputs.

    Attributes:
        adjoint: from the outputs' signals (`None` where nothing arrived) to the operands'.
        bound: what the operation makes of limits, which has one entry per output neuron. All members of this family
            rise with each input, so it is the operation itself. Of the first output.
        shares: whether an output's signal can go to several neurons.
        operands: the neurons it chooses from.
    """

    adjoint: Callable[[Sequence[torch.Tensor | None]], Tensors]
    bound: Callable[[Tensors], torch.Tensor]
    shares: bool = False
    operands: Tensors = ()

    def gate(self, inputs: Sequence[Value]) -> bool:
        """A gate chosen from gates is one; a soft choice can leave the range of its inputs."""
        return not self.shares and all(value.gate for value in inputs)

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """The operation of the inputs' bounds."""

        def combined(limits: Sequence[Limit], unknown: float) -> Limit:
            first = limits[0]
            alike = all(not isinstance(limit, torch.Tensor) and limit == first for limit in limits)
            if alike and (not self.shares or first == unknown):
                return first
            wide = [spread(limit, value.shape) for limit, value in zip(limits, inputs, strict=True)]
            return compact(self.bound(wide).nan_to_num(unknown, math.inf, -math.inf))

        lowers, uppers = ([value.bounds[side] for value in inputs] for side in (0, 1))
        bounds = Bounds(combined(lowers, -math.inf), combined(uppers, math.inf))
        if self.shares or any(value.bounds.above is False for value in inputs):
            return bounds
        # The result is silent at its upper limit where all neurons are that it can be: there both products agree.
        above = [torch.as_tensor(value.bounds.above).double() for value in inputs]
        every = torch.as_tensor(combined([compact(side) for side in above], math.nan)) == 1
        none = torch.as_tensor(combined([compact(1 - side) for side in above], math.nan)) == 0
        both = compact((every & none).double())
        return bounds.silent_above(both == 1)


@dataclass(eq=False)
class Written(Arrangement):
    """An arrangement of several tensors into one, some of whose places hold numbers that the operation wrote.

    Attributes:
        steered: whether the images decide what is written where.
        known: which neuron each place took, if any.
    """

    steered: bool = False
    known: Taken = field(kw_only=True)

    def intervals(self, inputs: Sequence[Value], count: int) -> Sequence[Bounds]:
        """Each place has the bounds of what was written there; if images decide that, of all that could have been."""
        sides: list[list[Limit]] = []
        for side, outermost in ((0, min), (1, max)):
            given = [spread(value.bounds[side], value.shape).expand(value.shape) for value in inputs]
            made = self.apply(given)
            if self.steered:
                pick = torch.amin if side == 0 else torch.amax
                every = [float(pick(limit)) for limit in (*given, *made) if limit.numel()]
                sides.append([outermost(every)] * count)
            else:
                sides.append([compact(limit) for limit in made])
        return [Bounds(lower, upper) for lower, upper in zip(*sides, strict=True)]

    def gate(self, inputs: Sequence[Value]) -> bool:
        """Gates among which only zeros to ones were written are still gates."""
        if not super().gate(inputs):
            return False
        low, high = (self.apply([torch.full((), b).expand(v.shape) for v in inputs])[0] for b in (0.0, 1.0))
        return bool((low >= 0).all()) and bool((high <= 1).all())


def numbered(operands: Tensors) -> list[torch.Tensor]:
    """Tensors of the operands' shapes that number their neurons from 1."""
    found, start = [], 1
    for operand in operands:
        numbers = torch.arange(start, start + operand.numel(), device=operand.device)
        found.append(numbers.reshape(operand.shape))
        start += operand.numel()
    return found


class Taken:
    """What is known of an operation whose outputs take neurons of its operands.

    Args:
        operands: of the operation.
        take: from the operands' numbers to the outputs', 0 where an output took none; called once.
    """

    def __init__(self, operands: Tensors, take: Callable[[Tensors], Tensors]) -> None:
        self._shapes = [operand.shape for operand in operands]
        self._sizes = [operand.numel() for operand in operands]
        self._operands: Tensors = operands
        self._take = take
        self._numbers: Tensors | None = None

    def numbers(self) -> Tensors:
        """Which neuron each place of the outputs took."""
        if self._numbers is None:
            self._numbers = self._take(numbered(self._operands))
        return self._numbers

    def adjoint(self, signals: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
        """Each signal to the neuron taken."""
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
        """The outputs' layouts: an axis is an operand's where all neurons that were taken kept their positions.

        Raises:
            MixedImagesError: neurons went to other images' places.
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
    """An operand's axes at the places they have among an output's.

    Args:
        layout: of the operand.
        own: its shape.
        places: by place of the output, which neuron of the operand is there; others are below zero or too large.
        size: how many neurons the operand has.
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
    """An operation that PyTorch has for floats only, on numbers and masks; exact up to 2^53 neurons."""
    return lambda x: take(x) if x.is_floating_point() else take(x.to(torch.float64)).to(x.dtype)
