"""The grid pointing game: in a mosaic of photos, is the attention for a class in that class's cell?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps

from .._errors import ExcitationError
from .._maps import Box, points_nowhere
from ..data._annotations import PixelBox
from ..data._dataset import AnnotatedImages
from ..data._mapping import category_target
from ..models._loaded import LoadedModel
from ._classes import FindClasses, Probability, probabilities
from ._configuration import hash_content
from ._game import Column, Game, Progress
from ._method_runner import AnyMethod
from ._pointing import point_of_map
from ._results import Results
from ._rows import value
from ._running import Layers, LeftOut, device_of
from ._setup import set_up, squashed
from ._store import Row

CELL = 224
"""Side of a photo in a mosaic, in pixels."""

MOSAICS = 100
SURE = 0.9
"""Least probability of a picture that goes into a mosaic."""


@dataclass(frozen=True)
class Photo:
    """A photo that may go into a mosaic.

    Attributes:
        id: its name in the data set.
        index: its class.
        confidence: the network's probability of that class on the square of the photo alone, 0 to 1.
    """

    id: str
    index: int
    confidence: float


@dataclass(frozen=True)
class Verdict:
    """One class's map on a mosaic.

    Attributes:
        share: part of the positive attention that is in the class's cell, 0 to 1; 0 if there is none anywhere.
        hit: whether the maximum is in the cell; never for a map that is the same everywhere.
        point: the maximum, in the mosaic's pixels.
        mass: sum of the map.
    """

    share: float
    hit: bool
    point: tuple[int, int]
    mass: float


def choose_mosaics(
    photos: Sequence[Photo],
    count: int,
    *,
    side: int = 2,
    lowest: float | int = 0,
    highest: float | int = 1,
    seed: int = 0,
) -> list[tuple[Photo, ...]]:
    """Draw photos of different classes for each mosaic.

    Args:
        photos: all there are.
        count: number of mosaics.
        side: cells in a row and in a column: 2 or 3 usually.
        lowest: least confidence.
        highest: confidence up to which photos are taken; it counts itself only if it is 1.
        seed: same seed, same mosaics.

    Returns:
        Photos of each mosaic, row after row.

    Raises:
        ExcitationError: fewer classes than cells among the photos within the limits.
    """
    fit = [item for item in photos if lowest <= item.confidence < highest or item.confidence == highest == 1]
    classes = len({item.index for item in fit})
    if classes < side * side:
        raise ExcitationError(
            f"mosaics of {side} x {side} need photos of {side * side} classes; with a confidence from {lowest:g} to"
            f" {highest:g} there are {len(fit)} photos of {classes}."
        )
    rng = np.random.default_rng([seed, side])
    chosen = []
    for _ in range(count):
        mosaic: dict[int, Photo] = {}
        for place in rng.permutation(len(fit)):
            mosaic.setdefault(fit[place].index, fit[place])
            if len(mosaic) == side * side:
                break
        chosen.append(tuple(mosaic.values()))
    return chosen


def square(picture: Image.Image, cell: int = CELL) -> Image.Image:
    """The middle square of a picture, resized. Its confidence is what decides on a photo's place in the game."""
    return ImageOps.fit(picture, (cell, cell), Image.Resampling.BILINEAR)


def make_mosaic(pictures: Sequence[Image.Image], cell: int = CELL) -> tuple[Image.Image, tuple[PixelBox, ...]]:
    """Lay pictures side by side.

    Args:
        pictures: a square number of them, row after row.
        cell: side of each in pixels.

    Returns:
        The mosaic, and the cell of each picture in it.

    Raises:
        ExcitationError: not a square number.
    """
    side = round(len(pictures) ** 0.5)
    if not pictures or side * side != len(pictures):
        raise ExcitationError(f"{len(pictures)} pictures make no square mosaic; give 4 or 9.")
    mosaic = Image.new("RGB", (side * cell, side * cell))
    boxes = []
    for place, picture in enumerate(pictures):
        y, x = place // side * cell, place % side * cell
        mosaic.paste(square(picture, cell), (x, y))
        boxes.append((x, y, x + cell, y + cell))
    return mosaic, tuple(boxes)


def share_in_box(attention: Float[torch.Tensor, "height width"], box: Box, size: tuple[int, int]) -> float:
    """The part of a map's positive attention that is in a box.

    Each cell of the map stands for its rectangle of the image, with its value spread evenly, so nothing depends on
    an interpolation.

    Args:
        attention: the map, of any size; what is negative is left out.
        box: `(x0, y0, x1, y1)` in the image's pixels.
        size: `(height, width)` of the image.

    Returns:
        0 to 1; 0 if nothing is positive.
    """
    positive = attention.detach().to("cpu", torch.float64).clamp(min=0)
    whole = float(positive.sum())
    if whole == 0:
        return 0.0
    rows = _parts(positive.shape[0], box[1] / size[0], box[3] / size[0])
    columns = _parts(positive.shape[1], box[0] / size[1], box[2] / size[1])
    return min(1.0, float(rows @ positive @ columns) / whole)


def judge(attention: Float[torch.Tensor, "height width"], box: PixelBox, size: tuple[int, int]) -> Verdict:
    """Judge a class's map on a mosaic.

    Args:
        attention: the map; it covers the whole mosaic.
        box: the class's cell.
        size: `(height, width)` of the mosaic.
    """
    x, y = point_of_map(attention, size)
    x0, y0, x1, y1 = box
    return Verdict(
        share=share_in_box(attention, box, size),
        hit=x0 <= x < x1 and y0 <= y < y1 and not points_nowhere(attention),
        point=(x, y),
        mass=float(attention.double().sum()),
    )


@dataclass
class GridGame(Game):
    """Is the attention for a class in its own cell?

    Attributes:
        names: the category of each class.
        mosaics: photos of each unit.
        cell: side of a photo in a mosaic, in pixels.
    """

    names: Mapping[int, str]
    mosaics: Mapping[str, tuple[Photo, ...]]
    cell: int

    name = "grid"
    called = "the grid pointing game"
    title = "Grid pointing game, in percent: maxima in the right cell, and its share of the positive attention"
    columns = (Column("Hits"), Column("Share", value))
    counted = "mosaics"

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
        **setup.configuration(GridGame.name, network, limit),
        "mosaics": hash_content({unit: [photo.id for photo in items] for unit, items in units.items()}),
        "side": side, "count": mosaics, "confidence": [lowest, highest], "probability": probability, "cell": cell,
        "seed": seed,
    }  # fmt: skip
    return game.run(out, configuration, list(units), shard=shard, progress=progress)


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


def _parts(cells: int, start: float, end: float) -> Float[torch.Tensor, " cells"]:
    """The part of each of equal cells of the unit interval that lies between two places."""
    edges = torch.arange(cells + 1, dtype=torch.float64)
    return (edges[1:].clamp(max=end * cells) - edges[:-1].clamp(min=start * cells)).clamp(0, 1)
