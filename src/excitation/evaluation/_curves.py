"""Deletion and insertion, and energy-based pointing: what a map says about the score, and how much of it is right."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from .._errors import ExcitationError
from .._maps import enlarge_map
from ._pointing import gaussian_blur

Score = Callable[[Float[torch.Tensor, "step channel height width"]], Float[torch.Tensor, " step"]]
"""The probability (or score) of the target for each input of a batch."""


@dataclass(frozen=True)
class Curve:
    """Scores while pixels change, the most attended first.

    Attributes:
        parts: of the pixels that are changed, 0 to 1.
        scores: at each.
        area: under the curve, by trapezoids.
    """

    parts: tuple[float, ...]
    scores: tuple[float, ...]
    area: float


def deletion(
    score: Score,
    image: Float[torch.Tensor, "channel height width"],
    attention: Float[torch.Tensor, "map_height map_width"],
    *,
    steps: int = 50,
    batch: int = 16,
) -> Curve:
    """Scores while pixels are set to zero (the mean colour, after preprocessing); low areas are good.

    Source: Petsiuk, Das, Saenko, "RISE", BMVC 2018.
    """
    return changing(score, image, torch.zeros_like(image), attention, steps=steps, batch=batch)


def insertion(
    score: Score,
    image: Float[torch.Tensor, "channel height width"],
    attention: Float[torch.Tensor, "map_height map_width"],
    *,
    steps: int = 50,
    batch: int = 16,
    blur: float | int = 5,
) -> Curve:
    """Scores while pixels of a blurred copy become sharp; high areas are good.

    Args:
        score: of a batch.
        image: the network's input.
        attention: the map.
        steps: pixels change in this many equal parts.
        batch: inputs at a time.
        blur: standard deviation of the copy's blur in pixels.

    Source: Petsiuk, Das, Saenko, "RISE", BMVC 2018.
    """
    dull = torch.stack([gaussian_blur(plane, blur) for plane in image.cpu()]).to(image)
    return changing(score, dull, image, attention, steps=steps, batch=batch)


def changing(
    score: Score,
    start: Float[torch.Tensor, "channel height width"],
    end: Float[torch.Tensor, "channel height width"],
    attention: Float[torch.Tensor, "map_height map_width"],
    *,
    steps: int = 50,
    batch: int = 16,
) -> Curve:
    """Scores on the way from one input to another, pixel by pixel in the order of attention.

    Args:
        score: of a batch.
        start: the first input.
        end: the last.
        attention: the map, enlarged bicubically; equal values in reading order.
        steps: number of equal parts, at least 1.
        batch: inputs at a time.

    Raises:
        ExcitationError: no step, or a score that is not one number per input.
    """
    if steps < 1 or batch < 1:
        raise ExcitationError(f"steps are {steps} and the batch is {batch}; give at least 1 of each.")
    values = enlarge_map(attention, (start.shape[1], start.shape[2])).ravel()
    rank = np.empty(values.size, dtype=np.int64)
    rank[np.argsort(-values, kind="stable")] = np.arange(values.size)
    order = torch.from_numpy(rank).reshape(start.shape[1:]).to(start.device)
    parts = np.arange(steps + 1) / steps
    counts = np.rint(parts * values.size).astype(int).tolist()
    scores: list[float] = []
    for first in range(0, len(counts), batch):
        inputs = torch.stack([torch.where(order < count, end, start) for count in counts[first : first + batch]])
        found = score(inputs)
        if found.shape != (len(inputs),):
            raise ExcitationError(
                f"the score of {len(inputs)} inputs has shape {tuple(found.shape)}; one each expected."
            )
        scores += found.detach().double().tolist()
    area = sum((a + b) / 2 for a, b in itertools.pairwise(scores)) / steps
    return Curve(tuple(parts.tolist()), tuple(scores), area)


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
