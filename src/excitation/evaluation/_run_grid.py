"""The grid pointing game on a data set: mosaics of pictures that the network is sure of, of different classes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch

from ..data._dataset import AnnotatedImages
from ..data._mapping import category_target
from ..models._loaded import LoadedModel
from ._classes import FindClasses
from ._grid import CELL, Photo, choose_mosaics, judge, make_mosaic, square
from ._identity import hash_content
from ._method_runner import AnyMethod
from ._probabilities import Probability, probabilities
from ._results import Results
from ._running import Layers, LeftOut, Progress, device_of, run_units
from ._setup import Setup, set_up, squashed
from ._sqlite import Row

MOSAICS = 100
SURE = 0.9
"""Least probability of a picture that goes into a mosaic."""


@dataclass
class GridGame:
    """Everything one mosaic needs."""

    setup: Setup
    names: Mapping[int, str]
    mosaics: Mapping[str, tuple[Photo, ...]]
    cell: int

    def play(self, unit: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Rows of one mosaic."""
        photos, data = self.mosaics[unit], self.setup.data
        pictures = []
        for photo in photos:
            image = data.image(photo.id)
            picture = None if image is None else data.read(image)
            if picture is None:
                return [], [(unit, self.names[photo.index], f"picture {photo.id} can no longer be read")]
            pictures.append(picture)
        mosaic, cells = make_mosaic(pictures, self.cell)
        boxes = {self.names[photo.index]: box for photo, box in zip(photos, cells, strict=True)}
        pairs = {self.names[photo.index]: category_target((photo.index,)) for photo in photos}
        one = self.setup.preprocessing(mosaic)[None].to(device)
        rows = []
        for answer in self.setup.runner.run(data.root / unit, one, pairs):
            verdict = judge(answer.attention, boxes[answer.category], (mosaic.height, mosaic.width))
            rows.append(
                Row(unit, answer.category, answer.method, answer.layer, *verdict.point, verdict.hit, False,
                    verdict.mass, answer.seconds, verdict.share)
            )  # fmt: skip
        return rows, []


def run_grid(
    model: LoadedModel,
    data: AnnotatedImages,
    methods: Mapping[str, AnyMethod],
    layers: Layers | Mapping[str, Layers] = (None,),
    *,
    out: str | os.PathLike[str],
    mapping: Mapping[str, Collection[int]] | None = None,
    side: int = 2,
    mosaics: int = MOSAICS,
    lowest: float = SURE,
    highest: float = 1.0,
    probability: Probability = "softmax",
    cell: int = CELL,
    seed: int = 0,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    network: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Ask for each class of a mosaic where it is, or go on where an earlier call was stopped.

    Pictures of one category with one class are cut to their middle square; those whose class has a probability within
    the limits are laid out in mosaics, no class twice. A row's value is the share of positive attention in the right
    cell, its hit whether the maximum lies there.

    Args:
        model: the network with its preprocessing.
        data: pictures of one category each; others are left out.
        methods: by the name that tables show; the centre, which has no map, is passed over.
        layers: where maps are taken, for all methods or for each by name; `None` is the method's or model's choice.
        out: the file of results (see `open_store`).
        mapping: classes of each category, as `run_pointing` takes it.
        side: cells in a row and a column.
        mosaics: how many.
        lowest: least probability of a picture's class.
        highest: up to which pictures are taken; itself only if it is 1.
        probability: what the network's scores are.
        cell: side of a picture in the mosaic, in pixels.
        seed: of the draw.
        limit: only the first pictures of the data set.
        shard: `(index, count)`: only every count-th mosaic from the index-th, counted from 0.
        network: the model's name in tables; its spec if not given.
        progress: called after each mosaic, and before the first after each picture that is looked at.

    Returns:
        All results of the file.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: too few pictures are sure enough, or the model, a layer or a method cannot be used as asked.
    """
    setup = set_up(model, data, methods, layers, mapping, squashed(model, side * cell), smooth=False)
    photos, names = sure_photos(
        model, data, setup.classes, data.ids[:limit], cell=cell, probability=probability, progress=progress
    )
    chosen = choose_mosaics(photos, mosaics, side=side, lowest=lowest, highest=highest, seed=seed)
    units = {f"{side}x{side}-{number:05d}": mosaic for number, mosaic in enumerate(chosen)}
    game = GridGame(setup, names, units, cell)
    configuration = {
        **setup.configuration("grid", network, limit),
        "mosaics": hash_content({unit: [photo.id for photo in items] for unit, items in units.items()}),
        "side": side, "count": mosaics, "confidence": [lowest, highest], "probability": probability, "cell": cell,
        "seed": seed,
    }  # fmt: skip
    return run_units(
        out, configuration, list(units), game.play, model=model, data=data, runner=setup.runner, shard=shard,
        progress=progress, counted="mosaics",
    )  # fmt: skip


def sure_photos(
    model: LoadedModel,
    data: AnnotatedImages,
    classes: FindClasses,
    ids: Sequence[str],
    *,
    cell: int = CELL,
    probability: Probability = "softmax",
    progress: Callable[[Progress], None] | None = None,
) -> tuple[list[Photo], dict[int, str]]:
    """Pictures of one category with one class, each with the probability of that class on its middle square.

    Args:
        model: the network.
        data: annotated images; what cannot be read is left out and listed.
        classes: of a category.
        ids: which images.
        cell: side of the square in pixels.
        probability: what the network's scores are.
        progress: called after each picture, of what is left out too.

    Returns:
        The pictures, and the category of each class.
    """
    prepare = squashed(model, cell)
    device = device_of(model)
    photos: list[Photo] = []
    names: dict[int, str] = {}
    start = time.perf_counter()

    def look(item: str) -> None:
        image = data.image(item)
        if image is None or len(image.categories) != 1 or len(classes(image.categories[0])) != 1:
            return
        picture = data.read(image)
        if picture is None:
            return
        (index,) = classes(image.categories[0])
        (found,) = probabilities(model, prepare(square(picture, cell))[None].to(device), probability)
        # Rounded, so that the last digits of another machine's arithmetic choose no other mosaics.
        photos.append(Photo(image.id, index, round(float(found[index]), 6)))
        names.setdefault(index, image.categories[0])

    for done, item in enumerate(ids, start=1):
        look(item)
        if progress is not None:
            progress(Progress(done, len(ids), 0, time.perf_counter() - start, "photos"))
    return photos, names
