"""Layer-wise relevance propagation as rule sets on the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from .._errors import ExcitationError
from ..propagation import INPUT, Entry, ExcitationRules, Policies, Signal, channel_sum, sweep
from ..propagation.operations import Affine, Average, Gated, Scaled, Sum
from ..propagation.rules._signals import reduced_to
from ._calls import record_calls
from ._folding import weighted_operations
from ._gradient import working
from ._lrp_rules import Rule, Weighted, alpha_beta_rule, average_rule, epsilon_rule, flat_rule, gamma_rule, stable
from ._needs import knows_from_input
from ._question import Maps, Question, swept_layer
from ._registry import Function, method
from ._rivals import Start, contrasted_start

Composite = Literal["epsilon", "alpha-beta", "z-plus", "gamma", "flat", "epsilon-plus", "epsilon-plus-flat"]
"""Which rule weighted operations have; the last two choose by depth and kind."""

BACH = "Bach et al., PLoS ONE 2015"
MONTAVON = "Montavon et al., 2019 (LRP: An Overview)"


class RelevanceRules(ExcitationRules):
    """Relevance through every family of operations.

    Weighted operations by `choose`; averages and sums of branches in proportion to their terms (LRP-epsilon);
    everything from neuron to neuron unchanged, maxima to the winner, a product with a gate to the gated operand.
    """

    def __init__(
        self, weighted: dict[Entry, Weighted], choose: Callable[[Entry], Rule], epsilon: float, biases: bool
    ) -> None:
        super().__init__(Policies())
        self._weighted = weighted
        self._choose = choose
        self._epsilon = epsilon
        self._biases = biases

    def __call__(self, entry: Entry, signals: Sequence[Signal | None]) -> Sequence[Signal | None]:
        """Pass relevance on an operation's outputs to its inputs."""
        operation, p = entry.operation, signals[0]
        if isinstance(operation, Affine):
            assert p is not None
            return [self._affine(p, entry)]
        if isinstance(operation, Average):
            assert p is not None
            return [average_rule(p[0], operation, self._epsilon)[None]]
        if isinstance(operation, Scaled):
            assert p is not None
            return [reduced_to(p, operation.shape)]
        if isinstance(operation, Gated):
            assert p is not None
            p = reduced_to(p, operation.shape)
            return [p, None] if operation.place == 0 else [None, p]
        if isinstance(operation, Sum):
            assert p is not None
            terms = [sign * term.to(p.dtype) for term, sign in zip(operation.terms, operation.signs, strict=True)]
            q = p / stable(sum(terms[1:], terms[0]), self._epsilon)
            return [reduced_to(q * a, term.shape) for a, term in zip(terms, operation.terms, strict=True)]
        return super().__call__(entry, signals)

    def _affine(self, p: Signal, entry: Entry) -> Signal:
        found, rule = self._weighted[entry], self._choose(entry)
        bias = found.bias.to(p.dtype)
        op = Weighted(
            found.operation, found.x.to(p.dtype), found.weight.to(p.dtype), bias if self._biases else 0 * bias
        )
        result = rule(p[0], op)
        # A contrast comes with the dual's share, which leaves through weights and bias of the other sign.
        return (result if len(p) == 1 else result + rule(p[1], op.negated()))[None]


def _chooser(rule: Composite, epsilon: float, gamma: float, alpha: float, beta: float) -> Callable[[Entry], Rule]:
    simple: dict[str, Rule] = {
        "epsilon": epsilon_rule(epsilon),
        "alpha-beta": alpha_beta_rule(alpha, beta, epsilon),
        "z-plus": alpha_beta_rule(1.0, 0.0, epsilon),
        "gamma": gamma_rule(gamma, epsilon),
        "flat": flat_rule(epsilon),
    }
    if rule in simple:
        return lambda _: simple[rule]

    def by_depth(entry: Entry) -> Rule:
        if rule == "epsilon-plus-flat" and entry.inputs[0].weighted == 0:
            return simple["flat"]
        return simple["z-plus" if entry.name.startswith("conv") else "epsilon"]

    return by_depth


SIGNED_ON_TOP = frozenset({"epsilon", "gamma", "epsilon-plus", "epsilon-plus-flat"})
"""Rules under which relevance leaves a unit divided by its own signed value."""


