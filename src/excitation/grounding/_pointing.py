"""The pointing game with phrases, as in later papers: the result is the maximum of the map, without proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float

from .._checks import check_choice
from .._errors import ExcitationError
from ._phrases import Phrase

SMALLEST = 0.05

PointingProtocol = Literal["phrase", "entity"]

POINTING: dict[str, str] = {
    "phrase": "each mention is one question; a point is right if it lies strictly inside any of the phrase's boxes",
    "entity": "each entity is one question, its map is the mean over its mentions; a point is right if it lies in the"
    " smallest box around all its boxes, ends included; entities whose first box covers less than 5 % of the image are"
    " left out",
}
"""Description of each protocol. The point is the first maximum in row-major order; there is no tolerance."""


@dataclass(frozen=True)
class Pointed:
    """The result for one phrase or entity.

    Attributes:
        image: id of the image.
        key: key of the phrase, or the entity.
        types: its groups.
        point: `(x, y)` in pixels from 0.
        hit: whether the point is correct.
    """

    image: str
    key: str
    types: tuple[str, ...]
    point: tuple[int, int]
    hit: bool


def point_phrases(
    phrases: Sequence[Phrase],
    maps: Float[torch.Tensor, "phrase height width"],
    protocol: PointingProtocol = "phrase",
) -> list[Pointed]:
    """Point for all phrases of one image that have boxes.

    Args:
        phrases: phrases of one image.
        maps: the map of each phrase, `(phrase, height, width)`, at the size of the image, finite.
        protocol: a name in `POINTING`.

    Returns:
        One result per phrase, or per entity.

    Raises:
        ExcitationError: a wrong number of maps, non-finite values, phrases of several images, or an unknown protocol.
    """
    check_choice("protocol", protocol, tuple(POINTING))
    if len(phrases) != len(maps) or len({phrase.image for phrase in phrases}) > 1:
        raise ExcitationError(
            f"{len(phrases)} phrases of {len({item.image for item in phrases})} images have {len(maps)} maps;"
            " phrases of one image are expected, with a map each."
        )
    boxed = [row for row, phrase in enumerate(phrases) if phrase.boxes]
    if protocol == "phrase":
        return [_by_phrase(phrases[row], _maximum(maps[row])) for row in boxed]
    entities: dict[str, list[int]] = {}
    for row in boxed:
        entities.setdefault(phrases[row].entity, []).append(row)
    height, width = maps.shape[1:]
    pointed = []
    for entity, rows in entities.items():
        first = phrases[rows[0]]
        x0, y0, x1, y1 = first.boxes[0]
        if (x1 - x0) * (y1 - y0) < SMALLEST * height * width or first.target is None:
            continue
        x, y = _maximum(maps[rows].to(torch.float64).mean(0))
        x0, y0, x1, y1 = first.target
        types = tuple(dict.fromkeys(name for row in rows for name in phrases[row].types))
        pointed.append(Pointed(first.image, entity, types, (x, y), x0 <= x <= x1 - 1 and y0 <= y <= y1 - 1))
    return pointed


def _by_phrase(phrase: Phrase, point: tuple[int, int]) -> Pointed:
    x, y = point
    hit = any(x0 < x < x1 - 1 and y0 < y < y1 - 1 for x0, y0, x1, y1 in phrase.boxes)
    return Pointed(phrase.image, phrase.key, phrase.types, point, hit)


def _maximum(attention: Float[torch.Tensor, "height width"]) -> tuple[int, int]:
    """`(x, y)` of the first maximum in row-major order."""
    if not torch.isfinite(attention).all():
        raise ExcitationError("an attention map holds values that are not finite, so that it points nowhere.")
    # `argmax` on tensors does not guarantee the first of several maxima.
    best = int((attention == attention.max()).flatten().to(torch.uint8).cpu().numpy().argmax())
    y, x = divmod(best, attention.shape[1])
    return x, y
