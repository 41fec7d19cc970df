"""How sure a network is of a class: what mosaics are chosen by, what deletion and insertion watch, and mixtures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from jaxtyping import Float

from .._checks import check_choice
from ..core import Target, pick_scores
from ..models._loaded import LoadedModel

Probability = Literal["softmax", "sigmoid", "score"]
"""What class scores are: logits of one class among all, logits of each class by itself, or taken as they are."""


Mixture = Literal["equal", "probability"]
"""The parts of a category's classes in its target: equal, or by the network's probabilities in the picture."""


def mixed_by_probability(
    model: LoadedModel, one: Float[torch.Tensor, "1 channels height width"], pairs: Mapping[str, Target]
) -> dict[str, Target]:
    """Targets whose classes are weighted by their probability in a picture: `y_k / sum over the category's classes`.

    `y` is the softmax of the scores, of a score map averaged over positions, as r-MWP weights classes.

    Args:
        model: the network; it runs once if there is a target of several classes.
        one: the picture as it takes it, a batch of one.
        pairs: targets by category, a class or weights over several.
    """
    mixed = {category: list(target) for category, target in pairs.items() if isinstance(target, Mapping)}
    if not mixed:
        return dict(pairs)
    (scores,) = probabilities(model, one, "score").double().cpu()
    weights = {category: scores[classes].softmax(0).tolist() for category, classes in mixed.items()}
    found = {category: dict(zip(mixed[category], weights[category], strict=True)) for category in mixed}
    return {category: found.get(category, target) for category, target in pairs.items()}


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
    check_choice("probability", kind, get_args(Probability))
    with torch.no_grad():
        scores = pick_scores(model.model(inputs), len(inputs), model.output).float()
    flat = scores.flatten(2).mean(2) if scores.dim() > 2 else scores
    if kind == "softmax":
        return flat.softmax(1)
    return flat.sigmoid() if kind == "sigmoid" else flat
