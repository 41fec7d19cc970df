"""Families whose outputs are neurons of their inputs, chosen by value, by a mask or by recorded places.

All of them are told by numbers: number the operands' neurons, do to the numbers what the operation did to the neurons,
and each output shows which neuron it took. Zero stands for none: a constant that the operation wrote itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .._bounds import Bounds, Limit, compact, spread
from .._values import Value
from ._families import Arrangement, Operation

Tensors = Sequence[torch.Tensor]

LEAD = 2
"""Dimensions of a signal in front of the activation's own."""


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
    """

    adjoint: Callable[[Sequence[torch.Tensor | None]], Tensors]
    bound: Callable[[Tensors], torch.Tensor]
    shares: bool = False

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
        return Bounds(combined(lowers, -math.inf), combined(uppers, math.inf))


@dataclass(eq=False)
class Written(Arrangement):
    """An arrangement of several tensors into one, some of whose places hold numbers that the operation wrote.

    Attributes:
        steered: whether the images decide what is written where.
    """

    steered: bool = False

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


def sent_back(
    operands: Tensors, take: Callable[[Tensors], Tensors]
) -> Callable[[Sequence[torch.Tensor | None]], list[torch.Tensor]]:
    """The adjoint of an operation whose outputs take neurons of its operands: each signal to the neuron taken.

    Args:
        operands: of the operation.
        take: from the operands' numbers to the outputs', 0 where an output took none; called once.
    """
    shapes = [operand.shape for operand in operands]
    sizes = [operand.numel() for operand in operands]
    places: list[torch.Tensor] = []

    def adjoint(signals: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
        like = next(signal for signal in signals if signal is not None)
        if not places:
            places.extend(taken.flatten() for taken in take(numbered(operands)))
        lead = like.shape[:LEAD]
        whole = like.new_zeros((*lead, 1 + sum(sizes)))
        for signal, place in zip(signals, places, strict=False):
            if signal is not None:
                whole = whole.index_add(-1, place.to(whole.device), signal.reshape(*lead, place.numel()))
        parts = torch.split(whole[..., 1:], sizes, -1)
        return [part.reshape(*lead, *shape) for part, shape in zip(parts, shapes, strict=True)]

    return adjoint


def in_doubles(take: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """An operation that PyTorch has for floats only, on numbers and masks; exact up to 2^53 neurons."""
    return lambda x: take(x) if x.is_floating_point() else take(x.to(torch.float64)).to(x.dtype)
