"""Excitation Backprop from a request to maps at any number of layers: one forward pass and one sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..core import (
    Explanation,
    Frame,
    MapCheck,
    Request,
    check_maps,
    default_place,
    find_bypass,
    find_place,
    has_function,
    layer_name,
    target_labels,
    target_scores,
    warn_of_bypass,
    working,
)
from ..engine import MassRecorder, Place, Policies, Record, attention_maps, policies_or_default, total

StartOf = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Function from the class scores and the signals of the targets to the signal at the start of the sweep."""


@dataclass(frozen=True)
class UncheckedResult:
    """An explanation whose values are not checked yet, so that the host does not wait for the device.

    Attributes:
        explanation: the explanation; its values may be non-finite, and its targets have no labels yet.
        scores: scores of all classes, `(image, classes, *space)`.
        checks: data for the checks of the maps of each layer.
        joins: for each bypassed layer, the operation at which the other branches join.
        balance: the rows of the mass balance, if requested.
        request: the request.
    """

    explanation: Explanation
    scores: torch.Tensor
    checks: list[MapCheck]
    joins: dict[str, str]
    balance: MassRecorder | None
    request: Request

    def validate(self) -> Explanation:
        """Check the values, issue warnings, and return the explanation with labels.

        Raises:
            ExcitationError: scores or maps are not finite.

        Warns:
            BypassWarning: some paths bypass a layer.
            EmptyMapWarning: a map has almost no mass.
            MassLossWarning: more than half of the mass on top was lost above a layer.
            BalanceWarning: a map holds more mass than the signal on top.
        """
        check_maps(self.scores, self.checks)
        for name, join in self.joins.items():
            warn_of_bypass(name, join, self.explanation.share[name])
        labels = target_labels(self.request.per_image, self.scores, self.request.class_names)
        return replace(self.explanation, targets=labels)


def sweep_down(
    request: Request,
    name: str,
    kind: str,
    *,
    start_of: StartOf | None = None,
    functions: Any = None,
    signed: bool = False,
    policies: Policies | None = None,
    balance: MassRecorder | None = None,
) -> UncheckedResult:
    """Compute the maps of each target at each layer.

    Args:
        request: settings, network, images and targets.
        name: name of the method.
        kind: what is subtracted: `""` for nothing, `"dual"`, `"rivals"` or `"target"`.
        start_of: the signal at the start of the sweep; the signals of the targets if not given.
        functions: additional targets that may contain functions of the scores, which are never called with non-finite
            scores.
        signed: whether to keep negative values of a contrast.
        policies: choices that the paper leaves open.
        balance: receives the rows of the mass balance.
    """
    names = request.layers
    if names is None and request.preferred is not None:
        names = tuple(request.inputs.layers(layer_name(request.model, request.preferred)))
    check = has_function(request.per_image) or has_function([functions])
    record = request.record(names, check=check)
    assert record.scores is not None
    places = [find_place(record, item) for item in names] if names is not None else [default_place(record)]
    scores = working(record.scores)
    prior = request.priors(scores)
    start = prior if start_of is None else start_of(scores, prior)
    policies = policies_or_default(policies)
    if balance is not None:
        balance.nonnegative = not kind and policies.conserves
    values = [place.value for place in places if place.value is not None]
    arrived = attention_maps(record, start[None], values, policies, contrast=kind == "dual", balance=balance)
    return unchecked(
        request, name, record, places, arrived, prior, kind=kind, signed=signed, policies=policies, balance=balance
    )


def unchecked(
    request: Request,
    name: str,
    record: Record,
    places: Sequence[Place],
    arrived: Sequence[torch.Tensor],
    prior: torch.Tensor,
    *,
    kind: str,
    signed: bool,
    policies: Policies,
    balance: MassRecorder | None = None,
) -> UncheckedResult:
    """Assemble the maps of a sweep with their shares of the mass on top and the data for later checks."""
    assert record.top is not None
    assert record.scores is not None
    scores = working(record.scores)
    top = total(prior[None], record.top.layout)
    positive = (prior >= 0).flatten(2).all(2).transpose(0, 1)
    maps, share, checks, joins = {}, {}, [], {}
    cut = bool(kind) and not signed
    for place, mass in zip(places, arrived, strict=True):
        share[place.name] = top * torch.nan
        if not kind:
            share[place.name] = torch.where(top == 0, torch.nan, mass.double().flatten(2).sum(2) / top)
        join = None if place.kind == "input" else find_bypass(record, place)
        if join is not None:
            joins[place.name] = join
        is_cut = join is None and len(record.inputs) == 1
        assert place.value is not None
        tokens = place.value.has_other_tokens
        checks.append(
            MapCheck(place.name, mass, top, positive, kind, cut, is_cut, policies.conserves, request.ragged, tokens)
        )
        maps[place.name] = mass.clamp(min=0) if cut else mass
    images = request.images
    explanation = Explanation(
        by_layer=maps,
        targets=tuple(("",) * count for count in request.counts),
        scores=target_scores(request.per_image, scores, request.class_names),
        method=name,
        frames=(Frame(tuple(images.shape[2:])),) * len(images),
        top=top,
        share=share,
        strides={place.name: place.value.stride for place in places if place.value is not None},
        is_cut={place.name: place.name not in joins and len(record.inputs) == 1 for place in places},
        views={place.name: _views(place) for place in places},
    )
    return UncheckedResult(explanation, scores, checks, joins, balance, request)


def _views(place: Place) -> int:
    """Number of view axes of a map, between the target axis and the spatial axes."""
    assert place.value is not None
    grid = place.value.grid()
    return 0 if isinstance(grid, str) else len(grid.views)
