"""Dominant-object localization: one box from a map, judged by its overlap with the object's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from .._errors import ExcitationError
from ..views import enlarge_map
from ._pointing import Box, box_of

ALPHAS: tuple[float, ...] = tuple(step / 2 for step in range(21))
"""The thresholds tried, in multiples of a map's mean: 0, 0.5, ..., 10 (Sec. 4.2)."""

OVERLAP = 0.5
"""Intersection over union from which a box is right."""

SIDE = 224
"""Pictures are squashed to this many pixels, and maps enlarged to it before a box is taken."""


def boxes_of_map(
    attention: Float[torch.Tensor, "height width"],
    size: tuple[int, int],
    alphas: Sequence[float] = ALPHAS,
    *,
    grid: tuple[int, int] = (SIDE, SIDE),
) -> list[Box | None]:
    """The smallest box around all values above a multiple of the mean, for each multiple.

    Args:
        attention: finite values.
        size: `(height, width)` of the picture that the whole map covers, squashed or not.
        alphas: multiples of the mean.
        grid: the size at which map and mean are taken, bicubically.

    Returns:
        `(x0, y0, x1, y1)` in the picture's pixels, half open; `None` where no value is above.

    Source: Zhang et al., ECCV 2016, Sec. 4.2.
    """
    values = enlarge_map(attention, grid)
    mean = float(values.mean(dtype=np.float64))
    down, across = size[0] / grid[0], size[1] / grid[1]
    found: list[Box | None] = []
    for alpha in alphas:
        box = box_of(values > alpha * mean)
        found.append(box and (box[0] * across, box[1] * down, box[2] * across, box[3] * down))
    return found


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return float(shared / (areas - shared))


def best_overlap(box: Box | None, instances: Sequence[Box]) -> float:
    """Overlap with the instance that fits best; 0 for no box.

    Raises:
        ExcitationError: there is no instance.
    """
    if not instances:
        raise ExcitationError("an image without any box was given; leave it out of the localization.")
    return 0.0 if box is None else max(overlap(box, item) for item in instances)


@dataclass(frozen=True)
class AlphaSearch:
    """The threshold chosen on held-out images, with what each would have done there.

    Attributes:
        alpha: with the lowest error; the smallest of several.
        error: its share of wrong boxes, 0 to 1.
        errors: of all that were tried, by threshold.
        images: how many images were held out.
    """

    alpha: float
    error: float
    errors: dict[float, float]
    images: int


def search_alpha(
    overlaps: Float[np.ndarray, "image alpha"], alphas: Sequence[float] = ALPHAS, *, least: float = OVERLAP
) -> AlphaSearch:
    """Choose the threshold on held-out images.

    Args:
        overlaps: of each image's box at each threshold (`best_overlap`).
        alphas: the thresholds, ascending.
        least: overlap from which a box is right.

    Raises:
        ExcitationError: no image, or another number of thresholds.
    """
    if not overlaps.size or overlaps.shape[1] != len(alphas):
        raise ExcitationError(
            f"overlaps have shape {overlaps.shape}; one row per held-out image and {len(alphas)} thresholds expected."
        )
    errors = 1 - (overlaps >= least).mean(0)
    best = int(errors.argmin())
    table = dict(zip(map(float, alphas), errors.tolist(), strict=True))
    return AlphaSearch(float(alphas[best]), float(errors[best]), table, len(overlaps))
