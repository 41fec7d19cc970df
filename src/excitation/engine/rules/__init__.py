"""Excitation Backprop's rules: how a signal passes each family of operations; one file per family."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from .._record import Composition, Entry, Fold
from .._values import counted_from_a_bound
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
    Written,
)
from ..policies import Policies
from ._branches import residual_sum
from ._compositions import Evidence, Pair
from ._maxima import selection, winner
from ._neurons import activation, gated, magnitude, product, scaled
from ._signals import Lose, Signal, added, attention_map, channel_sum, contrasted, total, with_both
from ._table import RuleSet, Signals, first, rule_for
from ._weighted import Normalisers, affine, average, transitions

__all__ = [
    "ExcitationRules",
    "RuleSet",
    "Signal",
    "Signals",
    "added",
    "attention_map",
    "channel_sum",
    "contrasted",
    "first",
    "rule_for",
    "total",
    "transitions",
]


class ExcitationRules(RuleSet):
    """The rules of Excitation Backprop under given policies."""

    def __init__(self, policies: Policies, *, keep: bool = False, lose: Lose | None = None) -> None:
        """Rules for one record.

        Args:
            policies: choices the paper leaves open.
            keep: whether normalisers are kept for further signals. They take as much memory as the outputs of weighted
                operations, twice that for signals on neurons of both signs.
            lose: told of mass where it is lost, if anybody asks.
        """
        self.policies = policies
        self._lose = lose
        self._evidence = Evidence(policies)
        self._kept: dict[Entry, Normalisers] | None = {} if keep else None

    def __call__(self, entry: Entry, signals: Signals) -> Signals:
        """Pass the signals on an operation's outputs to its inputs; those on silent class scores are lost."""
        if entry.alive is not None and self.policies.normaliser == "lose":
            signals = [self._on_living(signals[0], entry.alive)]
        return super().__call__(entry, signals)

    @rule_for(Activation)
    def _activation(self, entry: Entry, signals: Signals) -> Signals:  # noqa: ARG002
        return [activation(first(signals))]

    @rule_for(Arrangement)
    def _arrangement(self, entry: Entry, signals: Signals) -> Signals:
        operation = entry.operation
        assert isinstance(operation, Arrangement)
        signals = _of_equal_polarities(signals)
        if operation.made and self._lose is not None:
            self._lose_in_padding(entry, operation, signals, self._lose)
        return list(operation.adjoint(signals))

    @rule_for(Written)
    def _written(self, entry: Entry, signals: Signals) -> Signals:
        operation = entry.operation
        assert isinstance(operation, Written)
        signals = _of_equal_polarities(signals)
        if self._lose is not None:
            for signal, numbers in zip(signals, operation.known.numbers(), strict=True):
                for part in () if signal is None else signal:
                    self._lose(part * (numbers == 0).to(part.device))
        return list(operation.adjoint(signals))

    @rule_for(Selection)
    def _selection(self, entry: Entry, signals: Signals) -> Signals:
        operation = entry.operation
        assert isinstance(operation, Selection)
        return selection(signals, operation, entry.inputs, silent=self._may_be_silent(entry), lose=self._lose)

    @rule_for(Affine)
    def _affine(self, entry: Entry, signals: Signals) -> Signals:
        operation = entry.operation
        assert isinstance(operation, Affine)
        return [affine(first(signals), operation, entry.inputs[0], self.policies, self._normalisers(entry), self._lose)]

    @rule_for(Average)
    def _average(self, entry: Entry, signals: Signals) -> Signals:
        operation, value, p = entry.operation, entry.inputs[0], first(signals)
        assert isinstance(operation, Average)
        fold, silent = self._fold(entry), self._silent(entry)
        evidence, made = None, None
        if fold is not None:
            evidence = self._evidence.pair(fold.parts[0], operation.input, value, p.dtype)
        if silent is not None:
            made = partial(self._evidence.pair, silent[0], operation.input, value, p.dtype)
        known = self._normalisers(entry)
        return [average(p, operation, value, self.policies, known, evidence, made, self._lose)]

    @rule_for(Winner)
    def _winner(self, entry: Entry, signals: Signals) -> Signals:
        operation = entry.operation
        assert isinstance(operation, Winner)
        return [winner(first(signals), operation, entry.inputs[0], silent=self._may_be_silent(entry), lose=self._lose)]

    @rule_for(Scaled)
    def _scaled(self, entry: Entry, signals: Signals) -> Signals:
        assert isinstance(entry.operation, Scaled)
        return [scaled(first(signals), entry.operation, self.policies)]

    @rule_for(Magnitude)
    def _magnitude(self, entry: Entry, signals: Signals) -> Signals:
        assert isinstance(entry.operation, Magnitude)
        return [magnitude(first(signals), entry.operation)]

    @rule_for(Gated)
    def _gated(self, entry: Entry, signals: Signals) -> Signals:
        operation = entry.operation
        assert isinstance(operation, Gated)
        p = gated(first(signals), operation)
        return [p, None] if operation.place == 0 else [None, p]

    @rule_for(Product)
    def _product(self, entry: Entry, signals: Signals) -> Signals:
        assert isinstance(entry.operation, Product)
        return product(first(signals), entry.operation, self.policies)

    @rule_for(Sum)
    def _sum(self, entry: Entry, signals: Signals) -> Signals:
        operation, p = entry.operation, first(signals)
        assert isinstance(operation, Sum)
        own = self._fold(entry) is None and self._silent(entry) is None
        own = own and not any(map(counted_from_a_bound, entry.inputs))
        pairs = None if own else self.terms(entry, operation, p.dtype)
        return residual_sum(p, operation, entry.inputs, self.policies, entry.address, pairs, self._lose)

    def _normalisers(self, entry: Entry) -> Normalisers:
        """The normalisers of an operation that were kept so far."""
        return {} if self._kept is None else self._kept.setdefault(entry, {})

    def terms(self, entry: Entry, operation: Sum, dtype: torch.dtype) -> list[Pair]:
        """What each term of a sum adds to it, and what it takes from it."""
        fold = self._fold(entry)
        parts = [None] * len(entry.inputs) if fold is None else fold.parts
        pairs = self._evidence.of_terms(parts, operation, entry.inputs, dtype)
        silent = self._silent(entry)
        return pairs if silent is None else self._evidence.woken(pairs, silent, operation, entry.inputs, dtype)

    def begins_contrast(self, entry: Entry) -> bool:
        """Whether a contrast is formed at an operation's outputs if it has not been formed above (Sec. 3.3).

        Weighted operations begin it, and so do sums and averages of what the last weighted operations give: with them
        they are one weighted operation.
        """
        if entry.operation.weighted:
            return True
        fold = self._fold(entry)
        return fold is not None and fold.scores

    def singled_out(self, entry: Entry) -> bool:
        """Whether more than the operation itself decides how signals pass it."""
        if isinstance(entry.operation, Average) and self._silent(entry) is not None:
            return True
        return self._fold(entry) is not None or entry.alive is not None or self._may_be_silent(entry)

    def _fold(self, entry: Entry) -> Fold | None:
        if entry.fold is None or self.policies.signed == "original":
            return None
        return None if isinstance(entry.operation, Sum) and self.policies.residual != "proportional" else entry.fold

    def _silent(self, entry: Entry) -> tuple[Composition | None, ...] | None:
        """What the inputs of a sum or average are made of, if a signal can stand on it where all of them are silent."""
        policies = self.policies
        if entry.silent is None or policies.signed == "original":
            return None
        if not (entry.wakes or policies.normaliser == "spread"):
            return None
        return None if isinstance(entry.operation, Sum) and policies.residual != "proportional" else entry.silent

    def _may_be_silent(self, entry: Entry) -> bool:
        """Whether mass can arrive at maxima of silent neurons: Eq. 4 gives them none, but nothing is weighted above."""
        if not (entry.above and self.policies.normaliser == "lose"):
            return False
        operation = entry.operation
        chosen = isinstance(operation, Winner) or (isinstance(operation, Selection) and not operation.shares)
        return chosen and all(value.nonnegative for value in entry.inputs)

    def _on_living(self, p: Signal | None, alive: torch.Tensor) -> Signal | None:
        """The signal on class scores a rectifier made: on silent ones it is lost."""
        if p is None:
            return None
        if self._lose is not None:
            for part in p:
                self._lose(part * ~alive)
        return p * alive

    @staticmethod
    def _lose_in_padding(
        entry: Entry, operation: Arrangement, signals: Sequence[Signal | None], lose: Lose
    ) -> None:  # fmt: skip
        """What stands on positions that the operation filled itself."""
        yes = torch.ones((), dtype=torch.bool)
        for p, valid in zip(signals, operation.apply([yes.expand(v.shape) for v in entry.inputs]), strict=True):
            for part in () if p is None else p:
                lose(part * ~valid.to(part.device))


def _of_equal_polarities(signals: Signals) -> Signals:
    """Signals that are moved together: all of them have lowered parts if one has."""
    if all(signal is None or signal.shape[0] == 1 for signal in signals):
        return signals
    return [None if signal is None else with_both(signal) for signal in signals]
