"""What the runs of all games share: units one after another into one file; layers and pairs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .._checks import check_path
from .._errors import ExcitationError
from ..core import Target
from ..data._annotations import AnnotatedImage
from ..data._dataset import AnnotatedImages
from ..data._mapping import category_target
from ..models._loaded import LoadedModel
from ._classes import FindClasses
from ._identity import environment
from ._method_runner import AnyMethod, MethodRunner
from ._methods import Centre
from ._results import Results, read_results
from ._sqlite import Row
from ._store import open_store

Layers = Sequence[str | None]

LeftOut = list[tuple[str, str, str]]
"""Image, category, reason of each pair without result."""

Play = Callable[[str, torch.device], tuple[list[Row], LeftOut]]
"""`play(unit, device)`: the results of one unit, and its pairs that are left out."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: images finished, those of earlier sessions included.
        planned: images in all.
        earlier: images that were finished before this session.
        seconds: since this session began.
        counted: what is counted in place of images, as the grid game's `"photos"`, classified before the first of its
            `"mosaics"`.
    """

    done: int
    planned: int
    earlier: int
    seconds: float
    counted: str = "images"

    @property
    def left(self) -> float | None:
        """Seconds left, by this session's own pace; `None` before its first image."""
        here = self.done - self.earlier
        return self.seconds / here * (self.planned - self.done) if here else None


def run_units(
    out: str | os.PathLike[str],
    configuration: Mapping[str, object],
    units: Sequence[str],
    play: Play,
    *,
    model: LoadedModel,
    data: AnnotatedImages,
    runner: MethodRunner,
    shard: tuple[int, int] = (0, 1),
    progress: Callable[[Progress], None] | None = None,
    counted: str = "images",
) -> Results:
    """Play every unit that is not in the file yet.

    Args:
        out: the file of results (see `open_store`).
        configuration: all that the results depend on.
        units: of the whole run; this shard's are picked here.
        play: gives a unit's results.
        model: says on which device.
        data: whose problems are noted.
        runner: who asks in `play`: is told which methods have worked before, and tells where maps were taken.
        shard: `(index, count)`: only every count-th unit from the index-th, counted from 0.
        progress: called after each unit.
        counted: what a unit is.

    Returns:
        All results of the file.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: a shard that is none, or as `play` raises.
    """
    check_path("the file of results", out)
    if not isinstance(shard, tuple) or len(shard) != 2 or not 0 <= shard[0] < shard[1]:
        raise ExcitationError(f"shard is {shard}; give (index, count) with an index from 0 to count - 1.")
    own = units[shard[0] :: shard[1]]
    device = device_of(model)
    start = time.perf_counter()
    with open_store(out, configuration, planned=len(own), shard=shard, environment=environment(device)) as store:
        earlier = len(store.finished)
        runner.has_worked(store.methods())
        store.note(_as_pairs(data, 0))
        for unit in own:
            if unit in store.finished:
                continue
            known = len(data.problems)
            rows, left_out = play(unit, device)
            store.add(unit, rows, left_out=left_out, problems=_as_pairs(data, known), taken=runner.taken())
            if progress is not None:
                progress(Progress(len(store.finished), len(own), earlier, time.perf_counter() - start, counted))
    return read_results(Path(out))


def layers_of(
    methods: Mapping[str, AnyMethod], layers: Layers | Mapping[str, Layers]
) -> dict[str, tuple[str | None, ...]]:
    """The layers of each method, each once; none of the centre.

    Raises:
        ExcitationError: no method, or no layer for one.
    """
    if not methods:
        raise ExcitationError("no method was given; name at least one.")
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


def pairs_of(
    image: AnnotatedImage, classes: FindClasses, *, crowds: bool = True, places: bool = True
) -> tuple[dict[str, Target], LeftOut]:
    """Targets of an image by category, and what is left out.

    Args:
        image: the image.
        classes: of a category; several are a mixture in equal parts.
        crowds: whether crowds count as instances.
        places: whether a category without instances, only known to be in the image, is left out.
    """
    pairs: dict[str, Target] = {}
    left_out: LeftOut = []
    for category in image.categories:
        known = classes(category)
        instances = [item for item in image.of(category) if crowds or not item.crowd]
        if not known:
            left_out.append((image.id, category, "the category has no classes"))
        elif places and not instances:
            crowded = "only crowds of the category are annotated"
            reason = crowded if image.of(category) else "the category is annotated without a place"
            left_out.append((image.id, category, reason))
        else:
            pairs[category] = category_target(known)
    return pairs, left_out


def device_of(model: LoadedModel) -> torch.device:
    """Where the network is."""
    parameter = next(model.model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _as_pairs(data: AnnotatedImages, known: int) -> list[tuple[str, str]]:
    return [(problem.path, problem.sentence) for problem in list(data.problems)[known:]]
