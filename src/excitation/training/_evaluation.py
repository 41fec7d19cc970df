"""Precision of a trained classifier: per class, mean, by the size of objects, with intervals."""

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
    """Average precision, 0 to 1.

    Attributes:
        by_class: of each class that occurs, with the number of its pictures.
        mean: over these.
        low: lower end of its bootstrap interval over pictures, 95 %.
        high: upper end.
        by_size: mean over classes for objects in a range of sizes: pictures with the class at another size do not
            count. By `"LOW-HIGH"`, parts of the picture; with the number of pairs of picture and class.
        pictures: how many.
    """

    by_class: dict[str, tuple[float, int]]
    mean: float
    low: float
    high: float
    by_size: dict[str, tuple[float, int]]
    pictures: int

    def as_json(self) -> dict[str, Any]:
        """For a report."""
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
    """Measure a classifier.

    Args:
        scores: logits.
        labels: what is there.
        shares: area of a class's largest object over the picture's; `None` if unknown.
        classes: names.
        seed: of the bootstrap.
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
