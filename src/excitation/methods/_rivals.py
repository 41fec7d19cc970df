"""Contrasts at the scores: a class against all others, weighted by odds, by responses, or equally."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float

from ..core import Request, SpatialWeighting, read_positions, rivals_signal
from ..engine import MassRecorder, Policies
from ._registry import method
from ._requirements import require_rules_above
from ._sweeps import UncheckedResult, sweep_down

Priors = Float[torch.Tensor, "target image classes *space"]
Scores = Float[torch.Tensor, "image classes *space"]

Start = Literal["odds", "rivals", "others", "softmax"]
"""What is subtracted from the target at the scores: rivals weighted by probability (`"odds"`), rivals weighted by
rectified scores (`"rivals"`), all other classes equally (`"others"`, CLRP's first form); or the derivative of the
softmax (`"softmax"`, SGLRP)."""


def responses(scores: Scores, spatial: SpatialWeighting) -> Scores:
    """Non-negative responses of classes at positions, comparable among the classes and positions of an image.

    `"response"`: `max(s, 0)`. `"softmax"`: `exp s`, up to a factor for each image. `"posterior"`: the posterior of the
    class at each position.
    """
    if spatial == "response":
        return scores.clamp(min=0)
    if spatial == "posterior":
        return scores.softmax(1)
    return scores.flatten(1).softmax(1).reshape(scores.shape)


def contrasted_start(request: Request, scores: Scores, start: Start) -> Priors:
    """The signal of each target minus the signal of its rivals.

    `"odds"`: `rivals_signal`, the derivative of the log-odds of the target. `"rivals"`: `R_K - R_notK` with
    `R_S(j, x) = [j in S] r_j(x) / sum over S and positions`; a side without a response has no mass. `"others"`: the
    target's signal minus a signal of the same mass, distributed equally over all other classes. `"softmax"`: the
    derivative of the target's posterior with respect to the scores, `y_K (1 - y_K)` for a class's own score and
    `-y_K y_j` for the others. For pooled scores, `"softmax"` is proportional to `"odds"`.
    """
    own = request.class_weights(scores) > 0
    if start == "odds":
        return rivals_signal(own, scores, request.spatial)
    own = own.reshape(*own.shape, *(1,) * (scores.dim() - 2))
    if start == "rivals":
        r = responses(scores, request.spatial)
        both = _unit_mass(torch.where(own, r, 0)) - _unit_mass(torch.where(own, 0, r))
        return torch.where(own.any(2, keepdim=True), both, 0)
    priors = request.priors(scores)
    if start == "softmax":
        y = scores.softmax(1)
        return y * (priors - (priors * y).sum(2, keepdim=True))
    others = (~own).sum(2, keepdim=True).clamp(min=1)
    whole = priors.flatten(2).sum(2).reshape(*priors.shape[:2], *(1,) * (priors.dim() - 2))
    return priors - torch.where(own, 0, whole / others * read_positions(scores, request.spatial))


def _unit_mass(side: torch.Tensor) -> torch.Tensor:
    mass = side.flatten(2).sum(2).reshape(*side.shape[:2], *(1,) * (side.dim() - 2))
    return side / torch.where(mass > 0, mass, math.inf)


@method(
    "r-mwp-rectified",
    "r-MWP with rectified scores as weights of class and rivals.",
    family="excitation",
    place="engine",
    source="beyond the paper (contrast with rivals)",
    cost="1 F + 1 B for all targets",
    needs="a rule for every operation above the layer; scores with a meaningful zero",
    applies=require_rules_above,
    fixed={"start": "rivals"},
)
@method(
    "r-mwp",
    "MWP of the class minus that of its rivals, weighted by the network's probabilities: one signed sweep.",
    family="excitation",
    place="engine",
    source="beyond the paper (contrast with rivals)",
    cost="1 F + 1 B for all targets",
    needs="a rule for every operation above the layer",
    applies=require_rules_above,
)
def r_mwp(
    request: Request,
    *,
    start: Start = "odds",
    signed: bool = False,
    policies: Policies | None = None,
    balance: MassRecorder | None = None,
) -> UncheckedResult:
    """Contrast with rivals. `start` selects how rivals are weighted, including the variants of related methods.

    `"odds"` sweeps the derivative of the log-odds of the target. `"rivals"` uses responses computed from the scores
    according to `spatial`, by default `max(s, 0)`. It requires scores with a meaningful zero, as after a rectifier, and
    gives an empty map for a class without a positive score.
    """
    return sweep_down(
        request, "r-mwp", "rivals", start_of=lambda scores, _: contrasted_start(request, scores, start),
        signed=signed, policies=policies, balance=balance,
    )  # fmt: skip
