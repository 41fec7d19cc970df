"""The grid pointing game: the share of the attention for a class in the cell of this class, in a mosaic of photos."""

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
"""Number of mosaics."""

CONFIDENCE = 0.9
"""Minimum probability of the class of a photo in a mosaic."""


@dataclass(frozen=True)
class Photo:
    """A candidate photo for a mosaic.

    Attributes:
        id: name of the photo in the data set.
        index: class index of the photo.
        confidence: the network's probability of this class for the cropped photo, 0 to 1.
    """

    id: str
    index: int
    confidence: float


@dataclass(frozen=True)
class Verdict:
    """The result for the map of one class on a mosaic.

    Attributes:
        share: share of the positive attention in the cell of the class, 0 to 1; 0 without positive attention.
        hit: whether the maximum is in the cell; false for constant maps.
        point: position of the maximum, in pixels of the mosaic.
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
        photos: candidate photos.
        count: number of mosaics.
        side: number of cells in a row and in a column, usually 2 or 3.
        lowest: minimum confidence (inclusive), 0 to 1.
        highest: maximum confidence, 0 to 1; exclusive unless it is 1.
        seed: seed of the random selection.

    Returns:
        The photos of each mosaic in row-major order.

    Raises:
        ExcitationError: the photos within the limits have fewer classes than a mosaic has cells.
    """
    within = [item for item in photos if lowest <= item.confidence < highest or item.confidence == highest == 1]
    classes = len({item.index for item in within})
    if classes < side * side:
        raise ExcitationError(
            f"mosaics of {side} x {side} need photos of {side * side} classes, but the {len(within)} photos with a"
            f" confidence from {lowest:g} to {highest:g} have {classes} classes; give other limits or more photos."
        )
    rng = np.random.default_rng([seed, side])
    chosen = []
    for _ in range(count):
        mosaic: dict[int, Photo] = {}
        for index in rng.permutation(len(within)):
            mosaic.setdefault(within[index].index, within[index])
            if len(mosaic) == side * side:
                break
        chosen.append(tuple(mosaic.values()))
    return chosen


def square(picture: Image.Image, cell: int = CELL) -> Image.Image:
    """Return the resized central square of a picture. The confidence of a photo refers to this square."""
    return ImageOps.fit(picture, (cell, cell), Image.Resampling.BILINEAR)


def make_mosaic(pictures: Sequence[Image.Image], cell: int = CELL) -> tuple[Image.Image, tuple[PixelBox, ...]]:
    """Arrange pictures in a square mosaic.

    Args:
        pictures: a square number of pictures, in row-major order.
        cell: side of each cell in pixels.

    Returns:
        The mosaic, and the box of each cell, `(x0, y0, x1, y1)` in pixels.

    Raises:
        ExcitationError: the number of pictures is not a square number.
    """
    side = round(len(pictures) ** 0.5)
    if not pictures or side * side != len(pictures):
        raise ExcitationError(
            f"{len(pictures)} pictures cannot form a square mosaic; give a square number of pictures, such as 4 or 9."
        )
    mosaic = Image.new("RGB", (side * cell, side * cell))
    boxes = []
    for index, picture in enumerate(pictures):
        y, x = index // side * cell, index % side * cell
        mosaic.paste(square(picture, cell), (x, y))
        boxes.append((x, y, x + cell, y + cell))
    return mosaic, tuple(boxes)


def share_in_box(attention: Float[torch.Tensor, "height width"], box: Box, size: tuple[int, int]) -> float:
    """Return the share of a map's positive attention in a box.

    The value of each map cell is spread evenly over its rectangle of the image, so that the result does not depend on
    an interpolation.

    Args:
        attention: the map, of any size. Negative values are ignored.
        box: `(x0, y0, x1, y1)` in the image's pixels.
        size: `(height, width)` of the image.

    Returns:
        The share, 0 to 1; 0 without positive values.
    """
    positive = attention.detach().to("cpu", torch.float64).clamp(min=0)
    total = float(positive.sum())
    if total == 0:
        return 0.0
    rows = _parts(positive.shape[0], box[1] / size[0], box[3] / size[0])
    columns = _parts(positive.shape[1], box[0] / size[1], box[2] / size[1])
    return min(1.0, float(rows @ positive @ columns) / total)


