"""Computes the maps of all methods on one image: selects layers, shares forward passes, and reports failures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float

from .._errors import (
    EscapedTensorError,
    ExcitationError,
    LayerError,
    TargetError,
    TrainingModeError,
    UnsupportedOperationError,
)
from ..core import Request, SpatialWeighting, Target, make_request
from ..data._annotations import Problems
from ..engine import INPUT
from ..methods import (
    GRADIENTS,
    TOGETHER,
    NotApplicableError,
    find_method,
    gradient_maps_from_one_pass,
    maps_from_one_pass,
)
from ..methods._cam import classifier, features_layer
from ..methods._registry import OwnPlace
from ..models._loaded import LoadedModel
from ._methods import DEFAULT_LAYER, Centre, ManyLayers, Method, NamedMethod, maps_at
from ._store import Row

AnyMethod = Method | ManyLayers | Centre

GIVE_UP = 3
"""A method that fails on this many images and has worked on none is taken for wrong, not the images."""

STOPPERS = (
    LayerError, TargetError, TrainingModeError, UnsupportedOperationError, EscapedTensorError, NotApplicableError,
    torch.cuda.OutOfMemoryError,
)  # fmt: skip
"""Errors that the next image would meet too."""

Found = dict[str, tuple[list[torch.Tensor], float]]
"""By method: maps `(image, target, height, width)` at each layer, and the seconds they took."""

Layers = Mapping[str, tuple[str | None, ...]]
"""Of each method; `None` is its own choice."""

OwnLayers = Mapping[tuple[str, str, str], int]
"""Number of images by method, requested layer (`DEFAULT_LAYER`), and the layer that the method selected itself."""


@dataclass(frozen=True)
class Answer:
    """One map.

    Attributes:
        method: name of the method in tables.
        layer: requested layer of the map; `"default"` for the choice of the method (see `MethodRunner.own_layers`).
        query: query of the map (see `Row`).
        attention: the map, with finite values.
        seconds: time for the map. The time of shared computations is divided equally.
    """

    method: str
    layer: str
    query: str
    attention: Float[torch.Tensor, "height width"]
    seconds: float

    @property
    def mass(self) -> float:
        """Sum of the map, in double precision."""
        return float(self.attention.double().sum())

    def row(
        self,
        image: str,
        *,
        hit: bool,
        value: float,
        series: tuple[float, ...] = (),
        point: tuple[int, int] | None = None,
    ) -> Row:
        """Return the row of the map.

        Args:
            image: id of the image in the data set.
            hit: whether the map is right.
            value: measure of the game.
            series: several further measures, in the order of the game.
            point: position of the maximum, in pixels of the picture.
        """
        x, y = point or (None, None)
        return Row(image, self.query, self.method, self.layer, x, y, hit, False, self.mass, self.seconds, value, series)


class MethodRunner:
    """Computes the maps of all methods, image by image.

    Args:
        model: the network.
        methods: methods by their names in tables. The centre is skipped, because it has no map.
        layers: layers of each method.
        problems: collects failures.
    """

    def __init__(
        self,
        model: LoadedModel,
        methods: Mapping[str, AnyMethod],
        layers: Layers,
        problems: Problems,
    ) -> None:
        self._model = model
        self._methods = {name: item for name, item in methods.items() if not isinstance(item, Centre)}
        self._layers = layers
        self._problems = problems
        self._worked: set[str] = set()
        self._failed = dict.fromkeys(self._methods, 0)
        self._own_layers: Counter[tuple[str, str, str]] = Counter()

    def has_worked(self, methods: Collection[str]) -> None:
        """Mark methods that computed maps in an earlier session. Their failures are attributed to the images."""
        self._worked |= {name for name in methods if name in self._methods}

    def own_layers(self) -> OwnLayers:
        """Return the layers that methods selected themselves since the last call of this function."""
        counts, self._own_layers = self._own_layers, Counter()
        return counts

    def run(self, path: Path, one: torch.Tensor, pairs: Mapping[str, Target]) -> Iterator[Answer]:
        """Yield the maps of one image, method by method.

        Args:
            path: path of the picture, for reports of problems.
            one: the network input, a batch of one.
            pairs: targets by query.

        Raises:
            ExcitationError: an error that would also occur for the next image, or a method that always fails.
        """
        start = time.perf_counter()
        own, asked = self._places(one, pairs)
        choosing = (time.perf_counter() - start) / max(len(own), 1)
        shared = self._together(one, pairs, asked)
        for name, method in self._methods.items():
            layers = self._layers[name]
            start = time.perf_counter()
            try:
                if name in shared:
                    found, seconds = shared[name]
                else:
                    found = maps_at(method, self._model, one, list(pairs.values()), asked[name])
                    seconds = time.perf_counter() - start
                seconds += choosing if name in own else 0
                maps = [item[0].detach().to("cpu") for item in found]
            except STOPPERS:
                raise
            except (ExcitationError, RuntimeError) as error:
                self._fail(name, path, error)
                continue
            if name in own:
                self._own_layers[name, DEFAULT_LAYER, own[name]] += 1
            for layer, of_layer in zip(layers, maps, strict=True):
                for query, attention in zip(pairs, of_layer, strict=True):
                    if not bool(torch.isfinite(attention).all()):
                        self._fail(name, path, ExcitationError(f"its map for {query} is not finite."))
                        continue
                    self._worked.add(name)
                    each = seconds / (len(pairs) * len(layers))
                    yield Answer(name, layer or DEFAULT_LAYER, query, attention, each)

    def _places(self, one: torch.Tensor, pairs: Mapping[str, Target]) -> tuple[dict[str, str], Layers]:
        """Return the layers that methods select themselves, by method, and all layers with `None` replaced by them."""
        choosers = {name: method for name, method in self._methods.items() if None in self._layers[name]}
        if not choosers:
            return {}, self._layers
        try:
            own = own_layers(self._model, one, list(pairs.values()), choosers)
        except STOPPERS:
            raise
        except (ExcitationError, RuntimeError):
            # Each method reports its own error for this image.
            return {}, self._layers
        # With the names, methods do not select the layer again. A layer that is also requested by name occurs once.
        put = {name: None if place == INPUT or place in self._layers[name] else place for name, place in own.items()}
        return own, {
            name: tuple(put.get(name) if layer is None else layer for layer in layers)
            for name, layers in self._layers.items()
        }

    def _together(self, one: torch.Tensor, pairs: Mapping[str, Target], asked: Layers) -> Found:
        """Return the maps of methods that share a forward pass. If they fail, they run separately later."""
        plain = {
            name: method
            for name, method in self._methods.items()
            if isinstance(method, NamedMethod) and not method.options
        }
        swept: list[str] = []
        derived: dict[SpatialWeighting, list[str]] = {}
        for name, method in plain.items():
            if method.name in TOGETHER:
                swept.append(name)
            elif method.name in GRADIENTS:
                derived.setdefault(method.spatial, []).append(name)
        targets = list(pairs.values())

        def sweeps(names: list[str]) -> list[list[torch.Tensor]]:
            wanted = [(plain[name].name, plain[name].spatial) for name in names]
            return maps_from_one_pass(self._model, one, targets, wanted, [asked[name] for name in names])

        def derivatives(names: list[str], spatial: SpatialWeighting) -> list[list[torch.Tensor]]:
            wanted = [(plain[name].name, asked[name]) for name in names]
            return gradient_maps_from_one_pass(self._model, one, targets, wanted, spatial=spatial)

        groups = [(swept, partial(sweeps, swept))] if swept else []
        groups += [(names, partial(derivatives, names, spatial)) for spatial, names in derived.items()]
        found: Found = {}
        for names, run in groups:
            start = time.perf_counter()
            try:
                every = run()
            except STOPPERS:
                raise
            except (ExcitationError, RuntimeError):
                continue
            seconds = (time.perf_counter() - start) / len(names)
            found |= {name: (maps, seconds) for name, maps in zip(names, every, strict=True)}
        return found

    def _fail(self, name: str, path: Path, error: Exception) -> None:
        self._failed[name] += 1
        if name not in self._worked and self._failed[name] >= GIVE_UP:
            raise ExcitationError(f"method {name!r} failed on {GIVE_UP} images and worked on none: {error}") from error
        words = " ".join(str(error).split())
        self._problems.report(path, f"method {name!r} failed: {words} Its results are missing.")


def own_layers(
    model: LoadedModel, one: torch.Tensor, targets: Sequence[Target], methods: Mapping[str, object]
) -> dict[str, str]:
    """Return the layer of each method that selects its own layer, with at most one forward pass for all methods.

    The selected layer can depend on the size and the content of the image.

    Args:
        model: the network.
        one: the network input, a batch of one.
        targets: the targets of the maps.
        methods: methods by their names in tables. Custom methods are skipped, because their choice is unknown.

    Raises:
        ExcitationError: the network has no such layer.
    """
    request = make_request(model, one, list(targets))
    found: dict[OwnPlace, str] = {}
    places = {}
    for name, method in methods.items():
        place = find_method(method.name).place if isinstance(method, NamedMethod) else None
        if place is None:
            continue
        if place not in found:
            found[place] = _layer_of(request, place)
        places[name] = found[place]
    return places


def _layer_of(request: Request, place: OwnPlace) -> str:
    if place == "engine":
        return request.engine_layer()
    if place == "last":
        return request.last_layer()
    if place == "input":
        return INPUT
    record = request.first
    _, features = classifier(record)
    return features_layer(record, features)
