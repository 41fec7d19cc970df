"""Mean average precision of a multi-label classifier, by the size of objects."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from experiments.symbols.scenes import Scenes


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


def mean_average_precision(model: nn.Module, groups: Sequence[Scenes], sizes: Sequence[float]) -> dict[str, float]:
    """Mean over classes of the average precision, for objects in each range of sizes.

    Args:
        model: gives one logit per class; takes pictures from -1 to 1.
        groups: unseen scenes.
        sizes: bounds of the ranges, as shares of the picture's area: the largest box of a class counts.

    Returns:
        By `"low-high"`. Scenes with the class at another size are left out of that class's precision; classes without
        an object in the range are left out of the mean.
    """
    scores, shares = predict(model, groups)
    found = {}
    for low, high in itertools.pairwise(sizes):
        precisions = []
        for c in range(shares.shape[1]):
            there = (shares[:, c] > low) & (shares[:, c] <= high)
            counted = there | (shares[:, c] == 0)
            if there.any():
                precisions.append(average_precision_score(there[counted], scores[counted, c]))
        found[f"{low:g}-{high:g}"] = round(float(np.mean(precisions)), 4) if precisions else float("nan")
    return found
