"""How sure a network is of a class: what mosaics are chosen by, and what deletion and insertion watch."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float

from .._forward import pick_scores
from ..networks._loaded import LoadedModel

Probability = Literal["softmax", "sigmoid", "score"]
"""What class scores are: logits of one class among all, logits of each class by itself, or taken as they are."""


def probabilities(
    model: LoadedModel, inputs: Float[torch.Tensor, "image channels height width"], kind: Probability = "softmax"
) -> Float[torch.Tensor, "image classes"]:
    """The probability of every class, of a score map from its mean over positions.

    Args:
        model: the network; it runs without gradients.
        inputs: as it takes them.
        kind: what its scores are.

    Returns:
        0 to 1, unless the scores are taken as they are.
    """
    with torch.no_grad():
        scores = pick_scores(model.model(inputs), len(inputs), model.output).float()
    flat = scores.flatten(2).mean(2) if scores.dim() > 2 else scores
    if kind == "softmax":
        return flat.softmax(1)
    return flat.sigmoid() if kind == "sigmoid" else flat
