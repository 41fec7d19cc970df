"""An annotated image, whatever format it came in, and the list of what was wrong with the others."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from .._errors import ExcitationError
from ._segmentation import Segmentation

Box = tuple[float | int, float | int, float | int, float | int]
"""`(x0, y0, x1, y1)` in pixels, half open."""

PixelBox = tuple[int, int, int, int]
"""The same in whole pixels: columns `x0` to `x1 - 1`, rows `y0` to `y1 - 1`."""


class DataError(ExcitationError):
    """A data set as a whole cannot be read. What is wrong with single images goes to its list of problems."""


@dataclass(frozen=True)
class Problem:
    """Something that was left out, and why.

    Attributes:
        path: the file at fault.
        sentence: what is wrong with it, and what was done about it.
    """

    path: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}: {self.sentence}"


class Problems(Collection[Problem]):
    """What was wrong with a data set, in the order it was met, each once however often the data are read."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def report(self, path: str | Path, sentence: str) -> None:
        """Add a problem unless it is listed already."""
        self._found[Problem(str(path), sentence)] = None

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, problem: object) -> bool:
        return problem in self._found

    def __iter__(self) -> Iterator[Problem]:
        return iter(list(self._found))


@dataclass(frozen=True)
class Instance:
    """One annotated object, or a crowd of them.

    Attributes:
        category: its name.
        box: around it, within the image.
        segmentation: its outline, decoded when `mask` asks for it; `None` if only the box is known.
        crowd: whether this is a region full of objects of the category rather than one of them (COCO).
        flagged: VOC's `difficult` flag: the annotator found it hard to recognise. Not the difficult subset.
    """

    category: str
    box: Box
    segmentation: Segmentation | None = None
    crowd: bool = False
    flagged: bool = False

    def mask(self, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
        """Its pixels: the segmentation's, or the box's where there is none.

        A segment so thin that it holds the centre of no pixel counts by its box.

        Args:
            size: `(height, width)` of the image.
        """
        if self.segmentation is not None:
            pixels = self.segmentation.decode()
            if pixels.any():
                return pixels
        mask = np.zeros(size, dtype=np.bool_)
        x0, y0, x1, y1 = box_pixels(self.box, size)
        mask[y0:y1, x0:x1] = True
        return mask


@dataclass(frozen=True)
class AnnotatedImage:
    """An image and what is known to be in it.

    Attributes:
        id: unique in its data set.
        path: the picture's file.
        size: `(height, width)` in pixels, as annotated.
        instances: what is in it, and where.
        labels: categories known to be in it without a place.
    """

    id: str
    path: Path
    size: tuple[int, int]
    instances: tuple[Instance, ...] = ()
    labels: tuple[str, ...] = field(default=())

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories in it, each once, those of instances first."""
        return tuple(dict.fromkeys([*(item.category for item in self.instances), *self.labels]))

    def of(self, category: str) -> tuple[Instance, ...]:
        """The instances of a category."""
        return tuple(item for item in self.instances if item.category == category)


def box_area(box: Box) -> float:
    """Square pixels."""
    x0, y0, x1, y1 = box
    return float((x1 - x0) * (y1 - y0))


def box_pixels(box: Box, size: tuple[int, int]) -> PixelBox:
    """The pixels whose centres lie in a box; at least the one nearest to its centre.

    Args:
        box: within the image.
        size: `(height, width)` of the image.
    """
    (x0, x1), (y0, y1) = (_centres(*ends, side) for ends, side in ((box[::2], size[1]), (box[1::2], size[0])))
    return x0, y0, x1, y1


def clip_box(box: Box, size: tuple[int, int]) -> tuple[Box | None, float]:
    """The part of a box within the image.

    Returns:
        The part, or `None` if it has no area, and how many pixels the box reached beyond the image.
    """
    height, width = size
    x0, y0, x1, y1 = box
    if not all(map(math.isfinite, box)) or x1 <= x0 or y1 <= y0:
        return None, 0.0
    beyond = max(0.0, -x0, -y0, x1 - width, y1 - height)
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    return ((x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None), beyond


def _centres(start: float | int, end: float | int, side: int) -> tuple[int, int]:
    # Pixel i has its centre at i + 1/2.
    first, last = math.ceil(start - 0.5), math.ceil(end - 0.5)
    if first >= last:
        first = math.floor((start + end) / 2)
        last = first + 1
    first = min(max(first, 0), side - 1)
    return first, max(first + 1, min(last, side))
