"""The overlay of one map on its picture, from a result or from a map."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from .._errors import ExcitationError
from .._maps import Box, boxes_of_map, find_peak
from ._explanation import Explanation
from ._figures import Options as FigureOptions
from ._figures import check_is_of_image, check_maps_are_flat, drawable, empty_maps, is_signed
from ._pictures import Picture, read_pictures


def overlay(
    picture: Picture,
    attention: Float[torch.Tensor, "rows columns"] | Float[np.ndarray, "rows columns"] | Explanation,
    *,
    image: int | None = None,
    target: int | str | None = None,
    signed: bool | None = None,
    alpha: float = 0.85,
    colour_map: str | None = None,
    limit: float | None = None,
    box: Box | None = None,
    peaks: bool = False,
    boxes: float | int | None = None,
) -> Image.Image:
    """Draw one map on its picture: the colour depends on the value, and small values are transparent.

    The picture is converted to grey and lightened, so that all colours belong to the map. The map is enlarged to the
    picture by bicubic interpolation.

    Args:
        picture: a PIL picture, a path, or an array `(height, width, 3)` of integers from 0 to 255. Any size and aspect
            ratio.
        attention: a map `(rows, columns)` of any size, or an explanation. The explanation of pictures carries the crop
            that the network received; an empty map of an explanation leaves the picture grey.
        image: which image of the explanation, counted from 0; needed if it has several.
        target: which target of the explanation, by its position or its name; needed if it has several.
        signed: whether to show negative values in the other half of a diverging colour map. If not given: for an
            explanation, whether it has negative values; for a map, no.
        alpha: opacity of the strongest colours, in [0, 1].
        colour_map: a matplotlib name; by default inferno, or RdBu_r for signed maps.
        limit: the absolute value with the strongest colour; by default the maximum of the map. Use the same limit for
            maps that are compared.
        box: the crop that a map covers, `(x0, y0, x1, y1)` in pixels of the picture; the full picture if not given.
        peaks: whether to draw a ring around the maximum.
        boxes: draw the box around all values above this multiple of the mean of the map, as `Explanation.boxes`.

    Returns:
        A new picture of the same size, mode `"RGB"`.

    Raises:
        ExcitationError: the picture cannot be read; the map is not two-dimensional, has non-finite values, or has
            negative values without `signed`; the explanation has several layers, or several images or targets of which
            none is selected; `alpha` or `limit` is out of range; the box is not in the picture; or the colour map is
            unknown.
    """
    from ..views import marked
    from ..views import overlay as laid

    if isinstance(picture, (list, tuple)):
        raise ExcitationError("several pictures were given; overlay draws one map on one picture.")
    (shown,) = read_pictures([picture])
    FigureOptions(peaks=peaks, boxes=boxes)  # validates them
    if isinstance(attention, Explanation):
        if box is not None:
            raise ExcitationError("box is given, but the explanation has its own; leave it out.")
        attention, box, negative = _map_of(shown, attention, image, target)
        if signed is False and negative:
            attention = attention.clamp(min=0)
        signed = negative if signed is None else signed
    elif image is not None or target is not None:
        raise ExcitationError("image and target select a map of an explanation, but a single map was given.")
    drawn = laid(shown, attention, signed=bool(signed), alpha=alpha, colour_map=colour_map, limit=limit, box=box)
    values = torch.as_tensor(attention)
    if not values.any():
        return drawn
    peak = find_peak(values, (shown.height, shown.width), box=box) if peaks else None
    return marked(drawn, peak=peak, box=None if boxes is None else _box_of(values, shown, box, boxes))


def _box_of(attention: torch.Tensor, picture: Image.Image, crop: Box | None, alpha: float | int) -> Box | None:
    x0, y0, x1, y1 = crop or (0, 0, picture.width, picture.height)
    (found,) = boxes_of_map(attention, (y1 - y0, x1 - x0), [alpha])
    return found and (x0 + found[0], y0 + found[1], x0 + found[2], y0 + found[3])


def _map_of(
    picture: Image.Image, explanation: Explanation, image: int | None, target: int | str | None
) -> tuple[torch.Tensor, Box | None, bool]:
    """The selected map of an explanation, its crop, and whether the explanation has negative values."""
    check_maps_are_flat(explanation)
    i = _position("image", image, [str(i) for i in range(len(explanation.targets))])
    names = explanation.targets[i]
    k = names.index(target) if isinstance(target, str) and target in names else _position("target", target, names)
    check_is_of_image(explanation, i, picture)
    attention = list(drawable(explanation))[i][k]
    if empty_maps(explanation)[i][k]:
        attention = torch.zeros(1, 1)
    return attention, explanation.frames[i].box, is_signed(explanation)


def _position(what: str, value: object, names: tuple[str, ...] | list[str]) -> int:
    if value is None and len(names) == 1:
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return value
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    given = "no " + what if value is None else f"{what} {value!r}"
    raise ExcitationError(f"{given} was given; select one of the {len(names)} of this explanation ({shown}): {what}=0.")
