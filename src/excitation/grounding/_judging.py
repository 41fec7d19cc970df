"""Evaluation of ranked boxes for a phrase, with the protocol of one of several papers."""

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
"""Minimum intersection over union of a correct box."""

Protocol = Literal["merged-inclusive", "any", "merged"]

PROTOCOLS: dict[str, str] = {
    "merged-inclusive": "a box is right if its intersection over union with the smallest box around all boxes of the"
    " phrase's entity is 0.5 or more; the last pixels count, so lengths are xmax - xmin + 1 (the data set's authors)",
    "any": "a box is right if its intersection over union with any one of the boxes of the phrase's entity is 0.5 or"
    " more; lengths are xmax - xmin",
    "merged": "a box is right if its intersection over union with the smallest box around all boxes of the phrase's"
    " entity is 0.5 or more; lengths are xmax - xmin",
}
"""Description of each protocol, for table notes. Phrases without boxes are not judged."""


@dataclass(frozen=True)
class Judgement:
    """The evaluation of the ranked boxes of one phrase.

    Attributes:
        image: id of the image.
        key: identifies the phrase within its image.
        text: its words in lower case.
        types: its groups.
        small: whether its merged box covers less than a quarter of the image.
        scores: scores of the boxes, descending.
        correct: whether each box is correct.
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
        """Index of the first correct box; `None` if no box is correct."""
        return int(self.correct.argmax()) if self.correct.any() else None


def judge_phrase(
    phrase: Phrase, size: tuple[int, int], detections: Detections, protocol: Protocol = "merged-inclusive"
) -> Judgement:
    """Judge the ranked boxes of one phrase.

    Args:
        phrase: a phrase with at least one box.
        size: `(height, width)` of the image in pixels.
        detections: ranked boxes of any model; an empty list counts as missed.
        protocol: a name in `PROTOCOLS`.

    Raises:
        ExcitationError: a phrase without boxes, or an unknown protocol.
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
    """Judge all phrases of one image that have boxes; other phrases are skipped.

    Args:
        phrases: phrases of one image.
        size: `(height, width)` of the image in pixels.
        detections: detections of each phrase.
        protocol: a name in `PROTOCOLS`.

    Raises:
        ExcitationError: different numbers of phrases and detections, or an unknown protocol.
    """
    if len(phrases) != len(detections):
        raise ExcitationError(f"{len(phrases)} phrases have {len(detections)} lists of boxes; one each is expected.")
    pairs = zip(phrases, detections, strict=True)
    return [judge_phrase(phrase, size, ranked, protocol) for phrase, ranked in pairs if phrase.boxes]


def _is_correct(
    boxes: Float[torch.Tensor, "box 4"], targets: Iterable[Box], protocol: Protocol
) -> Bool[np.ndarray, " box"]:
    truth = torch.tensor([tuple(map(float, box)) for box in targets], dtype=torch.float64)
    candidates = boxes.to(torch.float64).cpu()
    if protocol != "merged-inclusive":
        # Half-open boxes end one pixel after the last pixel inside.
        last = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64)
        truth, candidates = truth - last, candidates - last
    best = box_overlaps(candidates, truth).amax(1)
    return np.asarray((best >= LEAST).numpy())
