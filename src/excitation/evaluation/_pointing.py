"""Pointing: whether the maximum of a map is on or near an object of the category, and the energy on the category."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from .._errors import ExcitationError
from .._maps import enlarge_map
from ..data._annotations import AnnotatedImage, box_pixels
from ..data._dataset import Truth
from ._setup import BLUR, gaussian_blur

TOLERANCE = 15
"""Maximum distance of a hit from an instance, in pixels of the original picture (Sec. 4.1)."""

TIE = 1e-6
"""Values that differ by less than this fraction of the largest are equal within the precision of the interpolation."""

Point = tuple[int, int]
"""`(x, y)`: column and row of a pixel, from the upper left corner."""

Box = tuple[float | int, float | int, float | int, float | int]


@dataclass(frozen=True)
class Tolerance:
    """The tolerance of the pointing game: the maximum distance between a point and an instance.

    Attributes:
        radius: radius in pixels, 0 or more. With 0, the point must be on the instance.
        shape: `"disc"` for the Euclidean distance, `"square"` for the larger of the row and column distances.
        frame: image that defines the pixels: `"picture"` for the original picture, `"input"` for the network input.
    """

    radius: float | int = TOLERANCE
    shape: Literal["disc", "square"] = "disc"
    frame: Literal["picture", "input"] = "picture"

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 <= self.radius < math.inf:
            raise ExcitationError(f"the radius of the tolerance is {self.radius}; give 0 pixels or more.")
        if self.shape not in {"disc", "square"} or self.frame not in {"picture", "input"}:
            raise ExcitationError(
                f"the tolerance has shape {self.shape!r} and frame {self.frame!r}; choose 'disc' or 'square', and"
                " 'picture' or 'input'."
            )

    def pixels(self, size: tuple[int, int], input_size: tuple[int, int]) -> float:
        """Return the radius in pixels of the picture.

        Args:
            size: `(height, width)` of the picture, or of the crop that the network received.
            input_size: `(height, width)` of the network input.
        """
        if self.frame == "picture":
            return float(self.radius)
        return float(self.radius) * math.sqrt(size[0] * size[1] / (input_size[0] * input_size[1]))


def point_of_map(
    attention: Float[torch.Tensor, "height width"],
    size: tuple[int, int],
    *,
    box: Box | None = None,
    blur: bool = False,
) -> Point:
    """Return the maximum of a map after bicubic resizing to its picture; the first in row-major order if tied.

    Args:
        attention: the map, with finite values.
        size: `(height, width)` of the picture.
        box: the part of the picture that the map covers, `(x0, y0, x1, y1)` in pixels; the whole picture if `None`.
        blur: whether to smooth the resized map first, as in the paper for pixel-level maps (Grad, Deconv, LRP).

    Returns:
        A pixel `(x, y)` of the picture.

    Raises:
        ValueError: the map is empty, or its values are not finite.
    """
    x0, y0, x1, y1 = (0, 0, size[1], size[0]) if box is None else box_pixels(box, size)
    values = torch.from_numpy(enlarge_map(attention, (y1 - y0, x1 - x0)))
    if blur:
        values = gaussian_blur(values, BLUR * max(size))
    largest = values.max()
    tied = values >= largest - TIE * largest.abs()
    # For bytes, `argmax` returns the first of equal values in row-major order.
    first = int(tied.flatten().to(torch.uint8).argmax())
    return x0 + first % values.shape[1], y0 + first // values.shape[1]


def region(
    image: AnnotatedImage, category: str, truth: Truth = "segments", *, crowds: bool = True
) -> Bool[np.ndarray, "height width"]:
    """Return a mask of the pixels of all instances of a category.

    A crowd is a region with many objects of the category, so that a point on it is correct. Crowds count by default.
    COCO's detection challenge ignores crowds, because boxes cannot be matched with them.

    Args:
        image: the image.
        category: a category in the image.
        truth: `"segments"`, or boxes even if segments are known.
        crowds: whether crowds count.
    """
    pixels = np.zeros(image.size, dtype=np.bool_)
    for item in image.of(category):
        if item.crowd and not crowds:
            continue
        if truth == "segments":
            pixels |= item.mask(image.size)
        else:
            x0, y0, x1, y1 = box_pixels(item.box, image.size)
            pixels[y0:y1, x0:x1] = True
    return pixels


def is_hit(
    point: Point,
    pixels: Bool[np.ndarray, "height width"],
    radius: float | int = TOLERANCE,
    shape: Literal["disc", "square"] = "disc",
) -> bool:
    """Whether a disc (or square) around a point contains any of the pixels.

    Distances are measured between pixel centres. The radius is inclusive.

    Args:
        point: maximum of the map, `(x, y)`.
        pixels: mask of the instances, `(height, width)`.
        radius: radius in pixels, 0 or more.
        shape: shape of the tolerance.
    """
    x, y = point
    reach = math.floor(radius)
    top, left = max(y - reach, 0), max(x - reach, 0)
    rows, columns = np.nonzero(pixels[top : y + reach + 1, left : x + reach + 1])
    if shape == "square":
        return len(rows) > 0
    return bool(np.any((rows + (top - y)) ** 2 + (columns + (left - x)) ** 2 <= radius * radius))


def energy_in_region(
    attention: Float[torch.Tensor, "map_height map_width"], pixels: Bool[np.ndarray, "height width"]
) -> float:
    """Return the energy-based pointing score: the share of the resized map's positive values on the category.

    Args:
        attention: the map, of any size.
        pixels: mask of the category in the picture that the map covers, `(height, width)`.

    Returns:
        The share, 0 to 1; 0 without positive values.

    Source: Wang et al., "Score-CAM", CVPR Workshops 2020.
    """
    height, width = pixels.shape
    values = enlarge_map(attention, (height, width)).clip(min=0)
    total = float(values.sum(dtype=np.float64))
    return float(values[pixels].sum(dtype=np.float64)) / total if total > 0 else 0.0
