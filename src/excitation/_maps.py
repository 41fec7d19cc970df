"""One map as an array of two dimensions: its size, its peak, its boxes, whether there is anything to see."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float

from ._checks import check_size
from ._errors import ExcitationError

AttentionMap = Float[torch.Tensor, "height width"] | Float[np.ndarray, "height width"]
Box = tuple[float | int, float | int, float | int, float | int]
"""`(x0, y0, x1, y1)` in pixels, half open."""

PixelBox = tuple[int, int, int, int]

EMPTY = 1e-6
"""A map is empty if its absolute mass is at most this part of the mass its signal put in."""

ALPHAS: tuple[float, ...] = tuple(step / 2 for step in range(21))
"""The thresholds tried, in multiples of a map's mean: 0, 0.5, ..., 10 (Sec. 4.2)."""

SIDE = 224
"""Maps are enlarged to a square of this many pixels before a box is taken."""


def enlarge_map(attention: AttentionMap, size: tuple[int, int]) -> Float[np.ndarray, "new_height new_width"]:
    """A map in the size of its picture, bicubic as `explain(resize=...)`.

    Bicubic interpolation overshoots beside steep slopes. A map without negative values gets none; above its largest
    value, where the overshoot tells the peak's place within a cell, nothing is cut.

    Args:
        attention: any finite values.
        size: `(height, width)` in pixels. Where the map is made smaller, it is smoothed first.

    Returns:
        float32; values keep their unit and no longer sum to mass.

    Raises:
        ExcitationError: no map of two dimensions, an empty one, values that are not finite, or a size that is none.
    """
    values = _checked(attention).detach().to("cpu", torch.float32)
    size = check_size("size", size)  # type: ignore[assignment]
    if not bool(torch.isfinite(values).all()):
        raise ExcitationError("the map has values that are not finite; there is nothing to show.")
    if tuple(values.shape) == tuple(size):
        return values.numpy()
    smaller = size[0] < values.shape[0] or size[1] < values.shape[1]
    enlarged = F.interpolate(values[None, None], size=size, mode="bicubic", align_corners=False, antialias=smaller)
    return enlarged[0, 0].clamp(min=0 if bool(values.min() >= 0) else -torch.inf).numpy()


def is_empty(attention: AttentionMap) -> bool:
    """Whether a map has next to no mass, so that its shape means nothing: at most `EMPTY` in absolute values.

    A map of mass is meant, whose signal put in a mass of one; for other maps only zero everywhere is empty.
    """
    values = _checked(attention).double().abs()
    return bool(values.sum() <= EMPTY) and bool(torch.isfinite(values).all())


def points_nowhere(attention: AttentionMap) -> bool:
    """Whether a map is the same everywhere, as an empty one is.

    Its maximum is every place at once. The first of them, a corner of the picture, would be a hit on whatever is there.
    """
    values = _checked(attention)
    return bool(values.min() == values.max())


def _checked(attention: AttentionMap) -> torch.Tensor:
    """A map as a tensor.

    Raises:
        ExcitationError: it is none of two dimensions, or it is empty.
    """
    if not isinstance(attention, (torch.Tensor, np.ndarray)):
        raise ExcitationError(
            f"the map is a {type(attention).__name__}; a tensor or array (height, width) is expected."
        )
    if attention.ndim != 2:
        raise ExcitationError(
            f"the map has shape {tuple(attention.shape)}; (height, width) is expected: take the map of one image and"
            " one target, maps[0, 0]."
        )
    if 0 in attention.shape:
        raise ExcitationError(f"the map is empty: its shape is {tuple(attention.shape)}.")
    return torch.as_tensor(attention)


def find_peak(attention: AttentionMap, size: tuple[int, int], *, box: Box | None = None) -> tuple[int, int] | None:
    """Where a map is largest, in its picture's pixels; the first in reading order if several are.

    Args:
        attention: a map.
        size: `(height, width)` of the picture.
        box: the part of the picture that the map covers, `(x0, y0, x1, y1)` in pixels; all of it if not given.

    Returns:
        `(x, y)`, counted from the upper left corner; `None` for a map that is the same everywhere.

    Raises:
        ExcitationError: as `enlarge_map`, or a box outside the picture.
    """
    x0, y0, x1, y1 = whole_pixels(box, size)
    values = enlarge_map(attention, (y1 - y0, x1 - x0))
    if points_nowhere(attention):
        return None
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    return x0 + int(x), y0 + int(y)


def whole_pixels(box: Box | None, size: tuple[int, int]) -> tuple[int, int, int, int]:
    height, width = check_size("size", size)
    if box is None:
        return 0, 0, width, height
    if not isinstance(box, Sequence) or len(box) != 4 or not all(isinstance(side, Real) for side in box):
        raise ExcitationError(f"the box is {box!r}; (x0, y0, x1, y1) in pixels is expected.")
    x0, y0, x1, y1 = (round(side) for side in box)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ExcitationError(f"the box {box} does not lie in the picture of {width} x {height} pixels.")
    return x0, y0, x1, y1


def box_of(pixels: Bool[np.ndarray, "height width"]) -> PixelBox | None:
    """The smallest box around pixels; `None` if there are none."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


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
