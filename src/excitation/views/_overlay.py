"""An overlay of one attention map on its picture."""

from __future__ import annotations

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.colors import Colormap
from PIL import Image, ImageDraw

from .._checks import check_number
from .._errors import ExcitationError
from .._maps import AttentionMap, Box, enlarge_map, whole_pixels

COLOUR_MAP = "inferno"
DIVERGING_COLOUR_MAP = "RdBu_r"
DARKEST = 0.2  # start of the sequential colour map: its darker colours look like shadows in a photo
FULL_COLOUR = 0.5  # fraction of the maximum from which colours have full opacity
WASH = 0.2  # fraction by which the picture is blended with white


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
    """Blend a map over its picture: the colour depends on the value, and small values are transparent.

    The picture is converted to grey and lightened, so that all colours belong to the map.

    Args:
        picture: mode `"RGB"`.
        attention: the map, of any size; non-negative unless `signed`.
        signed: whether to show negative values in the other half of a diverging colour map.
        alpha: opacity of the strongest colours, in [0, 1].
        colour_map: a colour map or its matplotlib name; by default inferno (perceptually uniform), or RdBu_r for signed
            maps.
        limit: the absolute value with the strongest colour; by default the maximum of the map. Use the same limit for
            maps that are compared.
        box: the crop that the map covers, `(x0, y0, x1, y1)` in pixels; the full picture if not given.

    Returns:
        A new picture of the same size, mode `"RGB"`.

    Raises:
        ExcitationError: negative values in a map that is not `signed`, non-finite values, an alpha or a limit out of
            range, a box outside the picture, or an unknown colour map.
    """
    check_picture(picture)
    check_number("alpha", alpha, "a value from 0 to 1", least=0, most=1)
    share, ink = _colours(attention, (picture.height, picture.width), signed, colour_map, limit, box)
    opacity = alpha * (np.abs(share) / FULL_COLOUR).clip(0, 1)[..., None]
    beneath = np.asarray(picture.convert("L"), dtype=np.float32)[..., None] / 255
    beneath = beneath * (1 - WASH) + WASH
    mixed = beneath * (1 - opacity) + ink * opacity
    return _picture_of(mixed)


def marked(picture: Image.Image, *, peak: tuple[int, int] | None = None, box: Box | None = None) -> Image.Image:
    """Draw a ring around a pixel and the outline of a box, in black and white so that they are visible everywhere.

    Args:
        picture: mode `"RGB"`.
        peak: `(x, y)`; no ring if not given.
        box: `(x0, y0, x1, y1)` in pixels; no outline if not given.

    Returns:
        A new picture of the same size.
    """
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    line = max(1, round(max(picture.size) / 250))
    if box is not None:
        x0, y0, x1, y1 = whole_pixels(box, (picture.height, picture.width))
        pen.rectangle((x0 - line, y0 - line, x1 - 1 + line, y1 - 1 + line), outline="black", width=3 * line)
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline="white", width=line)
    if peak is not None:
        x, y, radius = *peak, 4 * line
        for colour, more, width in (("black", line, 3 * line), ("white", 0, line)):
            wide = radius + more
            pen.ellipse((x - wide, y - wide, x + wide, y + wide), outline=colour, width=width)
    return drawn


def coloured(
    size: tuple[int, int],
    attention: AttentionMap,
    *,
    signed: bool = False,
    colour_map: str | Colormap | None = None,
    limit: float | None = None,
    box: Box | None = None,
) -> Image.Image:
    """Draw a map without its picture, in opaque colours.

    Args:
        size: `(height, width)` of the result in pixels.
        attention: the map, of any size; non-negative unless `signed`.
        signed: as in `overlay`.
        colour_map: as in `overlay`.
        limit: as in `overlay`.
        box: as in `overlay`.

    Returns:
        A picture of this size, mode `"RGB"`.

    Raises:
        ExcitationError: an error of `overlay`.
    """
    return _picture_of(_colours(attention, size, signed, colour_map, limit, box)[1])


def _colours(
    attention: AttentionMap,
    size: tuple[int, int],
    signed: bool,
    colour_map: str | Colormap | None,
    limit: float | None,
    box: Box | None,
) -> tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, "rows columns 3"]]:
    """The value of each pixel as a fraction of the limit, and its colour."""
    if limit is not None:
        check_number("limit", limit, "a positive value", least=0)
    x0, y0, x1, y1 = whole_pixels(box, size)
    values = np.zeros(size, dtype=np.float32)
    values[y0:y1, x0:x1] = enlarge_map(attention, (y1 - y0, x1 - x0))
    raw = torch.as_tensor(attention)
    lowest, largest = float(raw.min()), float(raw.abs().max())
    if not signed and lowest < -1e-6 * largest:
        raise ExcitationError(f"the map has negative values (down to {lowest:.3g}); show it with signed=True.")
    limit = largest if limit is None else limit
    if limit == 0 and largest > 0:
        raise ExcitationError(f"limit is {limit!r}; a positive value is expected.")
    share = (values / limit if limit > 0 else values).clip(-1 if signed else 0, 1)
    darkest = 0.0 if colour_map else DARKEST
    place = (share + 1) / 2 if signed else darkest + (1 - darkest) * share
    return share, find_colour_map(colour_map, signed)(place)[..., :3]


def _picture_of(colours: Float[np.ndarray, "height width 3"]) -> Image.Image:
    return Image.fromarray((colours * 255).round().astype(np.uint8))


def check_picture(picture: object) -> None:
    """Raise an error if a value is not a picture in mode `"RGB"`.

    Raises:
        ExcitationError: the value is not such a picture.
    """
    if not isinstance(picture, Image.Image):
        raise ExcitationError(f"the picture is a {type(picture).__name__}; a PIL.Image.Image is expected.")


def find_colour_map(name: str | Colormap | None, signed: bool) -> Colormap:
    """Return the colour map with this name (or the given colour map), or the default for signed or unsigned maps.

    Raises:
        ExcitationError: a name unknown to matplotlib.
    """
    if isinstance(name, Colormap):
        return name
    name = name or (DIVERGING_COLOUR_MAP if signed else COLOUR_MAP)
    if not isinstance(name, str) or name not in matplotlib.colormaps:
        raise ExcitationError(
            f"matplotlib knows no colour map {name!r}; inferno, viridis and RdBu_r are some of its names."
        )
    return matplotlib.colormaps[name]
