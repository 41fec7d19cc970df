"""The interface between games and methods, and the description of methods in configurations."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float

from .._errors import ExcitationError
from ..core import Explanation, SpatialWeighting, Target
from ..explainers import explain
from ..methods import find_method
from ..models._loaded import LoadedModel

DEFAULT_LAYER = "default"
"""Name of the layer in results if no layer was requested and the method or model chose one."""


@runtime_checkable
class Method(Protocol):
    """A function that computes the maps of several targets for a batch of images, as in `excitation.methods`."""

    def __call__(
        self, model: LoadedModel, images: torch.Tensor, targets: list[Target], *, layer: str | None = None
    ) -> Float[torch.Tensor, "image target height width"]:
        """Return the maps at a layer; `None` for the choice of the method."""


@runtime_checkable
class ManyLayers(Protocol):
    """A method that computes maps at several layers with one forward pass."""

    def at_layers(
        self, model: LoadedModel, images: torch.Tensor, targets: list[Target], layers: Sequence[str | None]
    ) -> list[Float[torch.Tensor, "image target _ _"]]:
        """Return the maps at each layer, in the order of the layers."""


@dataclass(frozen=True)
class Centre:
    """The baseline: always points at the centre of the picture."""

    def point(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the central pixel `(x, y)`; the first of two or four central pixels."""
        return (size[1] - 1) // 2, (size[0] - 1) // 2


@dataclass(frozen=True)
class NamedMethod:
    """A method by name, with its spatial weighting and options.

    Attributes:
        name: name of the method, see `find_method`.
        spatial: spatial weighting of the signal on a score map.
        options: options of the method by name.
    """

    name: str
    spatial: SpatialWeighting = "response"
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the method's post-processing steps."""
        return find_method(self.name).steps

    def __call__(
        self, model: LoadedModel, images: torch.Tensor, targets: list[Target], *, layer: str | None = None
    ) -> Float[torch.Tensor, "image target height width"]:
        """Return the maps at a layer; `None` for the choice of the method."""
        return self.at_layers(model, images, targets, [layer])[0]

    def at_layers(
        self, model: LoadedModel, images: torch.Tensor, targets: list[Target], layers: Sequence[str | None]
    ) -> list[Float[torch.Tensor, "image target _ _"]]:
        """Return the maps at each layer, with one forward pass and one sweep if possible.

        Raises:
            ExcitationError: two of the layers are the same, or an error of `excitation.explain`.
        """
        named = [layer for layer in layers if layer is not None]
        maps: list[torch.Tensor] = []
        if named:
            explanation = self._explained(model, images, targets, named)
            maps = [explanation[layer] for layer in explanation.layers]
            if len(maps) != len(named):
                raise ExcitationError(
                    f"layers {', '.join(map(repr, named))} are not all different layers; give each layer once."
                )
        default = self._explained(model, images, targets, None).maps if len(named) < len(layers) else torch.empty(0)
        return [default if layer is None else maps[named.index(layer)] for layer in layers]

    def _explained(
        self, model: LoadedModel, images: torch.Tensor, targets: list[Target], layers: list[str] | None
    ) -> Explanation:
        return explain(
            model, images, targets, layer=layers, method=self.name, spatial=self.spatial, **dict(self.options)
        )


def maps_at(
    method: Method | ManyLayers,
    model: LoadedModel,
    images: torch.Tensor,
    targets: list[Target],
    layers: Sequence[str | None],
) -> list[Float[torch.Tensor, "image target _ _"]]:
    """Return the maps at each layer, with one forward pass if the method supports it.

    Raises:
        ExcitationError: the method does not return one two-dimensional map for each image and target.
    """
    if isinstance(method, ManyLayers):
        at_layers = list(method.at_layers(model, images, targets, layers))
    else:
        at_layers = [method(model, images, targets, layer=layer) for layer in layers]
    for maps in at_layers:
        if maps.dim() != 4 or maps.shape[:2] != (len(images), len(targets)):
            raise ExcitationError(
                f"the method returned maps of shape {tuple(maps.shape)}; ({len(images)}, {len(targets)}, height, width)"
                " is expected."
            )
    return at_layers


def describe_method(method: object) -> str:
    """Return a description of a method that is the same in all processes.

    Functions are described by their names, partial functions and frozen objects also by their contents, if possible. A
    method with other state can describe it in an attribute `configuration`.
    """
    own = getattr(method, "configuration", None)
    if own is not None:
        return json.dumps(own, sort_keys=True, default=_plain)
    if isinstance(method, functools.partial):
        return json.dumps(
            {"function": describe_method(method.func), "arguments": [*method.args], "options": method.keywords},
            sort_keys=True,
            default=_plain,
        )
    if dataclasses.is_dataclass(method) and not isinstance(method, type):
        return json.dumps(_plain(method), sort_keys=True, default=_plain)
    target = method if hasattr(method, "__qualname__") else type(method)
    return f"{target.__module__}.{getattr(target, '__qualname__', target)}"


def _plain(value: object) -> Any:
    """Convert an object to JSON-compatible data without memory addresses."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        values = {item.name: getattr(value, item.name) for item in dataclasses.fields(value) if item.repr}
        return {"": f"{type(value).__module__}.{type(value).__qualname__}", **values}
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return describe_method(value)
