"""Maxima: the winner takes all."""

from __future__ import annotations

from collections.abc import Sequence

from .._values import Value
from ..operations import Selection, Winner
from ._signals import Signal, with_both


def winner(p: Signal, operation: Winner, value: Value) -> Signal:
    """`winner`: all of an output's signal to the input that won, the first in row-major order if several tie.

    A special case of the winner-take-all process: `P(a_j | a_i) = 1` for the maximum (Sec. 3.2).
    """
    start, stop = operation.dims
    a = operation.input
    places = operation.winners()
    flat = p.new_zeros((*p.shape[:2], *a.flatten(start, stop - 1).shape))
    lead = p.shape[:2]
    flat.scatter_add_(2 + start, places.expand(*lead, *places.shape), p.reshape(*lead, *places.shape))
    result = flat.reshape(*lead, *a.shape)
    # A maximum over zero padding can be won by the padding: its mass is lost, and the account says so.
    return result if value.valid is None else result * value.valid.to(p.device)


def selection(
    signals: Sequence[Signal | None], operation: Selection, inputs: Sequence[Value]
) -> list[Signal]:  # fmt: skip
    """`selection`: all of an output's signal to the neuron that it is, the first of equals; the rule of `winner`.

    A minimum is the neuron it took just as a maximum is: the two swaps of `-max(-x)` undo each other. Of logsumexp, a
    soft maximum, each input takes its softmax share, which for distant inputs is the same.
    """
    if any(signal is not None and signal.shape[0] == 2 for signal in signals):
        signals = [None if signal is None else with_both(signal) for signal in signals]
    return [
        p if value.valid is None else p * value.valid.to(p.device)
        for p, value in zip(operation.adjoint(signals), inputs, strict=True)
    ]
