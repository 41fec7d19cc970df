"""Excitation Backprop, and its variants without normalisation (Table 2 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float

from .._errors import ExcitationError
from ..core import (
    Against,
    Maps,
    Request,
    find_place,
    read_against,
    read_positions,
    swept_layer,
    top_down_signal,
    working,
)
from ..engine import (
    Entry,
    ExcitationRules,
    MassRecorder,
    Policies,
    Record,
    Signal,
    Value,
    attention_map,
    policies_or_default,
    sweep,
)  # fmt: skip
from ..engine.operations import Affine, Average, Sum
from ..engine.rules import Signals, first, rule_for
from ..engine.rules._products import rectified
from ..engine.rules._signals import LOWERED, RAISED, reduced_to, swapped
from ._calls import record_calls, topmost_weighted
from ._contrast import contrasted
from ._registry import method
from ._requirements import require_rules_above
from ._sweeps import UncheckedResult, sweep_down, unchecked

PAPER = "Zhang et al., ECCV 2016"


@method(
    "mwp",
    "The probability that a winner-take-all walk from the class downwards passes through each neuron.",
    family="excitation",
    place="engine",
    source=f"{PAPER}, Sec. 3.2",
    cost="1 F + 1 B for all targets",
    needs="a rule for every operation above the layer",
    applies=require_rules_above,
    aliases=("eb",),
)
def mwp(
    request: Request,
    *,
    against: Against = None,
    signed: bool = False,
    policies: Policies | None = None,
    balance: MassRecorder | None = None,
) -> UncheckedResult:
    """Marginal winning probability.

    `against` defines a contrast: the MWP of another target, or of several classes with equal weights, is subtracted.
    `signed` keeps the negative values of the contrast, which are set to zero by default.
    """
    if against is None:
        return sweep_down(request, "mwp", "", policies=policies, balance=balance)

    def start(scores: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        return prior - read_against(
            against,
            lambda target: top_down_signal(target, scores, class_names=request.class_names, spatial=request.spatial),
        )

    return sweep_down(
        request, "mwp", "target", start_of=start, functions=against, signed=signed, policies=policies, balance=balance
    )


@method(
    "c-mwp",
    "MWP of the class's unit minus that of the dual unit with negated weights, at the last weighted layer.",
    family="excitation",
    place="engine",
    source=f"{PAPER}, Sec. 3.3",
    cost="1 F + 1 B for all targets",
    needs="a rule for every operation above the layer",
    applies=require_rules_above,
    aliases=("c-eb",),
)
def c_mwp(
    request: Request,
    *,
    signed: bool = False,
    policies: Policies | None = None,
    dual: Literal["same", "own"] = "same",
    balance: MassRecorder | None = None,
) -> UncheckedResult:
    """Contrastive MWP (Eq. 8): unit minus dual unit.

    `dual="own"` is for networks that score positions before pooling. In such networks, unit and dual have equal mass at
    each position. With `"own"`, the dual starts at its own response `max(-s, 0)` instead (beyond the paper).
    """
    if dual == "same":
        return sweep_down(request, "c-mwp", "dual", signed=signed, policies=policies, balance=balance)
    names = request.layers or (request.engine_layer(),)
    record, calls = record_calls(request, names)
    places = [find_place(record, name) for name in names]
    assert record.scores is not None
    classes = record.scores.shape[1]
    top = topmost_weighted(record)
    cells = calls[top[0]].results[0] if len(top) == 1 else record.scores[..., None]
    if cells.dim() != request.images.dim() or cells.shape[1] != classes or cells.shape[2:].numel() == 1:
        raise ExcitationError(
            "dual='own' needs a network whose last weighted operation scores each position; this one pools"
            " features first, so leave `dual` out."
        )
    scores = working(record.scores)
    weights = request.class_weights(scores).reshape(-1, *cells.shape[:2], *(1,) * (cells.dim() - 2))
    cells = working(cells)
    upper, record.top = record.top, top[0].outputs[0]
    start = torch.stack([read_positions(cells, request.spatial), -read_positions(-cells, request.spatial)])
    policies = policies_or_default(policies)
    values = [place.value for place in places if place.value is not None]
    swept = sweep(record, start[:, None] * weights, values, ExcitationRules(policies))
    arrived = [attention_map(p, value) for p, value in zip(swept, values, strict=True)]
    record.top = upper
    prior = request.priors(scores)
    return unchecked(request, "c-mwp", record, places, arrived, prior, kind="dual", signed=signed, policies=policies)


class UnnormalisedRules(ExcitationRules):
    """Excitation Backprop with `Z = 1`: `a * W+^T p` replaces Eq. 4, including sums of branches.

    The values can grow with every layer, so the sweep must use double precision.
    """

    @rule_for(Sum)
    def _sum(self, entry: Entry, signals: Signals) -> Signals:
        operation, p = entry.operation, first(signals)
        assert isinstance(operation, Sum)
        results = []
        pairs = self.terms(entry, operation, p.dtype)
        for pair, term, sign in zip(pairs, operation.terms, operation.signs, strict=True):
            sides = [torch.zeros_like(q) if side is None else q * side for q, side in zip(p, pair, strict=False)]
            part = torch.stack(sides)
            results.append(reduced_to(part if sign > 0 else swapped(part), term.shape))
        return results

    @rule_for(Affine, Average)
    def _products(self, entry: Entry, signals: Signals) -> Signals:
        operation, p = entry.operation, first(signals)
        assert isinstance(operation, (Affine, Average))
        up, down = rectified(operation.input.to(p.dtype), entry.inputs[0], self.policies)
        to_up = _links(p, RAISED, operation) * up
        return [to_up[None] if down is None else torch.stack([to_up, _links(p, LOWERED, operation) * down])]


def _links(p: Signal, polarity: int, operation: Affine | Average) -> torch.Tensor:
    """Signals `(target, *input)` to one polarity of the inputs: through `W+` for the same polarity, else `W-`."""
    result: torch.Tensor | None = None
    for above, part in enumerate(p):
        flat = part.reshape(-1, *part.shape[2:])
        if isinstance(operation, Affine):
            w = operation.weight.to(p.dtype)
            back = operation.adjoint(flat, (w if above == polarity else -w).clamp(min=0))
        elif above == polarity:
            back = operation.adjoint(flat)
        else:
            continue
        result = back if result is None else result + back
    if result is None:
        return p.new_zeros((p.shape[1], *operation.input.shape))
    return result.reshape(p.shape[1], *operation.input.shape)


def unnormalised(
    request: Request, record: Record, values: Sequence[Value], *contrasts: bool
) -> list[list[Float[torch.Tensor, "image target *space"]]]:
    """Channel sums of unnormalised sweeps, for each of `contrasts` and each value, in double precision."""
    assert record.scores is not None
    start = request.priors(working(record.scores))[None].double()
    rules = UnnormalisedRules(Policies())
    swept = [sweep(record, start, list(values), rules, contrast=contrast) for contrast in contrasts]
    return [[attention_map(p, value) for p, value in zip(signals, values, strict=True)] for signals in swept]


def alone(maps: Maps, *, signed: bool) -> Maps:
    """Scale a contrast without normalisers to absolute sum one, since its values are unbounded; maxima do not move."""
    size = maps.flatten(2).abs().amax(2).reshape(*maps.shape[:2], *(1,) * (maps.dim() - 2))
    maps = maps / torch.where(size > 0, size, 1)
    return contrasted(maps, torch.zeros_like(maps), signed=signed)


def _at_one_layer(request: Request, *contrasts: bool) -> tuple[list[Maps], torch.dtype]:
    layer = request.engine_layer()
    record = request.record([layer])
    maps_of = unnormalised(request, record, [swept_layer(record, layer)], *contrasts)
    assert record.scores is not None
    return [maps for (maps,) in maps_of], working(record.scores).dtype


@method(
    "eb-without-norm",
    "c-MWP without normalisation: the contrastive signal times activations and excitatory weights.",
    family="excitation",
    place="engine",
    source=f"{PAPER}, Table 2 (w/o norm)",
    cost="1 F + 1 B for all targets",
    needs="a rule for every operation above the layer",
    applies=require_rules_above,
)
def without_norm(request: Request, *, signed: bool = False) -> Maps:
    """The map is scaled as described at `alone`."""
    (maps,), dtype = _at_one_layer(request, True)
    return alone(maps, signed=signed).to(dtype)


@method(
    "eb-post-norm",
    "Unit and dual propagated separately without normalisation; each map is normalised at the end, then subtracted.",
    family="excitation",
    place="engine",
    source=f"{PAPER}, Table 2 (post-norm)",
    cost="1 F + 2 B for all targets",
    needs="a rule for every operation above the layer",
    applies=require_rules_above,
)
def post_norm(request: Request, *, signed: bool = False) -> Maps:
    """Without normalisers, sweeps are linear in the signal: the dual's sweep is the unit's minus the contrast."""
    (unit, difference), dtype = _at_one_layer(request, False, True)
    return contrasted(unit, unit - difference, signed=signed).to(dtype)
