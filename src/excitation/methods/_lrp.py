"""Layer-wise relevance propagation: one method with options, and its named rules."""

from __future__ import annotations

from typing import Any, Literal

from ..core import Maps, Request, swept_layer
from ..engine import INPUT, Record, Value, attention_map
from ._registry import Function, method
from ._relevance import Composite, Relevance, relevance
from ._requirements import require_rules_to_layer
from ._rivals import Start

BACH = "Bach et al., PLoS ONE 2015"
MONTAVON = "Montavon et al., 2019 (LRP: An Overview)"

NAMED: dict[str, dict[str, Any]] = {
    "lrp-epsilon": {"rule": "epsilon"},
    "lrp-alpha1-beta0": {"rule": "alpha-beta", "alpha": 1.0, "beta": 0.0},
    "lrp-alpha2-beta1": {"rule": "alpha-beta", "alpha": 2.0, "beta": 1.0},
    "lrp-z-plus": {"rule": "z-plus", "biases": False},
    "lrp-gamma": {"rule": "gamma"},
    "lrp-flat": {"rule": "flat"},
    "lrp-epsilon-plus": {"rule": "epsilon-plus"},
    "lrp-epsilon-plus-flat": {"rule": "epsilon-plus-flat"},
    "c-lrp": {"rule": "z-plus", "contrast": "dual", "biases": False},
    "clrp": {"rule": "z-plus", "contrast": "others", "biases": False},
    "sglrp": {"rule": "z-plus", "contrast": "softmax", "biases": False},
}
"""The options of each named rule."""


def lrp(
    request: Request,
    *,
    rule: Composite = Relevance.rule,
    contrast: Literal["dual"] | Start | None = Relevance.contrast,
    signed: bool = True,
    start: Literal["auto", "unit", "score"] = Relevance.start,
    epsilon: float = Relevance.epsilon,
    gamma: float = Relevance.gamma,
    alpha: float = Relevance.alpha,
    beta: float = Relevance.beta,
    biases: bool = Relevance.biases,
) -> Maps:
    """Relevance summed over channels, with the options of `Relevance`. `signed` keeps negative relevance."""
    layer = request.layer or INPUT

    layers: list[Value] = []

    def place(record: Record) -> list[Value]:
        layers.append(swept_layer(record, layer))
        return layers

    asked = Relevance(rule, contrast, start, epsilon, gamma, alpha, beta, biases)
    (p,) = relevance(request, [layer], place, asked)
    maps = attention_map(p, layers[0])
    return maps if signed else maps.clamp(min=0)


def _register(name: str, sentence: str, source: str, **more: Any) -> Function:
    fixed = {**NAMED[name], **more}
    hidden = () if fixed["rule"] == "gamma" else ("gamma",)
    return method(
        name,
        sentence,
        family="relevance",
        source=source,
        cost="1 F + 1 B for all targets",
        needs="a rule for every operation above the layer",
        applies=require_rules_to_layer,
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
    needs="a rule for every operation above the layer",
    applies=require_rules_to_layer,
    steps=("blur",),
)(lrp)
_register("lrp-epsilon", "Relevance in proportion to signed contributions.", BACH)
_register("lrp-alpha1-beta0", "Relevance in proportion to positive contributions, biases included.", BACH)
_register("lrp-alpha2-beta1", "Two parts of positive contributions minus one part of negative ones.", BACH)
_register(
    "lrp-z-plus",
    "Relevance in proportion to positive contributions without biases: MWP on non-negative inputs.",
    "Montavon et al., Pattern Recognition 2017",
)
_register("lrp-gamma", "Contributions with the sign of the output have more weight.", MONTAVON)
_register("lrp-flat", "Equal relevance to all inputs.", "Lapuschkin et al., 2019")
_register("lrp-epsilon-plus", "z+ at convolutions, epsilon at fully connected layers.", MONTAVON)
_register(
    "lrp-epsilon-plus-flat", "z+ at convolutions, epsilon at fully connected layers, flat at the pixels.", MONTAVON
)  # fmt: skip
_register(
    "c-lrp", "Relevance of the class's unit minus that of its dual, z+ in lower layers.",
    "the contrast of Zhang et al., ECCV 2016; Gu, Yang, Tresp, ACCV 2018", signed=False,
)  # fmt: skip
_register(
    "clrp", "Relevance of the class minus that of all other classes equally, z+ in lower layers.",
    "Gu, Yang, Tresp, ACCV 2018 (CLRP, its first form)", signed=False,
)  # fmt: skip
_register(
    "sglrp", "Relevance from the derivative of the class's softmax, negative for its rivals, z+ in lower layers.",
    "Iwana, Kuroki, Uchida, ICCV workshops 2019 (SGLRP)", signed=False,
)  # fmt: skip
