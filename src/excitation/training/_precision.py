"""Average precision of a multi-label classifier."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def average_precisions(
    scores: Float[np.ndarray, "example class"], labels: Bool[np.ndarray, "example class"]
) -> Float[np.ndarray, " class"]:
    """Compute the average precision of each class: the mean over its examples of the precision at their scores.

    Examples with equal scores have the same rank.

    Args:
        scores: any monotone measure of confidence, `(example, class)`.
        labels: whether an example contains a class, `(example, class)`.

    Returns:
        Average precisions, 0 to 1; NaN for classes without an example.
    """
    found = np.full(scores.shape[1], np.nan)
    for column in range(scores.shape[1]):
        there = labels[:, column]
        total = int(there.sum())
        if not total:
            continue
        order = np.argsort(-scores[:, column], kind="stable")
        ordered = scores[order, column]
        last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # of each run of equal scores
        hits = np.cumsum(there[order])[last]
        new = np.diff(hits, prepend=0)
        found[column] = float((new * hits / (last + 1)).sum() / total)
    return found
