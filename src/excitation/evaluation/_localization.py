"""Dominant-object localization: a box from a map, evaluated by its overlap with the box of the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .._errors import ExcitationError
from .._maps import ALPHAS, Box

OVERLAP = 0.5
"""Intersection over union from which a box is right."""


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return float(shared / (areas - shared))


def best_overlap(box: Box | None, instances: Sequence[Box]) -> float:
    """Return the largest overlap with an instance, 0 to 1; 0 if there is no box.

    Raises:
        ExcitationError: there is no instance.
    """
    if not instances:
        raise ExcitationError("an image without any box was given; leave it out of the localization.")
    return 0.0 if box is None else max(overlap(box, item) for item in instances)


@dataclass(frozen=True)
class AlphaSearch:
    """The threshold selected on held-out images, and the errors of all thresholds on these images.

    Attributes:
        alpha: threshold with the lowest error; the smallest one if several are equal.
        error: fraction of wrong boxes at this threshold, 0 to 1.
        errors: error of each threshold.
        images: number of held-out images.
    """

    alpha: float
    error: float
    errors: dict[float, float]
    images: int


def search_alpha(
    overlaps: Float[np.ndarray, "image alpha"], alphas: Sequence[float] = ALPHAS, *, least: float = OVERLAP
) -> AlphaSearch:
    """Select the threshold on held-out images.

    Args:
        overlaps: overlap of the box of each image at each threshold, `(image, alpha)` (see `best_overlap`).
        alphas: the thresholds in ascending order.
        least: minimum overlap of a correct box, 0 to 1.

    Raises:
        ExcitationError: there is no image, or the numbers of thresholds differ.
    """
    if not overlaps.size or overlaps.shape[1] != len(alphas):
        raise ExcitationError(
            f"overlaps have shape {overlaps.shape}; one row per held-out image and {len(alphas)} thresholds expected."
        )
    errors = 1 - (overlaps >= least).mean(0)
    best = int(errors.argmin())
    table = dict(zip(map(float, alphas), errors.tolist(), strict=True))
    return AlphaSearch(float(alphas[best]), float(errors[best]), table, len(overlaps))
