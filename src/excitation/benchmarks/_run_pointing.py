"""The pointing game on a data set: every image, category, method and layer, into one file of results."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .._errors import ExcitationError, TargetError
from ..data._dataset import AnnotatedImages, Truth
from ..networks._loaded import LoadedModel, Preprocessing
from ..signals import class_index
from ._game import AnyMethod, PointingGame
from ._identity import environment
from ._methods import Centre
from ._pointing import Tolerance
from ._results import Results, read_results
from ._store import open_store

Layers = Sequence[str | None]

SHORTEST = 224
"""Shortest side of the network's input in the pointing game (Sec. 4.1)."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: images finished, those of earlier sessions included.
        planned: images in all.
        earlier: images that were finished before this session.
        seconds: since this session began.
    """

    done: int
    planned: int
    earlier: int
    seconds: float

    @property
    def left(self) -> float | None:
        """Seconds left, by this session's own pace; `None` before its first image."""
        here = self.done - self.earlier
        return self.seconds / here * (self.planned - self.done) if here else None


def run_pointing(
    model: LoadedModel,
    data: AnnotatedImages,
    methods: Mapping[str, AnyMethod],
    layers: Layers | Mapping[str, Layers] = (None,),
    *,
    out: str | os.PathLike[str],
    mapping: Mapping[str, Collection[int]] | None = None,
    difficult: Mapping[str, Collection[str]] | None = None,
    tolerance: Tolerance | None = None,
    blur: Collection[str] | None = None,
    truth: Truth | None = None,
    crowds: bool = True,
    shortest: int | None = SHORTEST,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    network: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Play the pointing game, or go on where an earlier call was stopped.

    All categories of an image are asked at once, and all layers too where a method can; each method sees each image
    once. What is wrong with an image is noted, and the run goes on.

    Args:
        model: the network with its preprocessing.
        data: annotated images.
        methods: by the name that tables show.
        layers: where maps are taken, for all methods or for each by name; `None` is the method's or model's choice.
        out: the file of results (see `open_store`).
        mapping: classes of each category. If not given, the data set's own; if it has none, a category is the class
            of the same name. A category without classes is left out and counted.
        difficult: categories of each image that are difficult, from a list; by the paper's rule if not given.
        tolerance: how near a maximum must be; 15 pixels of the original picture if not given.
        blur: names of methods whose maps are smoothed first; those with `"blur"` among their `steps` if not given.
        truth: by segments or boxes; the data set's own if not given.
        crowds: whether crowd regions are instances.
        shortest: shortest side of the network's input, aspect ratio kept; `None` for the model's own preprocessing.
        limit: only the first images.
        shard: `(index, count)`: only every count-th image from the index-th, counted from 0.
        network: the model's name in tables; its spec if not given.
        progress: called after each image.

    Returns:
        All results of the file.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: the model, a layer or a method cannot be used as asked.

    Source: Zhang et al., ECCV 2016, Sec. 4.1.
    """
    if not methods:
        raise ExcitationError("no method was given; name at least one.")
    if not (0 <= shard[0] < shard[1]):
        raise ExcitationError(f"shard is {shard}; give (index, count) with an index from 0 to count - 1.")
    game = PointingGame(
        model=model,
        data=data,
        methods=dict(methods),
        layers=_layers(methods, layers),
        classes=_classes(model, data, mapping),
        difficult=difficult,
        tolerance=tolerance or Tolerance(),
        blur=frozenset(_blurred(methods) if blur is None else blur),
        truth=truth or data.truth,
        crowds=crowds,
        preprocessing=_preprocessing(model, shortest),
    )
    ids = data.ids[:limit][shard[0] :: shard[1]]
    configuration = {**game.configuration(), "network": network or model.spec, "limit": limit}
    device = _device(model)
    start = time.perf_counter()
    with open_store(
        out, configuration, planned=len(ids), shard=shard, environment=environment(device)
    ) as store:  # fmt: skip
        earlier = len(store.finished)
        store.note(_as_pairs(data, 0))
        for item in ids:
            if item in store.finished:
                continue
            known = len(data.problems)
            rows, left_out = game.play(item, device)
            store.add(item, rows, left_out=left_out, problems=_as_pairs(data, known))
            if progress is not None:
                progress(Progress(len(store.finished), len(ids), earlier, time.perf_counter() - start))
    return read_results(Path(out))


def _layers(
    methods: Mapping[str, AnyMethod], layers: Layers | Mapping[str, Layers]
) -> dict[str, tuple[str | None, ...]]:
    found: dict[str, tuple[str | None, ...]] = {}
    for name, method in methods.items():
        if isinstance(method, Centre):
            found[name] = ()
            continue
        given = layers.get(name, (None,)) if isinstance(layers, Mapping) else layers
        found[name] = tuple(dict.fromkeys(given))
        if not found[name] or isinstance(given, str):
            raise ExcitationError(f"layers of {name!r} are {given!r}; give a list of at least one layer or None.")
    return found


def _classes(
    model: LoadedModel, data: AnnotatedImages, mapping: Mapping[str, Collection[int]] | None
) -> Callable[[str], tuple[int, ...]]:
    table = mapping if mapping is not None else data.classes
    names = model.class_names
    if mapping is None and not table and names is not None:

        def by_name(category: str) -> tuple[int, ...]:
            try:
                return (class_index(category, len(names), names),)
            except TargetError:
                return ()

        return by_name
    return lambda category: tuple(table.get(category, ()))


def _blurred(methods: Mapping[str, AnyMethod]) -> list[str]:
    return [name for name, method in methods.items() if "blur" in getattr(method, "steps", ())]


def _preprocessing(model: LoadedModel, shortest: int | None) -> Preprocessing:
    if shortest is None:
        return model.preprocessing
    return dataclasses.replace(model.preprocessing, resize="shortest", size=(shortest, shortest), resize_to=None)


def _device(model: LoadedModel) -> torch.device:
    parameter = next(model.model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _as_pairs(data: AnnotatedImages, known: int) -> list[tuple[str, str]]:
    return [(problem.path, problem.sentence) for problem in list(data.problems)[known:]]
