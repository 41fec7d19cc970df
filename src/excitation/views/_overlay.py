"""One attention map over its picture."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.colors import Colormap
from PIL import Image

from .._checks import check_number, check_size
from .._errors import ExcitationError

AttentionMap = Float[torch.Tensor, "height width"] | Float[np.ndarray, "height width"]
Box = tuple[float, float, float, float]

COLOUR_MAP = "inferno"
DIVERGING_COLOUR_MAP = "RdBu_r"
DARKEST = 0.2  # where the sequential colour map starts: below, its colours cannot be told from shadows in a photo
FULL_COLOUR = 0.5  # share of the largest value from which colours have their full strength
EMPTY = 1e-6  # of a mass of one that a signal puts in
WASH = 0.2  # how far the picture beneath is moved towards white


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
    x0, y0, x1, y1 = _whole_pixels(box, size)
    values = enlarge_map(attention, (y1 - y0, x1 - x0))
    if points_nowhere(attention):
        return None
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    return x0 + int(x), y0 + int(y)


def overlay(
    picture: Image.Image,
    attention: AttentionMap,
    *,
    signed: bool = False,
    alpha: float = 0.85,
    colour_map: str | Colormap | None = None,
    limit: float | None = None,
    box: Box | None = None,
) -> Image.Image:
    """Lay a map over its picture: colour by value, see-through where there is little.

    The picture beneath turns grey and a little lighter, so that all colour seen is the map's.

    Args:
        picture: mode `"RGB"`.
        attention: the map, of any size; non-negative unless `signed`.
        signed: show values below zero in the other half of a diverging colour map.
        alpha: opacity of the strongest colours, 0 to 1.
        colour_map: a colour map, or a name matplotlib knows; by default inferno (perceptually uniform), or RdBu_r for
            signed maps.
        limit: the absolute value that gets the strongest colour; by default the map's own largest. Maps that are to
            be compared need the same.
        box: the part of the picture that the map covers, `(x0, y0, x1, y1)` in pixels; all of it if not given.

    Returns:
        A new picture of the same size, mode `"RGB"`.

    Raises:
        ExcitationError: negative values in a map that is not `signed`, values that are not finite, an alpha or a limit
            out of range, a box outside the picture, an unknown colour map.
    """
    check_picture(picture)
    check_number("alpha", alpha, "a value from 0 to 1", least=0, most=1)
    if limit is not None:
        check_number("limit", limit, "a positive value", least=0)
    x0, y0, x1, y1 = _whole_pixels(box, (picture.height, picture.width))
    values = np.zeros((picture.height, picture.width), dtype=np.float32)
    values[y0:y1, x0:x1] = enlarge_map(attention, (y1 - y0, x1 - x0))
    raw = _checked(attention)
    lowest, largest = float(raw.min()), float(raw.abs().max())
    if not signed and lowest < -1e-6 * largest:
        raise ExcitationError(f"the map has negative values (down to {lowest:.3g}); show it with signed=True.")
    limit = largest if limit is None else limit
    if limit == 0 and largest > 0:
        raise ExcitationError(f"limit is {limit!r}; a positive value is expected.")
    share = (values / limit if limit > 0 else values).clip(-1 if signed else 0, 1)
    darkest = 0.0 if colour_map else DARKEST
    place = (share + 1) / 2 if signed else darkest + (1 - darkest) * share
    ink = find_colour_map(colour_map, signed)(place)[..., :3]
    opacity = alpha * (np.abs(share) / FULL_COLOUR).clip(0, 1)[..., None]
    beneath = np.asarray(picture.convert("L"), dtype=np.float32)[..., None] / 255
    beneath = beneath * (1 - WASH) + WASH
    mixed = beneath * (1 - opacity) + ink * opacity
    return Image.fromarray((mixed * 255).round().astype(np.uint8))


def check_picture(picture: object) -> None:
    """Refuse what is no picture.

    Raises:
        ExcitationError: it is something else.
    """
    if not isinstance(picture, Image.Image):
        raise ExcitationError(f"the picture is a {type(picture).__name__}; a PIL.Image.Image is expected.")


def find_colour_map(name: str | Colormap | None, signed: bool) -> Colormap:
    """The colour map of this name (or itself), or the default for maps of this kind.

    Raises:
        ExcitationError: matplotlib knows no such colour map.
    """
    if isinstance(name, Colormap):
        return name
    name = name or (DIVERGING_COLOUR_MAP if signed else COLOUR_MAP)
    if not isinstance(name, str) or name not in matplotlib.colormaps:
        raise ExcitationError(
            f"matplotlib knows no colour map {name!r}; inferno, viridis and RdBu_r are some of its names."
        )
    return matplotlib.colormaps[name]


def _whole_pixels(box: Box | None, size: tuple[int, int]) -> tuple[int, int, int, int]:
    height, width = check_size("size", size)
    if box is None:
        return 0, 0, width, height
    if not isinstance(box, Sequence) or len(box) != 4 or not all(isinstance(side, Real) for side in box):
        raise ExcitationError(f"the box is {box!r}; (x0, y0, x1, y1) in pixels is expected.")
    x0, y0, x1, y1 = (round(side) for side in box)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ExcitationError(f"the box {box} does not lie in the picture of {width} x {height} pixels.")
    return x0, y0, x1, y1
