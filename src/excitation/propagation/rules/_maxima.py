"""Maxima: the winner takes all."""

from __future__ import annotations

import torch

from .._values import Value
from ..operations import SharedMaximum, Winner
from ._signals import Lose, Signal


def winner(
    p: Signal, operation: Winner, value: Value, *, silent: bool = False, lose: Lose | None = None
) -> Signal:  # fmt: skip
    """`winner`: all of an output's signal to the input that won, the first in row-major order if several tie.

    A special case of the winner-take-all process: `P(a_j | a_i) = 1` for the maximum (Sec. 3.2).

    Args:
        p: signal on the maxima.
        operation: the recorded operation.
        value: of its input.
        silent: whether a maximum of zero has no winner: all its inputs are silent, and what arrives is lost.
        lose: told what is lost here, if anybody asks.
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
    # A maximum over zero padding can be won by the padding: its mass is lost, and the account says so.
    if value.valid is None:
        return result
    valid = value.valid.to(p.device)
    if lose is not None:
        for part in result:
            lose(part * ~valid)
    return result * valid


def _alive(p: Signal, maxima: torch.Tensor, lose: Lose | None) -> Signal:
    """The signal on maxima that are not silent."""
    alive = maxima != 0
    if lose is not None:
        for part in p:
            lose(part * ~alive)
    return p * alive


def shared_maximum(
    p: Signal, operation: SharedMaximum, *, silent: bool = False, lose: Lose | None = None
) -> Signal:  # fmt: skip
    """`shared_maximum`: evenly to all inputs that equal the maximum, as the derivative of `amax` does."""
    a = operation.input
    top = a.amax(operation.dims, keepdim=True)
    if silent:
        p = _alive(p, top.reshape(p.shape[2:]), lose)
    tied = (a == top).to(p.dtype)
    share = tied / tied.sum(operation.dims, keepdim=True)
    return p.reshape(*p.shape[:2], *top.shape) * share
