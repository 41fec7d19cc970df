"""Several of Excitation Backprop's methods, readings and layers from one recorded forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .._errors import ExcitationError
from ..networks._loaded import LoadedModel
from ..propagation import ExcitationRules, Policies, Record, Value, channel_sum, sweep
from ..signals import Reading, Target
from ._contrast import contrasted
from ._excitation import alone, unnormalised
from ._gradient import working
from ._question import Maps, Question, ask, swept_layer
from ._rivals import swept_rivals

TOGETHER = ("mwp", "c-mwp", "r-mwp", "eb-without-norm", "eb-post-norm")
"""Methods that are sweeps over the engine's record, and so can share it."""


def maps_together(
    model: torch.nn.Module | LoadedModel,
    images: torch.Tensor,
    targets: Sequence[Target],
    methods: Sequence[tuple[str, Reading]],
    layers: Sequence[str | None],
) -> list[list[Maps]]:
    """What each method gives by itself at each layer, from one forward pass for all of them.

    Args:
        model: the network in evaluation mode.
        images: `(image, channel, height, width)`, as the network takes them.
        targets: what to look for in all images.
        methods: names out of `TOGETHER`, with how a class's signal is spread over a score map.
        layers: where to take the maps; `None` is the model's or the engine's own choice.

    Returns:
        For each method, at each layer: `(image, target, height, width)`, not negative after a contrast.

    Raises:
        ExcitationError: a method that is none of these, or as the methods raise.
    """
    other = [name for name, _ in methods if name not in TOGETHER]
    if other:
        raise ExcitationError(f"method {other[0]!r} cannot share a forward pass; those that can: {TOGETHER}.")
    question = ask(model, images, list(targets))
    own = question.engine_layer() if None in layers else None
    names = [own if layer is None else layer for layer in layers]
    questions = {signal: ask(model, images, list(targets), signal=signal) for _, signal in methods}
    with torch.inference_mode(False), torch.no_grad():
        record = question.record([name for name in dict.fromkeys(names) if name is not None])
        values = [swept_layer(record, name) for name in names if name is not None]
        found = [_swept(name, questions[signal], record, values) for name, signal in methods]
    for (name, _), of_method in zip(methods, found, strict=True):
        if not all(bool(torch.isfinite(maps).all()) for maps in of_method):
            raise ExcitationError(f"the map of method {name!r} is not finite: an activation is too large.")
    return found


def _swept(name: str, question: Question, record: Record, values: Sequence[Value]) -> list[Maps]:
    assert record.scores is not None
    scores = working(record.scores)
    if name == "r-mwp":
        return [maps.clamp(min=0) for maps in swept_rivals(question, record, values)]
    if name == "eb-without-norm":
        (contrasts,) = unnormalised(question, record, values, True)
        return [alone(maps, signed=False).to(scores.dtype) for maps in contrasts]
    if name == "eb-post-norm":
        units, contrasts = unnormalised(question, record, values, False, True)
        return [
            contrasted(unit, unit - contrast, signed=False).to(scores.dtype)
            for unit, contrast in zip(units, contrasts, strict=True)
        ]
    dual = name == "c-mwp"
    swept = sweep(record, question.priors(scores)[None], list(values), ExcitationRules(Policies()), contrast=dual)
    maps = [channel_sum(p) for p in swept]
    return [item.clamp(min=0) for item in maps] if dual else maps
