"""Whether ranked boxes are right for a phrase, by the protocol of one paper or another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from .._checks import check_choice
from .._errors import ExcitationError
from ..data._annotations import Box
from ._boxes import box_overlaps
from ._phrases import Phrase, is_small
from ._rescoring import Detections

LEAST = 0.5
"""Intersection over union from which a box is right."""

Protocol = Literal["merged-inclusive", "any", "merged"]

PROTOCOLS: dict[str, str] = {
    "merged-inclusive": "a box is right if its intersection over union with the smallest box around all boxes of the"
    " phrase's entity is 0.5 or more; the last pixels count, so lengths are xmax - xmin + 1 (the data set's authors)",
    "any": "a box is right if its intersection over union with any one of the boxes of the phrase's entity is 0.5 or"
    " more; lengths are xmax - xmin",
    "merged": "a box is right if its intersection over union with the smallest box around all boxes of the phrase's"
    " entity is 0.5 or more; lengths are xmax - xmin",
}
"""What each protocol means, for the notes of a table. Phrases without boxes are not judged."""


@dataclass(frozen=True)
class Judgement:
    """How the ranked boxes of one phrase did.

    Attributes:
        image: the image's id.
        key: tells the phrase from all others of its image.
        text: its words in lower case.
        types: its groups.
        small: whether its merged box is below a quarter of the image.
        scores: of its boxes, descending.
        correct: whether each box is right.
    """

    image: str
    key: str
    text: str
    types: tuple[str, ...]
    small: bool
    scores: Float[np.ndarray, " box"]
    correct: Bool[np.ndarray, " box"]

    @property
    def first(self) -> int | None:
        """Position of the first right box, from 0; `None` if none is right."""
        return int(self.correct.argmax()) if self.correct.any() else None


def judge_phrase(
    phrase: Phrase, size: tuple[int, int], detections: Detections, protocol: Protocol = "merged-inclusive"
) -> Judgement:
    """Judge the ranked boxes of one phrase.

    Args:
        phrase: with at least one box.
        size: `(height, width)` of the image in pixels.
        detections: anybody's; none counts as missed.
        protocol: one of `PROTOCOLS`.

    Raises:
        ExcitationError: the phrase has no box, or there is no such protocol.
    """
    check_choice("protocol", protocol, tuple(PROTOCOLS))
    target = phrase.target
    if target is None:
        raise ExcitationError(
            f"phrase {phrase.text!r} of image {phrase.image} has no box, so nothing is right or wrong."
        )
    correct = _is_correct(detections.boxes, phrase.boxes if protocol == "any" else (target,), protocol)
    return Judgement(
        phrase.image,
        phrase.key,
        phrase.text.casefold(),
        phrase.types,
        is_small(phrase, size),
        detections.scores.to(torch.float64).cpu().numpy(),
        correct,
    )


def judge_phrases(
    phrases: Sequence[Phrase],
    size: tuple[int, int],
    detections: Sequence[Detections],
    protocol: Protocol = "merged-inclusive",
) -> list[Judgement]:
    """Judge all phrases of one image that have boxes; others are passed over.

    Args:
        phrases: of one image.
        size: `(height, width)` of the image in pixels.
        detections: of each phrase.
        protocol: one of `PROTOCOLS`.

    Raises:
        ExcitationError: another number of detections, or no such protocol.
    """
    if len(phrases) != len(detections):
        raise ExcitationError(f"{len(phrases)} phrases have {len(detections)} lists of boxes; one each is expected.")
    pairs = zip(phrases, detections, strict=True)
    return [judge_phrase(phrase, size, found, protocol) for phrase, found in pairs if phrase.boxes]


def _is_correct(
    boxes: Float[torch.Tensor, "box 4"], targets: Iterable[Box], protocol: Protocol
) -> Bool[np.ndarray, " box"]:
    wanted = torch.tensor([tuple(map(float, box)) for box in targets], dtype=torch.float64)
    found = boxes.to(torch.float64).cpu()
    if protocol != "merged-inclusive":
        # Half-open boxes end one pixel after the last one inside.
        last = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64)
        wanted, found = wanted - last, found - last
    best = box_overlaps(found, wanted).amax(1)
    return np.asarray((best >= LEAST).numpy())
