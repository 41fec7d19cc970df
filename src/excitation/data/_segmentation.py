"""Segmentations in COCO's formats: polygons, and plain or compressed run lengths. Decoded on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from .._errors import ExcitationError
from ._numbers import is_finite_number


class SegmentationError(ExcitationError):
    """An invalid segmentation. The message is the end of a sentence."""


@dataclass(frozen=True)
class Polygons:
    """The union of polygons.

    Attributes:
        rings: `x, y, x, y, ...` of each polygon, in pixels from the upper left corner of the image.
        size: `(height, width)` of the image.
    """

    rings: tuple[tuple[float, ...], ...]
    size: tuple[int, int]

    def decode(self) -> Bool[np.ndarray, "height width"]:
        """Decode the mask `(height, width)` with pycocotools' rules.

        Raises:
            ExcitationError: pycocotools is not installed.
        """
        try:
            from pycocotools import mask
        except ImportError as error:
            raise ExcitationError(
                "segments given as polygons need pycocotools; install it with `pip install excitation[data]`."
            ) from error
        runs = mask.frPyObjects([list(ring) for ring in self.rings], *self.size)
        pixels: np.ndarray = mask.decode(mask.merge(runs))
        return pixels.astype(np.bool_)


@dataclass(frozen=True)
class RunLengths:
    """A mask as alternating run lengths of outside and inside pixels, in column-major order.

    Attributes:
        counts: run lengths, starting with outside pixels; they sum to the number of pixels.
        size: `(height, width)` of the image.
    """

    counts: tuple[int, ...]
    size: tuple[int, int]

    def decode(self) -> Bool[np.ndarray, "height width"]:
        """Decode the mask, `(height, width)`."""
        inside = np.arange(len(self.counts)) % 2 == 1
        columns = np.repeat(inside, self.counts).reshape(self.size[::-1])
        return np.ascontiguousarray(columns.T)


Segmentation = Polygons | RunLengths


def read_segmentation(stored: object, size: tuple[int, int]) -> Segmentation:
    """Read a segmentation from a COCO annotation and validate it without decoding.

    Args:
        stored: the `segmentation` of the annotation.
        size: `(height, width)` of the image.

    Returns:
        A segmentation that covers at least a part of the image.

    Raises:
        SegmentationError: malformed, of another size, or outside the image.
    """
    if isinstance(stored, list):
        return _polygons(stored, size)
    if isinstance(stored, dict):
        return _run_lengths(stored, size)
    raise SegmentationError(f"is of type {type(stored).__name__}, neither polygons nor run lengths")


def _polygons(stored: list[Any], size: tuple[int, int]) -> Polygons:
    if not stored:
        raise SegmentationError("is empty")
    height, width = size
    rings = []
    for ring in stored:
        if not isinstance(ring, list) or len(ring) < 6 or len(ring) % 2:
            raise SegmentationError("has a polygon that is no list of at least three points x, y")
        if not all(map(is_finite_number, ring)):
            raise SegmentationError("has a polygon with coordinates that are no finite numbers")
        # The memory of drawing outside the image grows with the distance.
        if min(ring) < -max(size) or max(ring) > 2 * max(size):
            raise SegmentationError("has a polygon far outside the image")
        rings.append(tuple(map(float, ring)))
    if not any(max(r[::2]) > 0 and min(r[::2]) < width and max(r[1::2]) > 0 and min(r[1::2]) < height for r in rings):
        raise SegmentationError("lies outside the image")
    return Polygons(tuple(rings), size)


def _run_lengths(stored: dict[str, Any], size: tuple[int, int]) -> RunLengths:
    declared, counts = stored.get("size"), stored.get("counts")
    if not isinstance(declared, list) or tuple(declared) != size:
        raise SegmentationError(f"is for a size {declared} (height, width), the image is {list(size)}")
    if isinstance(counts, str):
        counts = _uncompressed(counts, size[0] * size[1])
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        raise SegmentationError("has run lengths that are no counts")
    if sum(counts) != size[0] * size[1]:
        raise SegmentationError(f"has run lengths for {sum(counts)} pixels, the image has {size[0] * size[1]}")
    if not sum(counts[1::2]):
        raise SegmentationError("covers no pixel")
    return RunLengths(tuple(counts), size)


def _uncompressed(text: str, pixels: int) -> list[int]:
    """Decode COCO's compressed run lengths.

    Each character holds 5 bits of a number, lowest bits first, and a bit that states whether more characters follow.
    The number is in two's complement. From the fourth on, each number is the difference to the count two positions
    before.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise SegmentationError("has compressed run lengths with a character that cannot be there")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        if not 0 <= value <= pixels:
            raise SegmentationError("has compressed run lengths beyond the image's pixels")
        counts.append(value)
        value = shift = 0
    if shift:
        raise SegmentationError("has compressed run lengths that end too early")
    return counts
