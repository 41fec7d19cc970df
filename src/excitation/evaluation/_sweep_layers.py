"""The layers of a sweep: all that every piece of evidence passes through, from the top down to the first."""

from __future__ import annotations

import dataclasses

from .._errors import ExcitationError
from ..core import forward, whole_places
from ..data._dataset import AnnotatedImages
from ..models._loaded import LoadedModel


def sweep_layers(model: LoadedModel, data: AnnotatedImages, shortest: int) -> tuple[str, ...]:
    """Layers where a map and its contrast are defined, found on the first image that can be read.

    A block of several modules counts once, by the outermost module that ends with its value; so do places that hold
    the same neurons in a chain of convolution, normalisation and rectifier: the last of them stays.

    Args:
        model: the network.
        data: says which image.
        shortest: shortest side of the input.

    Returns:
        Names, the highest layer first.

    Raises:
        ExcitationError: no image can be read, or no layer fits.
    """
    prepare = dataclasses.replace(model.preprocessing, resize="shortest", size=(shortest, shortest), resize_to=None)
    for image in data:
        picture = data.read(image)
        if picture is not None:
            break
    else:
        raise ExcitationError(f"{data.name}: no image can be read, so no layer can be found.")
    parameter = next(model.model.parameters(), None)
    one = prepare(picture)[None]
    record = forward(model.model, one if parameter is None else one.to(parameter), None, model.output)
    found: dict[tuple[frozenset[int] | int, tuple[int, ...]], str] = {}
    for place, _ in whole_places(record):
        value = place.value
        if place.kind != "module" or value is None:
            continue
        # Equal sets of weighted operations above the input and equal shapes: the same neurons, one step further.
        key = (value.weighted, tuple(value.shape))
        found.pop(key, None)
        found[key] = place.name
    if not found:
        raise ExcitationError("no layer with space lies on all paths through this network; name some with --layer.")
    return tuple(reversed(found.values()))
