"""Asking methods for maps on one image: what can share a forward pass does, and what fails is noted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
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
from ..data._annotations import Problems
from ..methods import GRADIENTS, TOGETHER, NotApplicableError, gradient_maps_together, maps_together
from ..networks._loaded import LoadedModel
from ..signals import Reading, Target
from ._methods import DEFAULT_LAYER, Centre, ManyLayers, Method, NamedMethod, maps_at

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


@dataclass(frozen=True)
class Answer:
    """One map.

    Attributes:
        method: its name in tables.
        layer: where it was taken.
        category: what was looked for.
        attention: finite values.
        seconds: its equal part of the time; methods that share a forward pass share its time.
    """

    method: str
    layer: str
    category: str
    attention: Float[torch.Tensor, "height width"]
    seconds: float


class Asker:
    """Asks all methods on one image after another.

    Args:
        model: the network.
        methods: by the name that tables show; the centre, which has no maps, is passed over.
        layers: of each method.
        problems: where failures are noted.
    """

    def __init__(
        self,
        model: LoadedModel,
        methods: Mapping[str, AnyMethod],
        layers: Mapping[str, tuple[str | None, ...]],
        problems: Problems,
    ) -> None:
        self._model = model
        self._methods = {name: item for name, item in methods.items() if not isinstance(item, Centre)}
        self._layers = layers
        self._problems = problems
        self._worked: set[str] = set()
        self._failed = dict.fromkeys(self._methods, 0)

    def ask(self, path: Path, one: torch.Tensor, pairs: Mapping[str, Target]) -> Iterator[Answer]:
        """Maps for one image, method by method.

        Args:
            path: of the picture, for problems.
            one: the network's input, a batch of one.
            pairs: targets by category.

        Raises:
            ExcitationError: something the next image would meet too, or a method that never works.
        """
        shared = self._together(one, pairs)
        for name, method in self._methods.items():
            layers = self._layers[name]
            start = time.perf_counter()
            try:
                if name in shared:
                    found, seconds = shared[name]
                else:
                    found = maps_at(method, self._model, one, list(pairs.values()), layers)
                    seconds = time.perf_counter() - start
                maps = [item[0].detach().to("cpu") for item in found]
            except STOPPERS:
                raise
            except (ExcitationError, RuntimeError) as error:
                self._fail(name, path, error)
                continue
            for layer, of_layer in zip(layers, maps, strict=True):
                for category, attention in zip(pairs, of_layer, strict=True):
                    if not bool(torch.isfinite(attention).all()):
                        self._fail(name, path, ExcitationError(f"its map for {category} is not finite."))
                        continue
                    self._worked.add(name)
                    each = seconds / (len(pairs) * len(layers))
                    yield Answer(name, layer or DEFAULT_LAYER, category, attention, each)

    def _together(self, one: torch.Tensor, pairs: Mapping[str, Target]) -> Found:
        """What methods give that share a forward pass; those that fail together are asked one by one later."""
        plain = {
            name: method
            for name, method in self._methods.items()
            if isinstance(method, NamedMethod) and not method.options
        }
        swept: dict[tuple[str | None, ...], list[str]] = {}
        derived: dict[Reading, list[str]] = {}
        for name, method in plain.items():
            if method.name in TOGETHER:
                swept.setdefault(self._layers[name], []).append(name)
            elif method.name in GRADIENTS:
                derived.setdefault(method.signal, []).append(name)
        targets = list(pairs.values())

        def sweeps(names: list[str], layers: tuple[str | None, ...]) -> list[list[torch.Tensor]]:
            return maps_together(
                self._model, one, targets, [(plain[name].name, plain[name].signal) for name in names], layers
            )  # fmt: skip

        def derivatives(names: list[str], signal: Reading) -> list[list[torch.Tensor]]:
            asked = [(plain[name].name, self._layers[name]) for name in names]
            return gradient_maps_together(self._model, one, targets, asked, signal=signal)

        groups = [(names, partial(sweeps, names, layers)) for layers, names in swept.items()]
        groups += [(names, partial(derivatives, names, signal)) for signal, names in derived.items()]
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
