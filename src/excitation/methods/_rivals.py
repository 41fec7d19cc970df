"""Contrasts that begin at the scores: against the responses of all rivals, equal parts of them, or their softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float

from ..propagation import ExcitationRules, Policies, Record, Value, channel_sum, sweep
from ..signals import Reading, read_positions
from ._gradient import working
from ._question import Maps, Question, swept_layer
from ._registry import method

Priors = Float[torch.Tensor, "target image classes *space"]
Scores = Float[torch.Tensor, "image classes *space"]

Start = Literal["rivals", "others", "softmax"]
"""What is set against the target at the scores: the rivals' responses, all other classes alike (CLRP's first form),
or the softmax's derivative (SGLRP)."""


def responses(scores: Scores, reading: Reading) -> Scores:
    """Non-negative responses of classes at positions, comparable among the classes and positions of an image.

    `"response"`: `max(s, 0)`; `"softmax"`: `exp s`, up to a factor for each image; `"posterior"`: the class's
    posterior in each cell.
    """
    if reading == "response":
        return scores.clamp(min=0)
    if reading == "posterior":
        return scores.softmax(1)
    return scores.flatten(1).softmax(1).reshape(scores.shape)


def contrasted_start(question: Question, scores: Scores, start: Start) -> Priors:
    """The signal of each target with its rivals' subtracted.

    `"rivals"`: `R_K - R_notK` with `R_S(j, x) = [j in S] r_j(x) / sum over S and positions`; a side without response
    puts no mass. `"others"`: the target's signal less one of the same mass in equal parts on all other classes.
    `"softmax"`: the derivative of the target's posterior by the scores, `y_K (1 - y_K)` on a class's own score and
    `-y_K y_j` on the others'.
    """
    own = question.class_weights(scores) > 0
    own = own.reshape(*own.shape, *(1,) * (scores.dim() - 2))
    if start == "rivals":
        r = responses(scores, question.signal)
        both = _unit_mass(torch.where(own, r, 0)) - _unit_mass(torch.where(own, 0, r))
        return torch.where(own.any(2, keepdim=True), both, 0)
    priors = question.priors(scores)
    if start == "softmax":
        y = scores.softmax(1)
        return y * (priors - (priors * y).sum(2, keepdim=True))
    others = (~own).sum(2, keepdim=True).clamp(min=1)
    whole = priors.flatten(2).sum(2).reshape(*priors.shape[:2], *(1,) * (priors.dim() - 2))
    return priors - torch.where(own, 0, whole / others * read_positions(scores, question.signal))


def _unit_mass(side: torch.Tensor) -> torch.Tensor:
    mass = side.flatten(2).sum(2).reshape(*side.shape[:2], *(1,) * (side.dim() - 2))
    return side / torch.where(mass > 0, mass, math.inf)


@method(
    "r-mwp",
    "MWP of the class's response minus that of all other classes' responses: one signed sweep.",
    family="excitation",
    source="beyond the paper (contrast with rivals)",
    cost="1 F + 1 B for all targets",
    needs="operations the engine knows",
)
def r_mwp(
    question: Question, *, start: Start = "rivals", signed: bool = False, policies: Policies | None = None
) -> Maps:
    """Contrast with rivals; `signal` reads responses off the scores. `start`: the peers' ways to set rivals off."""
    layer = question.engine_layer()
    record = question.record([layer])
    (maps,) = swept_rivals(question, record, [swept_layer(record, layer)], start, policies)
    return maps if signed else maps.clamp(min=0)


def swept_rivals(
    question: Question,
    record: Record,
    values: Sequence[Value],
    start: Start = "rivals",
    policies: Policies | None = None,
) -> list[Maps]:
    """Signed maps of the contrast with rivals at several places of one record."""
    assert record.scores is not None
    signal = contrasted_start(question, working(record.scores), start)
    swept = sweep(record, signal[None], list(values), ExcitationRules(policies or Policies()))
    return [channel_sum(p) for p in swept]
