"""Recall and average precision with confidence intervals (Tables 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._checks import check_number
from .._errors import ExcitationError
from ..evaluation import Comparison, Interval, Outcomes, compare, interval
from ._judging import Judgement
from ._phrases import GROUPS

RANKS = (1, 5, 10)

AP_DEFINITION = (
    "Average precision: the boxes of all phrases of a group (or of all phrases with the same words, in lower case) are"
    " put in one list by score. The first right box of a phrase, in its own order, is a hit; all other boxes are false"
    " alarms. Precision at a hit is hits over boxes so far, raised to the highest precision at any later hit; average"
    " precision is the sum over hits of precision, divided by the number of phrases. mAP (group) is the mean over the"
    " eight groups, a phrase with several types counts in each; mAP (phrase) is the mean over distinct phrases."
)
"""Definition for table notes; the original code of 2015 is not available."""


@dataclass(frozen=True)
class Scores:
    """One row of Tables 4 and 5; all values in [0, 1].

    Attributes:
        phrases: number of judged phrases.
        recall: recall at 1, 5 and 10 over all phrases.
        group_recall: recall at 5 by group, for groups that occur.
        group_mean: mean of `group_recall`.
        group_ap: average precision by group.
        phrase_ap: average precision by distinct phrase.
    """

    phrases: int
    recall: dict[int, float]
    group_recall: dict[str, float]
    group_mean: float
    group_ap: dict[str, float]
    phrase_ap: dict[str, float]

    @property
    def map_group(self) -> float:
        """Mean average precision over groups; NaN if no phrase has one of the eight types."""
        return _mean(self.group_ap)

    @property
    def map_phrase(self) -> float:
        """Mean average precision over distinct phrases."""
        return _mean(self.phrase_ap)


def small_only(judged: Sequence[Judgement]) -> list[Judgement]:
    """The subset of Table 4: phrases whose box covers less than a quarter of the image."""
    return [item for item in judged if item.small]


def recall_at(judged: Sequence[Judgement], rank: int) -> float:
    """The fraction of phrases with a correct box among the first `rank` boxes, in [0, 1].

    Raises:
        ExcitationError: no phrases, or a rank below 1.
    """
    _check(judged, rank)
    return sum(_hit(item, rank) for item in judged) / len(judged)


def average_precision(judged: Sequence[Judgement]) -> float:
    """Average precision of a set of phrases, in [0, 1]; see `AP_DEFINITION`.

    Boxes with equal scores are ordered by phrase, and within a phrase by rank.

    Raises:
        ExcitationError: no phrases.
    """
    _check(judged)
    scores = np.concatenate([item.scores for item in judged])
    hits = np.concatenate([_first_only(item) for item in judged])
    correct = hits[np.argsort(-scores, kind="stable")]
    positions = np.flatnonzero(correct) + 1
    precision = np.arange(1, len(positions) + 1) / positions
    raised = np.maximum.accumulate(precision[::-1])
    return float(raised.sum() / len(judged))


def evaluate(judged: Sequence[Judgement]) -> Scores:
    """All values of Tables 4 and 5 for one method.

    Raises:
        ExcitationError: no phrases.
    """
    _check(judged)
    groups = {name: [item for item in judged if name in item.types] for name in GROUPS}
    groups = {name: own for name, own in groups.items() if own}
    texts: dict[str, list[Judgement]] = {}
    for item in judged:
        texts.setdefault(item.text, []).append(item)
    group_recall = {name: recall_at(own, 5) for name, own in groups.items()}
    return Scores(
        phrases=len(judged),
        recall={rank: recall_at(judged, rank) for rank in RANKS},
        group_recall=group_recall,
        group_mean=_mean(group_recall),
        group_ap={name: average_precision(own) for name, own in groups.items()},
        phrase_ap={text: average_precision(own) for text, own in texts.items()},
    )


def recall_interval(judged: Sequence[Judgement], rank: int, *, by_group: bool = False, seed: int = 0) -> Interval:
    """A 95 % confidence interval of recall, by bootstrap over images.

    Args:
        judged: judgements of one method.
        rank: 1 or more.
        by_group: whether to use the mean over groups (Table 5) instead of the overall recall.
        seed: random seed.

    Raises:
        ExcitationError: no phrases (of any group), or a rank below 1.
    """
    _check(judged, rank)
    rows = [
        (item.image, group, _hit(item, rank))
        for item in judged
        for group in ([name for name in GROUPS if name in item.types] if by_group else ["all"])
    ]
    return interval(Outcomes.from_pairs(rows), "mean" if by_group else "pooled", seed=seed)


def compare_recall(first: Sequence[Judgement], second: Sequence[Judgement], rank: int, *, seed: int = 0) -> Comparison:
    """The difference in recall of two methods on their common phrases, paired by image.

    To compare one group, or small boxes, pass only the judgements of these phrases.

    Raises:
        ExcitationError: no common phrases, a duplicate phrase, or a rank below 1.
    """
    sides: list[Outcomes] = []
    for judged in (first, second):
        _check(judged, rank)
        rows = [(item.image, item.key, _hit(item, rank)) for item in judged]
        if len({row[:2] for row in rows}) < len(rows):
            raise ExcitationError("a phrase was judged twice by one method; give each phrase once.")
        sides.append(Outcomes.from_pairs(rows))
    return compare(sides[0], sides[1], "pooled", seed=seed)


def _hit(item: Judgement, rank: int) -> bool:
    return bool(item.correct[:rank].any())


def _first_only(item: Judgement) -> np.ndarray:
    first = np.zeros(len(item.correct), dtype=np.bool_)
    if item.first is not None:
        first[item.first] = True
    return first


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values) if values else float("nan")


def _check(judged: Sequence[Judgement], rank: int = 1) -> None:
    if not judged:
        raise ExcitationError("no phrase was judged: none has boxes, or none was asked for.")
    check_number("rank", rank, "a number of boxes from 1 on", least=1, whole=True)
