"""Which of a network's classes a data set's category is, and how sure the network is of them."""

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
"""Categories that a message names."""

BUNDLED = "categories by the bundled mapping to ImageNet's classes"
ASSUMED = f"the network's {CLASSES} classes, which have no names, were taken for ImageNet's"


FindClasses = Callable[[str], tuple[int, ...]]
"""From a category to its classes; none if it is unknown."""

Probability = Literal["softmax", "sigmoid", "score"]
"""What class scores are: logits of one class among all, logits of each class by itself, or taken as they are."""

Mixture = Literal["equal", "probability"]
"""The parts of a category's classes in its target: equal, or by the network's probabilities in the picture."""


@dataclass(frozen=True)
class Classes:
    """The classes of each category.

    Attributes:
        find: from a category to its classes; none if it is unknown.
        told: what a table must say of where they come from; nothing if the caller or the data set said them, or if
            category and class have the same name.
    """

    find: FindClasses
    told: str = ""

    def __call__(self, category: str) -> tuple[int, ...]:
        """The classes of a category; none if it is unknown."""
        return self.find(category)


def classes_of(
    model: LoadedModel, data: AnnotatedImages, mapping: Mapping[str, Collection[int]] | None, prepared: Preprocessing
) -> Classes:
    """The classes of a data set's categories, by the first of these that there is.

    The caller's mapping; the classes that the data set's own files give; for networks of ImageNet, the class of a
    WordNet id and the bundled table for categories of COCO and VOC (`data._imagenet_classes`); the data set's own order
    of classes, if the network has as many; the class of the same name.

    A network is one of ImageNet if its class names are (`are_imagenet_names`), or if it has 1000 classes and no names;
    the latter is told.

    Args:
        model: the network.
        data: the data set.
        mapping: classes by category, if the caller gave them.
        prepared: from a picture to the network's input, at whose size a network without names is asked for the number
            of its classes.

    Raises:
        ExcitationError: no category has a class.
    """
    found = _classes_of(model, data, mapping, prepared)
    categories = data.categories
    if categories and not any(found(category) for category in categories):
        raise ExcitationError(
            f"none of the {len(categories)} categories of {data.name} ({_some(categories)}) is a class of the network"
            f" ({_described(model)}); say which classes each category stands for, with --mapping FILE (in Python:"
            ' mapping=), such as {"dog": [151, 152]}.'
        )
    return found


def _classes_of(
    model: LoadedModel, data: AnnotatedImages, mapping: Mapping[str, Collection[int]] | None, prepared: Preprocessing
) -> Classes:
    if mapping is not None:
        return Classes(lambda category: tuple(mapping.get(category, ())))
    if data.classes:
        return Classes(lambda category: tuple(data.classes.get(category, ())))
    names = model.class_names
    count = _count(model, prepared) if names is None else len(names)
    by_order = {category: (place,) for place, category in enumerate(data.order)} if len(data.order) == count else {}

    def own(category: str) -> tuple[int, ...]:
        return by_order.get(category) or _by_name(category, model)

    known = [category for category in data.categories if classes_of_category(category)]
    if not known or not (count == CLASSES if names is None else are_imagenet_names(names)):
        return Classes(own)
    # A WordNet id is a class; which classes a word stands for is this project's reading.
    told = [BUNDLED] if any(category in CATEGORIES for category in known) else []
    told += [ASSUMED] if names is None else []
    return Classes(lambda category: classes_of_category(category) or own(category), "; ".join(told))


def _by_name(category: str, model: LoadedModel) -> tuple[int, ...]:
    names = model.class_names
    if names is None:
        return ()
    try:
        return (class_index(category, len(names), names),)
    except TargetError:
        return ()


def _count(model: LoadedModel, prepared: Preprocessing) -> int:
    """The number of a network's classes, from its scores of a black picture."""
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
