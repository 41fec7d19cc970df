"""The rules of Excitation Backprop: how a signal passes through each family of operations."""

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
from ._neurons import activation, gated, magnitude, product, scaled, to_operand
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
        """Create the rules for one record.

        Args:
            policies: choices that the paper leaves open.
            keep: whether to cache normalisers for further signals. They need as much memory as the outputs of weighted
                operations, and twice as much for signals on neurons with both signs.
            lose: function that is called with lost mass, or `None`.
        """
        self.policies = policies
        self._lose = lose
        self._evidence = Evidence(policies)
        self._kept: dict[Entry, Normalisers] | None = {} if keep else None

    def __call__(self, entry: Entry, signals: Signals) -> Signals:
        """Propagate the signals on an operation's outputs to its inputs. Signals on silent class scores are lost."""
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
        return to_operand(gated(first(signals), operation), operation)

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
        """Return the cached normalisers of an operation."""
        return {} if self._kept is None else self._kept.setdefault(entry, {})

    def terms(self, entry: Entry, operation: Sum, dtype: torch.dtype) -> list[Pair]:
        """Return, for each term of a sum, how much it raises and how much it lowers the sum."""
        fold = self._fold(entry)
        parts = [None] * len(entry.inputs) if fold is None else fold.parts
        pairs = self._evidence.of_terms(parts, operation, entry.inputs, dtype)
        silent = self._silent(entry)
        return pairs if silent is None else self._evidence.woken(pairs, silent, operation, entry.inputs, dtype)

    def begins_contrast(self, entry: Entry) -> bool:
        """Whether a contrast is formed at the outputs of an operation if it was not formed above (Sec. 3.3).

        This holds for weighted operations, and for sums and averages of the results of the last weighted operations.
        Such a sum and the weighted operations below it count as one weighted operation.
        """
        if entry.operation.weighted:
            return True
        fold = self._fold(entry)
        return fold is not None and fold.scores

    def singled_out(self, entry: Entry) -> bool:
        """Whether the rule of an operation also depends on its position in the record."""
        if isinstance(entry.operation, Average) and self._silent(entry) is not None:
            return True
        return self._fold(entry) is not None or entry.alive is not None or self._may_be_silent(entry)

    def _fold(self, entry: Entry) -> Fold | None:
        if entry.fold is None or self.policies.signed == "original":
            return None
        return None if isinstance(entry.operation, Sum) and self.policies.residual != "proportional" else entry.fold

    def _silent(self, entry: Entry) -> tuple[Composition | None, ...] | None:
        """Return the compositions of the inputs of a sum, if it can have a signal where all inputs are silent."""
        policies = self.policies
        if entry.silent is None or policies.signed == "original":
            return None
        if not (entry.wakes or policies.normaliser == "spread"):
            return None
        return None if isinstance(entry.operation, Sum) and policies.residual != "proportional" else entry.silent

    def _may_be_silent(self, entry: Entry) -> bool:
        """Whether maxima of silent neurons can have mass, because no weighted operation above applies Eq. 4."""
        if not (entry.above and self.policies.normaliser == "lose"):
            return False
        operation = entry.operation
        chosen = isinstance(operation, Winner) or (isinstance(operation, Selection) and not operation.shares)
        return chosen and all(value.nonnegative for value in entry.inputs)

    def _on_living(self, p: Signal | None, alive: torch.Tensor) -> Signal | None:
        """Return the signal on rectified class scores. The signal on silent scores is lost."""
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
        """Report the mass on padding as lost."""
        yes = torch.ones((), dtype=torch.bool)
        for p, valid in zip(signals, operation.apply([yes.expand(v.shape) for v in entry.inputs]), strict=True):
            for part in () if p is None else p:
                lose(part * ~valid.to(part.device))


def _of_equal_polarities(signals: Signals) -> Signals:
    """Give all signals a lowered part if one of them has a lowered part."""
    if all(signal is None or signal.shape[0] == 1 for signal in signals):
        return signals
    return [None if signal is None else with_both(signal) for signal in signals]
