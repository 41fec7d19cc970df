"""Relevance propagation as a set of rules on the engine's record: options, and signals at several layers of a pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from .._errors import ExcitationError
from ..core import Request, working
from ..engine import Entry, ExcitationRules, Policies, Record, Signal, Value, sweep
from ..engine.operations import Affine, Average, Gated, Scaled, Sum
from ..engine.rules import Signals, first, rule_for
from ..engine.rules._neurons import to_operand
from ..engine.rules._signals import reduced_to
from ._calls import record_calls
from ._folding import weighted_operations
from ._lrp_rules import Rule, Weighted, alpha_beta_rule, average_rule, epsilon_rule, flat_rule, gamma_rule, stable
from ._rivals import Start, contrasted_start

Composite = Literal["epsilon", "alpha-beta", "z-plus", "gamma", "flat", "epsilon-plus", "epsilon-plus-flat"]
"""The rule of weighted operations; the last two select it by depth and type."""

SIGNED_ON_TOP = frozenset({"epsilon", "gamma", "epsilon-plus", "epsilon-plus-flat"})
"""Rules that divide the relevance of a unit by its signed value."""


@dataclass(frozen=True)
class Relevance:
    """Options of relevance propagation, with their defaults.

    Attributes:
        rule: rule of weighted operations. `"epsilon-plus"`: z+ for convolutions, epsilon for fully connected layers;
            `"epsilon-plus-flat"`: additionally flat at the lowest weighted operations.
        contrast: `"dual"` subtracts the relevance of the unit with negated weights, formed at the last weighted
            operation. `"odds"`, `"rivals"`, `"others"` (CLRP), `"softmax"` (SGLRP): see `r-mwp`.
        start: `"unit"` starts with the signals of the targets, so that a map sums to the share at the layer. `"score"`
            multiplies the signals by the scores, as in most LRP papers. `"auto"` without a contrast: the scores for
            rules that divide by the score on top, whose sign would invert the map (epsilon, gamma, the composites); the
            signals for rules that use only positive contributions, which keep the sign. With a contrast: the signals.
        epsilon: offset of denominators from zero.
        gamma: parameter of LRP-gamma.
        alpha: parameter of LRP-alpha-beta; `alpha - beta` must be one.
        beta: parameter of LRP-alpha-beta.
        biases: whether biases absorb their share of relevance.

    Raises:
        ExcitationError: parameters that do not conserve relevance.
    """

    rule: Composite = "epsilon-plus-flat"
    contrast: Literal["dual"] | Start | None = None
    start: Literal["auto", "unit", "score"] = "auto"
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    beta: float = 1.0
    biases: bool = True

    def __post_init__(self) -> None:
        """Check that the parameters conserve relevance."""
        if abs(self.alpha - self.beta - 1) > 1e-9 or self.beta < 0:
            raise ExcitationError(
                f"alpha is {self.alpha}, beta {self.beta}; alpha - beta = 1 and beta >= 0 are needed to keep relevance."
            )
        if self.epsilon <= 0 or self.gamma < 0:
            raise ExcitationError(
                f"epsilon is {self.epsilon}, gamma {self.gamma}; epsilon > 0 and gamma >= 0 are needed."
            )

    def chooser(self) -> Callable[[Entry], Rule]:
        """Return a function from a weighted operation to its rule."""
        simple: dict[str, Rule] = {
            "epsilon": epsilon_rule(self.epsilon),
            "alpha-beta": alpha_beta_rule(self.alpha, self.beta, self.epsilon),
            "z-plus": alpha_beta_rule(1.0, 0.0, self.epsilon),
            "gamma": gamma_rule(self.gamma, self.epsilon),
            "flat": flat_rule(self.epsilon),
        }
        if self.rule in simple:
            return lambda _: simple[self.rule]

        def by_depth(entry: Entry) -> Rule:
            if self.rule == "epsilon-plus-flat" and entry.inputs[0].weighted == 0:
                return simple["flat"]
            return simple["z-plus" if entry.name.startswith("conv") else "epsilon"]

        return by_depth

    def signal(self, request: Request, scores: torch.Tensor) -> torch.Tensor:
        """The signal at the scores with which the sweep starts, `(target, *scores)`."""
        if self.contrast is None or self.contrast == "dual":
            signal = request.priors(scores)
        else:
            signal = contrasted_start(request, scores, self.contrast)
        by_score = self.contrast is None and self.rule in SIGNED_ON_TOP
        return signal * scores if self.start == "score" or (self.start == "auto" and by_score) else signal


def relevance(
    request: Request, roots: Sequence[str] | None, places: Callable[[Record], list[Value]], asked: Relevance
) -> list[Signal]:
    """Relevance of each neuron at several values of one recorded pass.

    Args:
        request: settings, network, images and targets.
        roots: layers at which the record starts; `None` for the full pass.
        places: function from the record to the values at which relevance is returned.
        asked: the options of relevance propagation.

    Returns:
        `(1, target, image, *neurons)` at each value.
    """
    record, calls = record_calls(request, roots)
    values = places(record)
    assert record.scores is not None
    signal = asked.signal(request, working(record.scores))
    with torch.no_grad():
        rules = RelevanceRules(weighted_operations(record, calls), asked.chooser(), asked.epsilon, asked.biases)
        return sweep(record, signal[None], values, rules, contrast=asked.contrast == "dual")


class RelevanceRules(ExcitationRules):
    """Rules of relevance propagation for every family of operations.

    Weighted operations use the rule of `choose`. Averages and sums of branches share relevance in proportion to their
    terms (LRP-epsilon). Elementwise operations pass relevance unchanged, maxima pass it to the winner, and a product
    with a gate passes it to the gated operand.
    """

    def __init__(
        self, weighted: dict[Entry, Weighted], choose: Callable[[Entry], Rule], epsilon: float, biases: bool
    ) -> None:
        super().__init__(Policies())
        self._weighted = weighted
        self._choose = choose
        self._epsilon = epsilon
        self._biases = biases

    @rule_for(Affine)
    def _affine(self, entry: Entry, signals: Signals) -> Signals:
        p, weighted, rule = first(signals), self._weighted[entry], self._choose(entry)
        bias = weighted.bias.to(p.dtype)
        op = Weighted(
            weighted.operation,
            weighted.x.to(p.dtype),
            weighted.weight.to(p.dtype),
            bias if self._biases else 0 * bias,
        )
        result = rule(p[0], op)
        # A contrast comes with the dual's share, which passes through weights and bias of the other sign.
        return [(result if len(p) == 1 else result + rule(p[1], op.negated()))[None]]

    @rule_for(Average)
    def _average(self, entry: Entry, signals: Signals) -> Signals:
        assert isinstance(entry.operation, Average)
        return [average_rule(first(signals)[0], entry.operation, self._epsilon)[None]]

    @rule_for(Scaled)
    def _scaled(self, entry: Entry, signals: Signals) -> Signals:
        assert isinstance(entry.operation, Scaled)
        return [reduced_to(first(signals), entry.operation.shape)]

    @rule_for(Gated)
    def _gated(self, entry: Entry, signals: Signals) -> Signals:
        operation = entry.operation
        assert isinstance(operation, Gated)
        return to_operand(reduced_to(first(signals), operation.shape), operation)

    @rule_for(Sum)
    def _sum(self, entry: Entry, signals: Signals) -> Signals:
        operation, p = entry.operation, first(signals)
        assert isinstance(operation, Sum)
        terms = [sign * term.to(p.dtype) for term, sign in zip(operation.terms, operation.signs, strict=True)]
        q = p / stable(sum(terms[1:], terms[0]), self._epsilon)
        return [reduced_to(q * a, term.shape) for a, term in zip(terms, operation.terms, strict=True)]
