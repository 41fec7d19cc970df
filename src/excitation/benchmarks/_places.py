"""Where methods take their maps if no layer is named: their own choice or the model's, by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..methods import find_method
from ..methods._cam import classifier
from ..methods._question import Question, ask
from ..methods._registry import OwnPlace
from ..networks._loaded import LoadedModel
from ..propagation import INPUT
from ..signals import Target
from ._methods import ExcitationMethod, NamedMethod


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
    found: dict[OwnPlace, str] = {}
    places = {}
    for name, method in methods.items():
        place = own_place(method)
        if place is None:
            continue
        if place not in found:
            found[place] = _layer(question, place)
        places[name] = found[place]
    return places


def own_place(method: object) -> OwnPlace | None:
    """How a method chooses its layer; `None` if that is not known, or it has none."""
    if isinstance(method, ExcitationMethod):
        return "engine"
    return find_method(method.name).place if isinstance(method, NamedMethod) else None


def _layer(question: Question, place: OwnPlace) -> str:
    if place == "engine":
        return question.engine_layer()
    if place == "last":
        return question.last_layer()
    if place == "input":
        return INPUT
    record = question.first
    _, features = classifier(record)
    # The last name of several: a module's reads better than that of the operation inside it, which finishes first.
    return [name for name, place in record.places.items() if place.value is features][-1]
