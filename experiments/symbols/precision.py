"""Mean average precision of a multi-label classifier, by the size of objects."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from excitation.data.symbols import PAIRS, SYMBOL_NAMES
from experiments.symbols.scenes import CLASSES, Scenes

PAIRED = tuple(sorted(symbol for pair in PAIRS for symbol in pair))
KINDS = {
    "all": range(len(CLASSES)),
    "symbols": range(len(SYMBOL_NAMES)),
    "paired symbols": PAIRED,
    "unpaired symbols": tuple(sorted(set(range(len(SYMBOL_NAMES))) - set(PAIRED))),
    "colours": range(len(SYMBOL_NAMES), len(CLASSES)),
}
"""Classes by kind."""


def predict(model: nn.Module, groups: Sequence[Scenes], batch: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Logits and shares of all scenes, scene x class."""
    scores = []
    training, device = model.training, next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        for group in groups:
            for start in range(0, len(group.images), batch):
                pictures = torch.from_numpy(group.images[start : start + batch]).to(device)
                images = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
                scores.append(model(images.contiguous(memory_format=torch.channels_last)).cpu().numpy())
    model.train(training)
    return np.concatenate(scores), np.concatenate([group.shares for group in groups])


def average_precisions(scores: np.ndarray, shares: np.ndarray, low: float, high: float = 1) -> np.ndarray:
    """The average precision of each class, for objects in a range of sizes.

    Args:
        scores: scene x class.
        shares: scene x class: area of the class's largest box over the picture's; 0 where the class is absent.
        low: the smallest such share, left out.
        high: the largest, still in.

    Returns:
        Per class; NaN without an object in the range. Scenes with the class at another size do not count.
    """
    found = np.full(shares.shape[1], np.nan)
    for c in range(shares.shape[1]):
        there = (shares[:, c] > low) & (shares[:, c] <= high)
        counted = there | (shares[:, c] == 0)
        if there.any():
            found[c] = average_precision_score(there[counted], scores[counted, c])
    return found


def mean_average_precision(scores: np.ndarray, shares: np.ndarray, sizes: Sequence[float]) -> dict[str, float]:
    """Mean over classes of the average precision, for objects in each range of sizes.

    Args:
        scores: scene x class.
        shares: as `average_precisions` takes them.
        sizes: bounds of the ranges.

    Returns:
        By `"low-high"`; classes without an object in a range are left out of its mean.
    """
    found = {}
    for low, high in itertools.pairwise(sizes):
        precisions = average_precisions(scores, shares, low, high)
        found[f"{low:g}-{high:g}"] = _mean(precisions)
    return found


def precision_by_kind(scores: np.ndarray, shares: np.ndarray, least: float = 0.05) -> dict[str, float]:
    """Mean average precision over all classes and over each kind of them, for objects above a share of the picture."""
    precisions = average_precisions(scores, shares, least)
    return {kind: _mean(precisions[list(members)]) for kind, members in KINDS.items()}


def _mean(precisions: np.ndarray) -> float:
    """Over classes that have one; NaN where none has."""
    known = precisions[np.isfinite(precisions)]
    return round(float(known.mean()), 4) if known.size else float("nan")