def judge(attention: Float[torch.Tensor, "height width"], box: PixelBox, size: tuple[int, int]) -> Verdict:
    """Evaluate the map of a class on a mosaic.

    Args:
        attention: the map of the whole mosaic.
        box: the cell of the class.
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
    """The grid game: the share of the attention for a class in the cell of this class.

    Attributes:
        names: the category of each class.
        mosaics: photos of each unit (mosaic).
        cell: side of a photo in a mosaic, in pixels.
    """

    names: Mapping[int, str]
    mosaics: Mapping[str, tuple[Photo, ...]]
    cell: int

    name = "grid"
    label = "the grid pointing game"
    title = "Grid pointing game, in percent: maxima in the right cell, and its share of the positive attention"
    columns = (Column("Hits"), Column("Share", value))
    counted = "mosaics"

    def play(self, unit: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Return the rows of one mosaic."""
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
            verdict = judge(answer.attention, boxes[answer.query], (mosaic.height, mosaic.width))
            rows.append(answer.row(unit, hit=verdict.hit, value=verdict.share, point=verdict.point))
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
    lowest: float = CONFIDENCE,
    highest: float = 1.0,
    probability: Probability = "softmax",
    cell: int = CELL,
    seed: int = 0,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    network: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Run the grid game for each class of each mosaic. An interrupted run is continued.

    Pictures of one category with one class are cropped to their central square. The pictures with a class probability
    within the limits are arranged in mosaics of different classes. The value of a row is the share of the positive
    attention in the cell of the class. Its hit is whether the maximum is in this cell.

    Args:
        model: the network with its preprocessing.
        data: annotated images. Pictures with more than one category are omitted.
        methods: methods by their names in tables. The centre is skipped, because it has no map.
        layers: layers of the maps, for all methods or by method name; `None` for the method's or model's choice.
        out: file of results (see `open_store`).
        mapping: classes of each category (see `run_pointing`).
        side: number of cells in a row and in a column.
        mosaics: number of mosaics.
        lowest: minimum probability of a picture's class (inclusive), 0 to 1.
        highest: maximum probability of a picture's class, 0 to 1; exclusive unless it is 1.
        probability: kind of the network's scores.
        cell: side of a picture in the mosaic, in pixels.
        seed: seed of the random selection.
        limit: number of pictures of the data set, from the first; all pictures if `None`.
        shard: `(index, count)`: use every `count`-th mosaic, starting at `index` (from 0).
        network: name of the model in tables; by default, its label.
        progress: function that is called after each classified picture, and then after each mosaic.

    Returns:
        All results of the file.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: too few pictures have a probability within the limits, or the model, a layer or a method
            cannot be used with these arguments.
    """
    setup = set_up(model, data, methods, layers, mapping, squashed(model, side * cell), smooth=False)
    photos, names = classified_photos(
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


def classified_photos(
    model: LoadedModel,
    data: AnnotatedImages,
    classes: FindClasses,
    ids: Sequence[str],
    *,
    cell: int = CELL,
    probability: Probability = "softmax",
    progress: Callable[[Progress], None] | None = None,
) -> tuple[list[Photo], dict[int, str]]:
    """Return the pictures of one category with one class, with the probability of this class for the central square.

    Args:
        model: the network.
        data: annotated images. Images that cannot be read are skipped and listed.
        classes: function that returns the classes of a category.
        ids: ids of the images.
        cell: side of the square in pixels.
        probability: kind of the network's scores.
        progress: function that is called after each picture, including skipped ones.

    Returns:
        The pictures, and the category of each class.
    """
    prepare = squashed(model, cell)
    device = device_of(model)
    photos: list[Photo] = []
    names: dict[int, str] = {}
    start = time.perf_counter()

    def classify(item: str) -> None:
        image = data.image(item)
        if image is None or len(image.categories) != 1 or len(classes(image.categories[0])) != 1:
            return
        picture = data.read(image)
        if picture is None:
            return
        (index,) = classes(image.categories[0])
        (probability_of,) = probabilities(model, prepare(square(picture, cell))[None].to(device), probability)
        # Rounded, so that small numerical differences between machines do not change the mosaics.
        photos.append(Photo(image.id, index, round(float(probability_of[index]), 6)))
        names.setdefault(index, image.categories[0])

    for done, item in enumerate(ids, start=1):
        classify(item)
        if progress is not None:
            progress(Progress(done, len(ids), 0, time.perf_counter() - start, "photos"))
    return photos, names


def _parts(cells: int, start: float, end: float) -> Float[torch.Tensor, " cells"]:
    """Return the covered fraction of each of `cells` equal cells of the unit interval, between `start` and `end`."""
    edges = torch.arange(cells + 1, dtype=torch.float64)
    return (edges[1:].clamp(max=end * cells) - edges[:-1].clamp(min=start * cells)).clamp(0, 1)
