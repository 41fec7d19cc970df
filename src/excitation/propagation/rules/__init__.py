"""Excitation Backprop's rules: how a signal passes each family of operations; one file per family."""

from __future__ import annotations

from collections.abc import Sequence

from .._record import Entry
from ..operations import (
    Activation,
    Affine,
    Arrangement,
    Average,
    Gated,
    Magnitude,
    Product,
    Scaled,
    Selection,
    Sum,
    Winner,
)
from ..policies import Policies
from ._branches import residual_sum
from ._maxima import selection, winner
from ._neurons import activation, gated, magnitude, product, scaled
from ._signals import Signal, added, attention_map, channel_sum, contrasted, total, with_both
from ._weighted import Normalisers, affine, average, transitions

__all__ = [
    "ExcitationRules",
    "Signal",
    "added",
    "attention_map",
    "channel_sum",
    "contrasted",
    "total",
    "transitions",
]


class ExcitationRules:
    """The rules of Excitation Backprop under given policies."""

    def __init__(self, policies: Policies, *, keep: bool = False) -> None:
        """Rules for one record.

        Args:
            policies: choices the paper leaves open.
            keep: whether normalisers are kept for further signals. They take as much memory as the outputs of weighted
                operations, twice that for signals on neurons of both signs.
        """
        self.policies = policies
        self._kept: dict[Entry, Normalisers] | None = {} if keep else None

    def __call__(self, entry: Entry, signals: Sequence[Signal | None]) -> Sequence[Signal | None]:
        """Pass the signals on an operation's outputs to its inputs.

        Args:
            entry: the recorded operation.
            signals: one per output, `None` where nothing arrived; at least one is there.

        Returns:
            One signal per input, `None` for gates.
        """
        operation, policies = entry.operation, self.policies
        if isinstance(operation, Activation):
            assert signals[0] is not None
            return [activation(signals[0])]
        if isinstance(operation, Arrangement):
            if any(signal is not None and signal.shape[0] == 2 for signal in signals):
                signals = [None if signal is None else with_both(signal) for signal in signals]
            return list(operation.adjoint(signals))
        if isinstance(operation, Selection):
            return selection(signals, operation, entry.inputs)
        p = signals[0]
        assert p is not None
        if isinstance(operation, (Affine, Average)):
            known: Normalisers = {} if self._kept is None else self._kept.setdefault(entry, {})
            if isinstance(operation, Affine):
                return [affine(p, operation, entry.inputs[0], policies, known)]
            return [average(p, operation, entry.inputs[0], policies, known)]
        if isinstance(operation, Winner):
            return [winner(p, operation, entry.inputs[0])]
        if isinstance(operation, Scaled):
            return [scaled(p, operation, policies)]
        if isinstance(operation, Magnitude):
            return [magnitude(p, operation)]
        if isinstance(operation, Gated):
            p = gated(p, operation)
            return [p, None] if operation.place == 0 else [None, p]
        if isinstance(operation, Product):
            return product(p, operation, policies)
        if isinstance(operation, Sum):
            return residual_sum(p, operation, entry.inputs, policies, entry.address)
        raise AssertionError(f"no rule for the family {type(operation).__name__}")