def lrp(
    question: Question,
    *,
    rule: Composite = "epsilon-plus-flat",
    contrast: Literal["dual"] | Start | None = None,
    signed: bool = True,
    start: Literal["auto", "unit", "score"] = "auto",
    epsilon: float = 1e-6,
    gamma: float = 0.25,
    alpha: float = 2.0,
    beta: float = 1.0,
    biases: bool = True,
) -> Maps:
    """Relevance summed over channels.

    Args:
        question: what is asked.
        rule: of weighted operations. `"epsilon-plus"`: z+ for convolutions, epsilon for fully connected layers;
            `"epsilon-plus-flat"`: flat besides, at the lowest weighted operations.
        contrast: `"dual"`: less the relevance of the unit with negated weights, formed at the last weighted
            operation; `"odds"`, `"rivals"`, `"others"` (CLRP), `"softmax"` (SGLRP): see `r-mwp`.
        signed: keep negative relevance.
        start: `"unit"` starts with the targets' signal, so that a map's sum is the share that arrived; `"score"`
            multiplies it with the scores, as LRP is most often written. `"auto"`: without a contrast, the scores for
            rules that divide by the score on top, whose sign would turn the whole map (epsilon, gamma, the composites);
            else the signal, of which rules that only share what raised a unit keep the sign.
        epsilon: moves denominators away from zero.
        gamma: of LRP-gamma.
        alpha: of LRP-alpha-beta; `alpha - beta` must be one.
        beta: of LRP-alpha-beta.
        biases: whether biases take their share of relevance.
    """
    if abs(alpha - beta - 1) > 1e-9 or beta < 0:
        raise ExcitationError(
            f"alpha is {alpha}, beta {beta}; alpha - beta = 1 and beta >= 0 are needed to keep relevance."
        )
    if epsilon <= 0 or gamma < 0:
        raise ExcitationError(f"epsilon is {epsilon}, gamma {gamma}; epsilon > 0 and gamma >= 0 are needed.")
    layer = question.layer or INPUT
    record, calls = record_calls(question, [layer])
    value = swept_layer(record, layer)
    assert record.scores is not None
    scores = working(record.scores)
    dual = contrast == "dual"
    if contrast is None or contrast == "dual":
        signal = question.priors(scores)
    else:
        signal = contrasted_start(question, scores, contrast)
    if start == "score" or (start == "auto" and contrast is None and rule in SIGNED_ON_TOP):
        signal = signal * scores
    choose = _chooser(rule, epsilon, gamma, alpha, beta)
    with torch.no_grad():
        rules = RelevanceRules(weighted_operations(record, calls), choose, epsilon, biases)
        (p,) = sweep(record, signal[None], [value], rules, contrast=dual)
    maps = channel_sum(p)
    return maps if signed else maps.clamp(min=0)


def _register(name: str, sentence: str, source: str, **fixed: Any) -> Function:
    hidden = () if fixed["rule"] == "gamma" else ("gamma",)
    return method(
        name,
        sentence,
        family="relevance",
        source=source,
        cost="1 F + 1 B for all targets",
        needs="operations the engine knows",
        applies=knows_from_input,
        steps=("blur",),
        fixed=fixed,
        hidden=(*hidden, *(() if "alpha" in fixed else ("alpha", "beta"))),
    )(lrp)


method(
    "lrp",
    "Relevance passed down in proportion to contributions, by a rule chosen by `rule`.",
    family="relevance",
    source=f"{BACH} (reference 9 of the paper); {MONTAVON}",
    cost="1 F + 1 B for all targets",
    needs="operations the engine knows",
    applies=knows_from_input,
    steps=("blur",),
)(lrp)
_register("lrp-epsilon", "Relevance in proportion to signed contributions.", BACH, rule="epsilon")
_register(
    "lrp-alpha1-beta0", "Relevance by what raised a neuron, biases included.", BACH, rule="alpha-beta", alpha=1.0,
    beta=0.0,
)  # fmt: skip
_register(
    "lrp-alpha2-beta1", "Twice what raised a neuron less what lowered it.", BACH, rule="alpha-beta", alpha=2.0,
    beta=1.0,
)  # fmt: skip
_register(
    "lrp-z-plus", "Relevance by what raised a neuron, biases left out: MWP on non-negative inputs.",
    "Montavon et al., Pattern Recognition 2017", rule="z-plus", biases=False,
)  # fmt: skip
_register("lrp-gamma", "Contributions of the output's own sign count more.", MONTAVON, rule="gamma")
_register("lrp-flat", "Evenly to all inputs, whatever they are.", "Lapuschkin et al., 2019", rule="flat")
_register(
    "lrp-epsilon-plus", "z+ at convolutions, epsilon at fully connected layers.", MONTAVON, rule="epsilon-plus"
)  # fmt: skip
_register(
    "lrp-epsilon-plus-flat", "z+ at convolutions, epsilon at fully connected layers, flat at the pixels.", MONTAVON,
    rule="epsilon-plus-flat",
)  # fmt: skip
_register(
    "c-lrp", "Relevance of the class's unit minus that of its dual, z+ below.",
    "the contrast of Zhang et al., ECCV 2016; Gu, Yang, Tresp, 2018 (CLRP)", rule="z-plus", contrast="dual",
    signed=False, biases=False,
)  # fmt: skip
