"""Maps the categories of a data set to the classes of a network, and computes class probabilities."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float

from .._checks import check_choice
from .._errors import ExcitationError, TargetError
from ..core import Target, class_index, pick_scores
from ..data._dataset import AnnotatedImages
from ..data._imagenet_classes import CATEGORIES, CLASSES, are_imagenet_names, classes_of_category
from ..models._loaded import LoadedModel, Preprocessing

SHOWN = 5
"""Number of names in a message."""

BUNDLED = "categories by the bundled mapping to ImageNet's classes"
ASSUMED = f"the network has no class names, and its {CLASSES} classes are taken as those of ImageNet"


FindClasses = Callable[[str], tuple[int, ...]]
"""Function that returns the classes of a category; empty if the category is unknown."""

Probability = Literal["softmax", "sigmoid", "score"]
"""Kind of class scores: logits of exclusive classes, logits of independent classes, or unconverted scores."""

Mixture = Literal["equal", "probability"]
"""Weights of the classes of a category in its target: equal, or the probabilities of the network for the picture."""


@dataclass(frozen=True)
class Classes:
    """The classes of each category.

    Attributes:
        find: function that returns the classes of a category; empty for an unknown category.
        note: note on the source of the classes, for tables. Empty if the caller or the data set gave the classes, or if
            category and class have the same name.
    """

    find: FindClasses
    note: str = ""

    def __call__(self, category: str) -> tuple[int, ...]:
        """Return the classes of a category; empty if it is unknown."""
        return self.find(category)


def classes_of(
    model: LoadedModel, data: AnnotatedImages, mapping: Mapping[str, Collection[int]] | None, prepared: Preprocessing
) -> Classes:
    """Return the classes of a data set's categories, from the first available source.

    The sources are, in this order:

    1. The mapping of the caller.
    2. The classes in the files of the data set.
    3. For networks with ImageNet classes, the class of a WordNet id, and the bundled table for categories of COCO and
       VOC (`data._imagenet_classes`).
    4. The order of classes of the data set, if the network has the same number of classes.
    5. The class of the same name.

    A network has ImageNet classes if its class names are those of ImageNet (`are_imagenet_names`), or if it has 1000
    classes without names. Tables contain a note on the latter case.

    Args:
        model: the network.
        data: the data set.
        mapping: classes by category; `None` to use the other sources.
        prepared: preprocessing of pictures. For a network without class names, a forward pass with this input size
            determines the number of classes.

    Raises:
        ExcitationError: no category has a class.
    """
    classes = _classes_of(model, data, mapping, prepared)
    categories = data.categories
    if categories and not any(classes(category) for category in categories):
        raise ExcitationError(
            f"none of the {len(categories)} categories of {data.name} ({_some(categories)}) is a class of the network"
            f" ({_described(model)}); give the classes of each category with --mapping FILE (in Python: mapping=), such"
            ' as {"dog": [151, 152]}.'
        )
    return classes


def _classes_of(
    model: LoadedModel, data: AnnotatedImages, mapping: Mapping[str, Collection[int]] | None, prepared: Preprocessing
) -> Classes:
    if mapping is not None:
        return Classes(lambda category: tuple(mapping.get(category, ())))
    if data.classes:
        return Classes(lambda category: tuple(data.classes.get(category, ())))
    names = model.class_names
    count = _count(model, prepared) if names is None else len(names)
    by_order = {category: (index,) for index, category in enumerate(data.order)} if len(data.order) == count else {}

    def own(category: str) -> tuple[int, ...]:
        return by_order.get(category) or _by_name(category, model)

    known = [category for category in data.categories if classes_of_category(category)]
    if not known or not (count == CLASSES if names is None else are_imagenet_names(names)):
        return Classes(own)
    # A WordNet id is a class. The classes of a word are a choice of this project.
    notes = [BUNDLED] if any(category in CATEGORIES for category in known) else []
    notes += [ASSUMED] if names is None else []
    return Classes(lambda category: classes_of_category(category) or own(category), "; ".join(notes))


def _by_name(category: str, model: LoadedModel) -> tuple[int, ...]:
    names = model.class_names
    if names is None:
        return ()
    try:
        return (class_index(category, len(names), names),)
    except TargetError:
        return ()


def _count(model: LoadedModel, prepared: Preprocessing) -> int:
    """Return the number of classes of a network, from its scores for a black picture."""
    weight = next((item for item in model.model.parameters() if item.is_floating_point()), torch.zeros(()))
    black = torch.zeros(1, len(prepared.mean), *prepared.size, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        return int(pick_scores(model.model(black), 1, model.output).shape[1])


def _described(model: LoadedModel) -> str:
    names = model.class_names
    return "which has no class names" if names is None else f"{len(names)}: {_some(names)}"


def _some(names: Collection[str]) -> str:
    first = ", ".join(list(names)[:SHOWN])
    return f"{first}, ..." if len(names) > SHOWN else first


def mixed_by_probability(
    model: LoadedModel, one: Float[torch.Tensor, "1 channels height width"], pairs: Mapping[str, Target]
) -> dict[str, Target]:
    """Return targets with classes weighted by probability: `y_k / sum over the category's classes`.

    `y` is the softmax of the scores, as in r-MWP. A score map is averaged over positions first.

    Args:
        model: the network. It runs once if a target has several classes.
        one: the network input, a batch of one picture.
        pairs: targets by query: a class, or weights of several classes.
    """
    mixed = {category: list(target) for category, target in pairs.items() if isinstance(target, Mapping)}
    if not mixed:
        return dict(pairs)
    (scores,) = probabilities(model, one, "score").double().cpu()
    weights = {category: scores[classes].softmax(0).tolist() for category, classes in mixed.items()}
    weighted = {category: dict(zip(mixed[category], weights[category], strict=True)) for category in mixed}
    return {category: weighted.get(category, target) for category, target in pairs.items()}


def probabilities(
    model: LoadedModel, inputs: Float[torch.Tensor, "image channels height width"], kind: Probability = "softmax"
) -> Float[torch.Tensor, "image classes"]:
    """Return the probability of every class. A score map is averaged over positions first.

    Args:
        model: the network. It runs without gradients.
        inputs: network inputs.
        kind: kind of the network's scores.

    Returns:
        Probabilities, 0 to 1, or the unchanged scores, depending on `kind`.
    """
    check_choice("probability", kind, get_args(Probability))
    with torch.no_grad():
        scores = pick_scores(model.model(inputs), len(inputs), model.output).float()
    flat = scores.flatten(2).mean(2) if scores.dim() > 2 else scores
    if kind == "softmax":
        return flat.softmax(1)
    return flat.sigmoid() if kind == "sigmoid" else flat
