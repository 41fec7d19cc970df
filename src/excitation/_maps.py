"""Functions of a single two-dimensional map: resizing, peak, boxes, and tests for empty or constant maps."""

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
"""A map is empty if its absolute mass is at most this fraction of the mass of its signal."""

ALPHAS: tuple[float, ...] = tuple(step / 2 for step in range(21))
"""Thresholds, in multiples of the mean of a map: 0, 0.5, ..., 10 (Sec. 4.2)."""

SIDE = 224
"""Maps are resized to a square of this side, in pixels, before a box is computed."""


def enlarge_map(attention: AttentionMap, size: tuple[int, int]) -> Float[np.ndarray, "new_height new_width"]:
    """Resize a map to the size of its picture by bicubic interpolation, like `explain(resize=...)`.

    Bicubic interpolation overshoots next to steep slopes. Negative overshoot is removed from maps without negative
    values. Overshoot above the maximum is kept, because it locates the peak within a cell.

    Args:
        attention: a map `(height, width)` with finite values.
        size: `(height, width)` in pixels. The map is smoothed before downscaling.

    Returns:
        float32, `(height, width)` of the given size. Values keep their unit and no longer sum to the mass.

    Raises:
        ExcitationError: the map is not two-dimensional, has no elements, or has non-finite values; or `size` is not a
            valid size.
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
    """Whether a map has almost no mass, so that its shape is meaningless: an absolute sum of at most `EMPTY`.

    This threshold applies to maps of mass with a signal of mass one. Other maps are empty only if they are zero
    everywhere.
    """
    values = _checked(attention).double().abs()
    return bool(values.sum() <= EMPTY) and bool(torch.isfinite(values).all())


def points_nowhere(attention: AttentionMap) -> bool:
    """Whether a map is constant, for example empty.

    Its maximum has no definite position. The first position, a corner, could count as a hit by accident.
    """
    values = _checked(attention)
    return bool(values.min() == values.max())


def _checked(attention: AttentionMap) -> torch.Tensor:
    """Convert a map to a tensor.

    Raises:
        ExcitationError: the map is not two-dimensional, or has no elements.
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
    """The position of the maximum of a map, in pixels of its picture; the first in reading order if there are several.

    Args:
        attention: a map `(height, width)`.
        size: `(height, width)` of the picture in pixels.
        box: the crop that the map covers, `(x0, y0, x1, y1)` in pixels; the full picture if not given.

    Returns:
        `(x, y)`, counted from the upper left corner; `None` for a constant map.

    Raises:
        ExcitationError: an error of `enlarge_map`, or a box outside the picture.
    """
    x0, y0, x1, y1 = whole_pixels(box, size)
    values = enlarge_map(attention, (y1 - y0, x1 - x0))
    if points_nowhere(attention):
        return None
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    return x0 + int(x), y0 + int(y)


def whole_pixels(box: Box | None, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Round a box to whole pixels.

    Args:
        box: `(x0, y0, x1, y1)` in pixels; `None` for the full picture.
        size: `(height, width)` of the picture in pixels.

    Returns:
        `(x0, y0, x1, y1)`, half-open, with at least one pixel.

    Raises:
        ExcitationError: the box is not four numbers, or does not lie in the picture.
    """
    height, width = check_size("size", size)
    if box is None:
        return 0, 0, width, height
    if not isinstance(box, Sequence) or len(box) != 4 or not all(isinstance(side, Real) for side in box):
        raise ExcitationError(f"the box is {box!r}; (x0, y0, x1, y1) in pixels is expected.")
    x0, y0, x1, y1 = (round(side) for side in box)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ExcitationError(f"the box {box} is not inside the picture of {width} x {height} pixels.")
    return x0, y0, x1, y1


def box_of(pixels: Bool[np.ndarray, "height width"]) -> PixelBox | None:
    """The smallest box around the true pixels of a mask; `None` if there are none."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def boxes_of_map(
    attention: Float[torch.Tensor, "height width"],
    size: tuple[float | int, float | int],
    alphas: Sequence[float | int] = ALPHAS,
    *,
    grid: tuple[int, int] = (SIDE, SIDE),
) -> list[Box | None]:
    """For each threshold, the smallest box around all values above `alpha` times the mean of the map.

    Args:
        attention: a map `(height, width)` with finite values.
        size: `(height, width)` of the picture that the full map covers, with or without distortion.
        alphas: thresholds in multiples of the mean.
        grid: the size at which the map and its mean are evaluated, by bicubic interpolation.

    Returns:
        Half-open boxes `(x0, y0, x1, y1)` in pixels of the picture; `None` if no value exceeds the threshold.

    Source: Zhang et al., ECCV 2016, Sec. 4.2.
    """
    values = enlarge_map(attention, grid)
    mean = float(values.mean(dtype=np.float64))
    down, across = size[0] / grid[0], size[1] / grid[1]
    boxes: list[Box | None] = []
    for alpha in alphas:
        box = box_of(values > alpha * mean)
        boxes.append(box and (box[0] * across, box[1] * down, box[2] * across, box[3] * down))
    return boxes
