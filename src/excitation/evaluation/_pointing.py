"""Where a map points: whether its maximum lies on an object of the category or near it, and how much of its energy."""

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
"""Pixels of the original picture that a maximum may be off an instance (Sec. 4.1)."""

TIE = 1e-6
"""Values that differ by less than this part of the largest are tied: interpolation in float32 tells no more."""

Point = tuple[int, int]
"""`(x, y)`: column and row of a pixel, from the upper left corner."""

Box = tuple[float | int, float | int, float | int, float | int]


@dataclass(frozen=True)
class Tolerance:
    """How near to an instance a maximum must be.

    Attributes:
        radius: in pixels, 0 or more; 0 asks for the instance's own pixels.
        shape: `"disc"` for Euclidean distance, `"square"` for the larger of the distances by column and row.
        frame: whose pixels: `"picture"` for the original picture's, `"input"` for those of the network's input.
    """

    radius: float | int = TOLERANCE
    shape: Literal["disc", "square"] = "disc"
    frame: Literal["picture", "input"] = "picture"

    def __post_init__(self) -> None:
        """Refuse what is no tolerance."""
        if not 0 <= self.radius < math.inf:
            raise ExcitationError(f"the tolerance's radius is {self.radius}; give 0 pixels or more.")
        if self.shape not in {"disc", "square"} or self.frame not in {"picture", "input"}:
            raise ExcitationError(
                f"the tolerance is a {self.shape!r} in pixels of the {self.frame!r}; choose 'disc' or 'square', and"
                " 'picture' or 'input'."
            )

    def pixels(self, size: tuple[int, int], input_size: tuple[int, int]) -> float:
        """The radius in the picture's pixels.

        Args:
            size: `(height, width)` of the picture, or of the part of it that the network sees.
            input_size: `(height, width)` of the network's input made of it.
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
    """The maximum of a map resized bicubically to its picture; the first in reading order if several are tied.

    Args:
        attention: finite values.
        size: `(height, width)` of the picture.
        box: the part of the picture that the map covers, `(x0, y0, x1, y1)` in pixels; all of it if not given.
        blur: smooth the resized map first, as the paper does with maps at pixel level (Grad, Deconv, LRP).

    Returns:
        A pixel of the picture.

    Raises:
        ValueError: an empty map, or values that are not finite.
    """
    x0, y0, x1, y1 = (0, 0, size[1], size[0]) if box is None else box_pixels(box, size)
    values = torch.from_numpy(enlarge_map(attention, (y1 - y0, x1 - x0)))
    if blur:
        values = gaussian_blur(values, BLUR * max(size))
    largest = values.max()
    tied = values >= largest - TIE * largest.abs()
    # The first of equal values is what `argmax` gives for bytes, in row-major order.
    first = int(tied.flatten().to(torch.uint8).argmax())
    return x0 + first % values.shape[1], y0 + first // values.shape[1]


def region(
    image: AnnotatedImage, category: str, truth: Truth = "segments", *, crowds: bool = True
) -> Bool[np.ndarray, "height width"]:
    """All pixels of a category's instances.

    A crowd is a region full of the category's objects, so pointing at it is right, and it counts by default. COCO's
    detection challenge sets crowds aside, because boxes cannot be matched with them; a point can.

    Args:
        image: the image.
        category: one that is in it.
        truth: by segments, or by boxes even where segments are known.
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
    """Whether a disc (or square) around a point meets any of the pixels.

    Distances are between pixels' centres, and the radius itself still counts.

    Args:
        point: where the map is largest.
        pixels: the instances'.
        radius: in pixels, 0 or more.
        shape: of the tolerance.
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
    """Energy-based pointing: the part of the enlarged map's positive values that is on the category.

    Args:
        attention: the map, of any size.
        pixels: the category's, in the picture that the map covers.

    Returns:
        0 to 1; 0 if nothing is positive.

    Source: Wang et al., "Score-CAM", CVPR Workshops 2020.
    """
    height, width = pixels.shape
    values = enlarge_map(attention, (height, width)).clip(min=0)
    whole = float(values.sum(dtype=np.float64))
    return float(values[pixels].sum(dtype=np.float64)) / whole if whole > 0 else 0.0
