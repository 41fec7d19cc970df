"""The layers of each method and the pairs of each image in a run, and the device of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from .._errors import ExcitationError
from ..core import Target
from ..data._annotations import AnnotatedImage
from ..data._mapping import category_target
from ..models._loaded import LoadedModel
from ._classes import FindClasses
from ._method_runner import AnyMethod
from ._methods import Centre

Layers = Sequence[str | None]
"""Requested layers; `None` for the choice of the method."""

LeftOut = list[tuple[str, str, str]]
"""Image, query and reason of each pair without a result."""


def layers_of(
    methods: Mapping[str, AnyMethod], layers: Layers | Mapping[str, Layers]
) -> dict[str, tuple[str | None, ...]]:
    """Return the layers of each method, without duplicates. The centre has no layers.

    Raises:
        ExcitationError: there is no method, or a method has no layer.
    """
    if not methods:
        raise ExcitationError("no method was given; name at least one.")
    by_method: dict[str, tuple[str | None, ...]] = {}
    for name, method in methods.items():
        if isinstance(method, Centre):
            by_method[name] = ()
            continue
        given = layers.get(name, (None,)) if isinstance(layers, Mapping) else layers
        by_method[name] = tuple(dict.fromkeys(given))
        if not by_method[name] or isinstance(given, str):
            raise ExcitationError(f"layers of {name!r} are {given!r}; give a list of at least one layer or None.")
    return by_method


def pairs_of(
    image: AnnotatedImage, classes: FindClasses, *, crowds: bool = True, need_instances: bool = True
) -> tuple[dict[str, Target], LeftOut]:
    """Return the targets of an image by category, and the omitted pairs.

    Args:
        image: the image.
        classes: function that returns the classes of a category. Several classes are mixed with equal weights.
        crowds: whether crowds count as instances.
        need_instances: whether to omit categories with image-level labels but without instances.
    """
    pairs: dict[str, Target] = {}
    left_out: LeftOut = []
    for category in image.categories:
        known = classes(category)
        instances = [item for item in image.of(category) if crowds or not item.crowd]
        if not known:
            left_out.append((image.id, category, "the category has no classes"))
        elif need_instances and not instances:
            crowded = "only crowds of the category are annotated"
            reason = crowded if image.of(category) else "the category has no annotated location"
            left_out.append((image.id, category, reason))
        else:
            pairs[category] = category_target(known)
    return pairs, left_out


def device_of(model: LoadedModel) -> torch.device:
    """Return the device of the network."""
    parameter = next(model.model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
