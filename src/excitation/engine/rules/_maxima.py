"""Rules for maxima: all signal passes to the winner."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .._values import Value
from ..operations import Selection, Winner
from ._signals import Lose, Signal, with_both


def winner(
    p: Signal, operation: Winner, value: Value, *, silent: bool = False, lose: Lose | None = None
) -> Signal:  # fmt: skip
    """`winner`: all signal of an output passes to the winning input, the first in row-major order if inputs are equal.

    A special case of the winner-take-all process: `P(a_j | a_i) = 1` for the maximum (Sec. 3.2).

    Args:
        p: signal on the maxima.
        operation: the recorded operation.
        value: value of its input.
        silent: whether a maximum of zero has no winner, because all its inputs are silent. Its signal is then lost.
        lose: function that is called with the lost mass, or `None`.
    """
    start, stop = operation.dims
    a = operation.input
    places = operation.winners()
    if silent:
        maxima = a.flatten(start, stop - 1).gather(start, places)
        p = _alive(p, maxima.reshape(p.shape[2:]), lose)
    flat = p.new_zeros((*p.shape[:2], *a.flatten(start, stop - 1).shape))
    lead = p.shape[:2]
    flat.scatter_add_(2 + start, places.expand(*lead, *places.shape), p.reshape(*lead, *places.shape))
    result = flat.reshape(*lead, *a.shape)
    # Zero padding can be the winner. The mass is then lost, and the balance reports it.
    if value.valid is None:
        return result
    valid = value.valid.to(p.device)
    if lose is not None:
        for part in result:
            lose(part * ~valid)
    return result * valid


def _alive(p: Signal, neurons: torch.Tensor, lose: Lose | None) -> Signal:
    """Return the signal on neurons that are not silent."""
    alive = neurons != 0
    if lose is not None:
        for part in p:
            lose(part * ~alive)
    return p * alive


def selection(
    signals: Sequence[Signal | None],
    operation: Selection,
    inputs: Sequence[Value],
    *,
    silent: bool = False,
    lose: Lose | None = None,
) -> list[Signal]:
    """`selection`: all signal of an output passes to the selected neuron, the first of equal neurons, as in `winner`.

    The rule is the same for minima, because the two swaps of `-max(-x)` cancel. For logsumexp, a soft maximum, each
    input receives its softmax share. This equals the rule of a maximum if one input is much larger than the others.
    """
    if any(signal is not None and signal.shape[0] == 2 for signal in signals):
        signals = [None if signal is None else with_both(signal) for signal in signals]
    passed = list(operation.adjoint(signals))
    if silent:
        passed = [_alive(p, x, lose) for p, x in zip(passed, operation.operands, strict=True)]
    for place, value in enumerate(inputs):
        if value.valid is not None:
            valid = value.valid.to(passed[place].device)
            if lose is not None:
                for part in passed[place]:
                    lose(part * ~valid)
            passed[place] = passed[place] * valid
    return passed
