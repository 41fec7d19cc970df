"""The grid pointing game: in a mosaic of photos, is the attention for a class in that class's cell?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps

from .._errors import ExcitationError
from .._maps import points_nowhere
from ..data._annotations import PixelBox
from ._pointing import Box, point_of_map

CELL = 224


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


def _parts(cells: int, start: float, end: float) -> Float[torch.Tensor, " cells"]:
    """The part of each of equal cells of the unit interval that lies between two places."""
    edges = torch.arange(cells + 1, dtype=torch.float64)
    return (edges[1:].clamp(max=end * cells) - edges[:-1].clamp(min=start * cells)).clamp(0, 1)
