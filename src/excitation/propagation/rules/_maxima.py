"""Maxima: the winner takes all."""

from __future__ import annotations

from .._values import Value
from ..operations import SharedMaximum, Winner
from ._signals import Signal


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


def shared_maximum(p: Signal, operation: SharedMaximum) -> Signal:
    """`shared_maximum`: evenly to all inputs that equal the maximum, as the derivative of `amax` does."""
    a = operation.input
    top = a.amax(operation.dims, keepdim=True)
    tied = (a == top).to(p.dtype)
    share = tied / tied.sum(operation.dims, keepdim=True)
    return p.reshape(*p.shape[:2], *top.shape) * share
