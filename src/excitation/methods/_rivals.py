"""Contrasts that begin at the scores: a class against all others, weighted by odds, responses, or equally."""

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
"""What is set against the target at the scores: its rivals by their probability, by their rectified scores, all other
classes alike (CLRP's first form), or the softmax's derivative (SGLRP)."""


def responses(scores: Scores, spatial: SpatialWeighting) -> Scores:
    """Non-negative responses of classes at positions, comparable among the classes and positions of an image.

    `"response"`: `max(s, 0)`; `"softmax"`: `exp s`, up to a factor for each image; `"posterior"`: the class's
    posterior in each cell.
    """
    if spatial == "response":
        return scores.clamp(min=0)
    if spatial == "posterior":
        return scores.softmax(1)
    return scores.flatten(1).softmax(1).reshape(scores.shape)


def contrasted_start(request: Request, scores: Scores, start: Start) -> Priors:
    """The signal of each target with its rivals' subtracted.

    `"odds"`: `rivals_signal`, the derivative of the target's log-odds. `"rivals"`: `R_K - R_notK` with
    `R_S(j, x) = [j in S] r_j(x) / sum over S and positions`; a side without response puts no mass. `"others"`: the
    target's signal less one of the same mass in equal parts on all other classes. `"softmax"`: the derivative of the
    target's posterior by the scores, `y_K (1 - y_K)` on a class's own score and `-y_K y_j` on the others'; on pooled
    scores `"odds"` up to a factor.
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
    "r-MWP with rectified scores for the weights of class and rivals.",
    family="excitation",
    place="engine",
    source="beyond the paper (contrast with rivals)",
    cost="1 F + 1 B for all targets",
    needs="a rule for every operation above the layer; scores of which zero means something",
    applies=require_rules_above,
    fixed={"start": "rivals"},
)
@method(
    "r-mwp",
    "MWP of the class minus that of its rivals, each as probable as the network finds it: one signed sweep.",
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
    """Contrast with rivals. `start`: how they are weighted; the peers' ways among them.

    `"odds"` sweeps the derivative of the target's log-odds. `"rivals"` reads responses off the scores as `spatial`
    says, `max(s, 0)` for one: it needs scores of which zero means something, as after a rectifier, and gives an empty
    map to a class without positive score.
    """
    return sweep_down(
        request, "r-mwp", "rivals", start_of=lambda scores, _: contrasted_start(request, scores, start),
        signed=signed, policies=policies, balance=balance,
    )  # fmt: skip
