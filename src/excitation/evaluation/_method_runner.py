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

MAX_FAILURES = 3
"""A method that fails on this number of images, and succeeds on none, stops the run."""

FATAL = (
    LayerError, TargetError, TrainingModeError, UnsupportedOperationError, EscapedTensorError, NotApplicableError,
    torch.cuda.OutOfMemoryError,
)  # fmt: skip
"""Errors that would also occur for the next image. They stop the run."""

Computed = dict[str, tuple[list[torch.Tensor], float]]
"""Maps `(image, target, height, width)` at each layer, and the seconds for all of them, by method."""

Layers = Mapping[str, tuple[str | None, ...]]
"""Layers of each method; `None` for the choice of the method."""

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
        self._succeeded: set[str] = set()
        self._failed = dict.fromkeys(self._methods, 0)
        self._own_layers: Counter[tuple[str, str, str]] = Counter()

    def mark_successful(self, methods: Collection[str]) -> None:
        """Mark methods that computed maps in an earlier session. Their failures are attributed to the images."""
        self._succeeded |= {name for name in methods if name in self._methods}

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
        own, requested = self._choose_own_layers(one, pairs)
        choosing = (time.perf_counter() - start) / max(len(own), 1)
        shared = self._share_passes(one, pairs, requested)
        for name, method in self._methods.items():
            layers = self._layers[name]
            start = time.perf_counter()
            try:
                if name in shared:
                    at_layers, seconds = shared[name]
                else:
                    at_layers = maps_at(method, self._model, one, list(pairs.values()), requested[name])
                    seconds = time.perf_counter() - start
                seconds += choosing if name in own else 0
                maps = [item[0].detach().to("cpu") for item in at_layers]
            except FATAL:
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
                    self._succeeded.add(name)
                    each = seconds / (len(pairs) * len(layers))
                    yield Answer(name, layer or DEFAULT_LAYER, query, attention, each)

    def _choose_own_layers(self, one: torch.Tensor, pairs: Mapping[str, Target]) -> tuple[dict[str, str], Layers]:
        """Return the layers that methods select themselves, by method, and all layers with `None` replaced by them."""
        choosers = {name: method for name, method in self._methods.items() if None in self._layers[name]}
        if not choosers:
            return {}, self._layers
        try:
            own = own_layers(self._model, one, list(pairs.values()), choosers)
        except FATAL:
            raise
        except (ExcitationError, RuntimeError):
            # Each method reports its own error for this image.
            return {}, self._layers
        # With the names, methods do not select the layer again. A layer that is also requested by name occurs once.
        named = {name: None if layer == INPUT or layer in self._layers[name] else layer for name, layer in own.items()}
        return own, {
            name: tuple(named.get(name) if layer is None else layer for layer in layers)
            for name, layers in self._layers.items()
        }

    def _share_passes(self, one: torch.Tensor, pairs: Mapping[str, Target], requested: Layers) -> Computed:
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
            return maps_from_one_pass(self._model, one, targets, wanted, [requested[name] for name in names])

        def derivatives(names: list[str], spatial: SpatialWeighting) -> list[list[torch.Tensor]]:
            wanted = [(plain[name].name, requested[name]) for name in names]
            return gradient_maps_from_one_pass(self._model, one, targets, wanted, spatial=spatial)

        groups = [(swept, partial(sweeps, swept))] if swept else []
        groups += [(names, partial(derivatives, names, spatial)) for spatial, names in derived.items()]
        computed: Computed = {}
        for names, run in groups:
            start = time.perf_counter()
            try:
                every = run()
            except FATAL:
                raise
            except (ExcitationError, RuntimeError):
                continue
            seconds = (time.perf_counter() - start) / len(names)
            computed |= {name: (maps, seconds) for name, maps in zip(names, every, strict=True)}
        return computed

    def _fail(self, name: str, path: Path, error: Exception) -> None:
        self._failed[name] += 1
        if name not in self._succeeded and self._failed[name] >= MAX_FAILURES:
            raise ExcitationError(
                f"method {name!r} failed on {MAX_FAILURES} images and succeeded on none: {error}"
            ) from error
        message = " ".join(str(error).split())
        self._problems.report(path, f"method {name!r} failed: {message} Its results are missing.")


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
    by_rule: dict[OwnPlace, str] = {}
    layers = {}
    for name, method in methods.items():
        rule = find_method(method.name).place if isinstance(method, NamedMethod) else None
        if rule is None:
            continue
        if rule not in by_rule:
            by_rule[rule] = _layer_of(request, rule)
        layers[name] = by_rule[rule]
    return layers


def _layer_of(request: Request, rule: OwnPlace) -> str:
    if rule == "engine":
        return request.engine_layer()
    if rule == "last":
        return request.last_layer()
    if rule == "input":
        return INPUT
    record = request.first
    _, features = classifier(record)
    return features_layer(record, features)
