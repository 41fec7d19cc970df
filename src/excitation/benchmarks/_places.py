"""Where methods take their maps if no layer is named: their own choice or the model's, by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from ..methods import find_method
from ..methods._cam import classifier
from ..methods._question import Question, ask
from ..networks._loaded import LoadedModel
from ..propagation import INPUT
from ..signals import Target
from ._methods import ExcitationMethod, NamedMethod

Choice = Literal["engine", "last", "features", "input"]
"""The model's own layer, else the engine's; the last with space; what is pooled for the classifier; the image."""

LAST = ("grad-cam", "grad-cam++", "layer-cam", "score-cam")
FEATURES = ("cam", "c-cam")
WALKS = ("selective-tuning", "sampled-winners")


def own_places(
    model: LoadedModel, one: torch.Tensor, targets: Sequence[Target], methods: Mapping[str, object]
) -> dict[str, str]:
    """The layer of each method that takes its own choice; from one forward pass at most for all of them.

    A choice may depend on the image: on its size, or on what the network does with it.

    Args:
        model: the network.
        one: its input, a batch of one.
        targets: what will be looked for.
        methods: by the name that tables show; those of others, whose choice nobody knows, are passed over.

    Raises:
        ExcitationError: a network without such a layer, as the methods raise.
    """
    question = ask(model, one, list(targets))
    found: dict[Choice, str] = {}
    places = {}
    for name, method in methods.items():
        choice = choice_of(method)
        if choice is None:
            continue
        if choice not in found:
            found[choice] = _place(question, choice)
        places[name] = found[choice]
    return places


def choice_of(method: object) -> Choice | None:
    """How a method chooses its layer; `None` if that is not known, or it has none."""
    if isinstance(method, ExcitationMethod):
        return "engine"
    if not isinstance(method, NamedMethod):
        return None
    known = find_method(method.name)
    if known.family == "control":
        return None
    if known.family == "excitation" or known.name in WALKS:
        return "engine"
    if known.name in FEATURES:
        return "features"
    return "last" if known.name in LAST else "input"


def _place(question: Question, choice: Choice) -> str:
    if choice == "engine":
        return question.engine_layer()
    if choice == "last":
        return question.last_layer()
    if choice == "input":
        return INPUT
    record = question.first
    _, features = classifier(record)
    # The last name of several: a module's reads better than that of the operation inside it, which finishes first.
    return [name for name, place in record.places.items() if place.value is features][-1]
