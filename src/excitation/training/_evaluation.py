"""Average precision of a trained classifier: per class, mean with interval, and by object size."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ._precision import average_precisions

SIZES = (0.0, 0.01, 0.05, 0.2, 1.0)
"""Bounds of the ranges of an object's part of the picture."""

SAMPLES, LEVEL = 200, 0.95


@dataclass(frozen=True)
class Precision:
    """Average precision of a classifier. All precisions are between 0 and 1.

    Attributes:
        by_class: average precision and number of pictures of each class that occurs.
        mean: mean over these classes.
        low: lower end of the 95 % bootstrap interval of the mean, over pictures.
        high: upper end of this interval.
        by_size: mean over classes for objects in a range of sizes, and the number of pairs of picture and class. The
            keys are `"LOW-HIGH"`, as fractions of the picture area. Pictures that contain the class at another size do
            not count.
        pictures: number of pictures.
    """

    by_class: dict[str, tuple[float, int]]
    mean: float
    low: float
    high: float
    by_size: dict[str, tuple[float, int]]
    pictures: int

    def as_json(self) -> dict[str, Any]:
        """Return the values for a JSON report."""
        return {
            "pictures": self.pictures, "mean": _round(self.mean), "interval": [_round(self.low), _round(self.high)],
            "by size": {name: [_round(value), pairs] for name, (value, pairs) in self.by_size.items()},
            "by class": {name: [_round(value), pictures] for name, (value, pictures) in self.by_class.items()},
        }  # fmt: skip

    def __str__(self) -> str:
        told = f"mean average precision {self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"
        return f"{told} over {len(self.by_class)} classes in {self.pictures} pictures"


def measure(
    scores: Float[np.ndarray, "picture class"],
    labels: Bool[np.ndarray, "picture class"],
    shares: Float[np.ndarray, "picture class"] | None,
    classes: Sequence[str],
    seed: int = 0,
) -> Precision:
    """Compute the average precision of a classifier.

    Args:
        scores: logits, `(picture, class)`.
        labels: whether a picture contains a class, `(picture, class)`.
        shares: area of the largest object of a class as a fraction of the picture area, 0 to 1; `None` if unknown.
        classes: names of the classes.
        seed: seed of the bootstrap.
    """
    found = average_precisions(scores, labels)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(SAMPLES):
        some = rng.integers(0, len(scores), len(scores))
        means.append(_mean(average_precisions(scores[some], labels[some])))
    tail = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(means, [tail, 100 - tail]) if np.isfinite(means).any() else (np.nan, np.nan)
    by_size = {}
    for least, most in itertools.pairwise(SIZES):
        if shares is None:
            break
        there = labels & (shares > least) & (shares <= most)
        values = []
        for column in np.flatnonzero(there.any(0)):
            counted = there[:, column] | ~labels[:, column]
            one = (slice(None), slice(column, column + 1))
            values.append(average_precisions(scores[counted][one], there[counted][one])[0])
        by_size[f"{least:g}-{most:g}"] = (float(np.mean(values)) if values else float("nan"), int(there.sum()))
    by_class = {
        name: (float(value), int(labels[:, column].sum()))
        for column, (name, value) in enumerate(zip(classes, found, strict=True))
        if np.isfinite(value)
    }
    return Precision(by_class, _mean(found), float(low), float(high), by_size, len(scores))


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _round(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None
