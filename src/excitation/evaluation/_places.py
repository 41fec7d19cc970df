"""Where methods take their maps if no layer is named: their own choice or the model's, by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..core import Request, Target, make_request
from ..engine import INPUT
from ..methods import find_method
from ..methods._cam import classifier, features_layer
from ..methods._registry import OwnPlace
from ..models._loaded import LoadedModel
from ._methods import NamedMethod


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
    request = make_request(model, one, list(targets))
    found: dict[OwnPlace, str] = {}
    places = {}
    for name, method in methods.items():
        place = own_place(method)
        if place is None:
            continue
        if place not in found:
            found[place] = _layer(request, place)
        places[name] = found[place]
    return places


def own_place(method: object) -> OwnPlace | None:
    """How a method chooses its layer; `None` if that is not known, or it has none."""
    return find_method(method.name).place if isinstance(method, NamedMethod) else None


def _layer(request: Request, place: OwnPlace) -> str:
    if place == "engine":
        return request.engine_layer()
    if place == "last":
        return request.last_layer()
    if place == "input":
        return INPUT
    record = request.first
    _, features = classifier(record)
    return features_layer(record, features)
