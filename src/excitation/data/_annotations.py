"""Annotated images, independent of the file format, and the list of problems of unusable images."""

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
"""A box in integer pixels: columns `x0` to `x1 - 1`, rows `y0` to `y1 - 1`."""


class DataError(ExcitationError):
    """A dataset as a whole cannot be read. Problems of single images are added to its list of problems."""


@dataclass(frozen=True)
class Problem:
    """An item of a dataset that was skipped or corrected, and the reason.

    Attributes:
        path: the affected file.
        sentence: the problem and its treatment.
    """

    path: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}: {self.sentence}"


class Problems(Collection[Problem]):
    """The problems of a dataset, in order of detection. Each is listed once, even if the data are read repeatedly."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def report(self, path: str | Path, sentence: str) -> None:
        """Add a problem if it is not in the list."""
        self._found[Problem(str(path), sentence)] = None

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, problem: object) -> bool:
        return problem in self._found

    def __iter__(self) -> Iterator[Problem]:
        return iter(list(self._found))


@dataclass(frozen=True)
class Instance:
    """One annotated object, or a crowd.

    Attributes:
        category: name of its category.
        box: bounding box, within the image.
        segmentation: its segmentation, decoded by `mask`; `None` if only the box is known.
        crowd: whether this is a region with many objects of the category (COCO) instead of a single object.
        flagged: VOC's `difficult` flag: the annotator found it hard to recognise. Unrelated to the difficult subset.
    """

    category: str
    box: Box
    segmentation: Segmentation | None = None
    crowd: bool = False
    flagged: bool = False

    def mask(self, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
        """The pixels of the segmentation, or of the box if there is no segmentation.

        If a segmentation is too thin to contain any pixel centre, the box is used.

        Args:
            size: `(height, width)` of the image.

        Returns:
            A boolean mask `(height, width)`.
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
    """An image with its annotations.

    Attributes:
        id: unique within the dataset.
        path: the image file.
        size: `(height, width)` in pixels, as annotated.
        instances: the annotated objects.
        labels: categories that are present without a known position.
    """

    id: str
    path: Path
    size: tuple[int, int]
    instances: tuple[Instance, ...] = ()
    labels: tuple[str, ...] = field(default=())

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories in the image, without duplicates, those of instances first."""
        return tuple(dict.fromkeys([*(item.category for item in self.instances), *self.labels]))

    def of(self, category: str) -> tuple[Instance, ...]:
        """The instances of a category."""
        return tuple(item for item in self.instances if item.category == category)


def box_area(box: Box) -> float:
    """The area of a box in square pixels."""
    x0, y0, x1, y1 = box
    return float((x1 - x0) * (y1 - y0))


def box_pixels(box: Box, size: tuple[int, int]) -> PixelBox:
    """The pixels with centres in a box; at least the pixel closest to its centre.

    Args:
        box: a box within the image.
        size: `(height, width)` of the image.
    """
    (x0, x1), (y0, y1) = (_centres(*ends, side) for ends, side in ((box[::2], size[1]), (box[1::2], size[0])))
    return x0, y0, x1, y1


def clip_box(box: Box, size: tuple[int, int]) -> tuple[Box | None, float]:
    """Clip a box to the image.

    Returns:
        The clipped box, or `None` if it has no area, and the distance in pixels by which the box exceeded the image.
    """
    height, width = size
    x0, y0, x1, y1 = box
    if not all(map(math.isfinite, box)) or x1 <= x0 or y1 <= y0:
        return None, 0.0
    beyond = max(0.0, -x0, -y0, x1 - width, y1 - height)
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    return ((x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None), beyond


def _centres(start: float | int, end: float | int, side: int) -> tuple[int, int]:
    # The centre of pixel i is at i + 1/2.
    first, last = math.ceil(start - 0.5), math.ceil(end - 0.5)
    if first >= last:
        first = math.floor((start + end) / 2)
        last = first + 1
    first = min(max(first, 0), side - 1)
    return first, max(first + 1, min(last, side))
