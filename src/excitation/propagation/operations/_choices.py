"""Families whose outputs are neurons of their inputs, chosen by value, by a mask or by recorded places.

All of them are told by numbers: number the operands' neurons, do to the numbers what the operation did to the neurons,
and each output shows which neuron it took. Zero stands for none: a constant that the operation wrote itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .._values import UNBOUNDED, Bound, Value
from ._families import Arrangement, Operation, expanded

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
        bound: what the operation makes of lower bounds, which has one entry per output neuron. All members of this
            family rise with each input, so it is the operation itself. Of the first output.
        shares: whether an output's signal can go to several neurons.
    """

    adjoint: Callable[[Sequence[torch.Tensor | None]], Tensors]
    bound: Callable[[Tensors], torch.Tensor]
    shares: bool = False

    def gate(self, inputs: Sequence[Value]) -> bool:
        """A gate chosen from gates is one; a soft choice can leave the range of its inputs."""
        return not self.shares and all(value.gate for value in inputs)

    def lower(self, inputs: Sequence[Value]) -> Bound:
        """The operation of the inputs' bounds."""
        first = inputs[0].lower
        if not self.shares and all(isinstance(v.lower, float) and v.lower == first for v in inputs):
            return first
        if any(isinstance(v.lower, float) and v.lower == UNBOUNDED for v in inputs):
            return UNBOUNDED
        return simplified(self.bound([expanded(value) for value in inputs]))


@dataclass(eq=False)
class Written(Arrangement):
    """An arrangement of several tensors into one, some of whose places hold numbers that the operation wrote."""

    def lowers(self, inputs: Sequence[Value]) -> tuple[Bound, ...]:
        """Each place has the bound of what was written there."""
        return tuple(simplified(bound) for bound in self.apply([expanded(value) for value in inputs]))

    def gate(self, inputs: Sequence[Value]) -> bool:
        """Gates among which only zeros to ones were written are still gates."""
        if not super().gate(inputs):
            return False
        low, high = (self.apply([torch.full((), b).expand(v.shape) for v in inputs])[0] for b in (0.0, 1.0))
        return bool((low >= 0).all()) and bool((high <= 1).all())


def simplified(bound: torch.Tensor) -> Bound:
    """One number where that says the same: equal bounds, or none below zero."""
    if bound.numel() == 0:
        return UNBOUNDED
    least, most = (float(b) for b in bound.aminmax())
    return least if least == most else 0.0 if least >= 0 else bound


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
        parts = whole[..., 1:].split(sizes, -1)
        return [part.reshape(*lead, *shape) for part, shape in zip(parts, shapes, strict=True)]

    return adjoint


def in_doubles(take: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """An operation that PyTorch has for floats only, on numbers and masks; exact up to 2^53 neurons."""
    return lambda x: take(x) if x.is_floating_point() else take(x.to(torch.float64)).to(x.dtype)
