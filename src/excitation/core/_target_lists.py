"""Targets of a batch: the targets of each image, converted to signals, weights, scores and labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int

from .._errors import TargetError
from ._targets import SpatialWeighting, Target, plain, top_down_signal

Targets: TypeAlias = (
    Target | Sequence[Target] | Sequence[Sequence[Target]] | Int[torch.Tensor, " image"] | Int[np.ndarray, " image"]
)
"""One target; a list of targets, applied to every image; a list of lists, one per image; or an integer tensor or array
with one class per image. A plain list never means one class per image. `"top5"` selects the five classes with the
highest scores of each image."""

_TOP = re.compile(r"top([1-9]\d*)")


@dataclass(frozen=True)
class TopClass:
    """The class with the `rank`-th highest score of each image.

    Attributes:
        rank: 0 for the highest score.
        most: number of such classes in the target list, for error messages.
    """

    rank: int
    most: int

    def indices(self, scores: Float[torch.Tensor, "image classes *space"]) -> Int[torch.Tensor, " image"]:
        """The class index of each image.

        Raises:
            TargetError: the network has too few classes.
        """
        means = scores.flatten(2).mean(2) if scores.dim() > 2 else scores
        if self.most > means.shape[1]:
            raise TargetError(
                f"target 'top{self.most}' needs at least as many classes; this network has {means.shape[1]}."
            )
        return torch.sort(means, dim=1, descending=True, stable=True).indices[:, self.rank]

    def __call__(self, scores: Float[torch.Tensor, "image classes *space"]) -> Float[torch.Tensor, "image classes"]:
        """The class of each image as weights over classes (one-hot)."""
        return torch.zeros_like(scores.flatten(2)[..., 0] if scores.dim() > 2 else scores).scatter_(
            1, self.indices(scores)[:, None], 1
        )


def read_targets(targets: Any, images: int) -> list[list[Target]]:
    """Read the targets of each image.

    Args:
        targets: targets in a format described at `Targets`.
        images: number of images.

    Returns:
        One list per image. All images share the same list object if they have the same targets.

    Raises:
        TargetError: no target, or lists that do not match the number of images.
    """
    classes = _one_each(targets, images)
    if classes is not None:
        return [[item] for item in classes]
    if isinstance(targets, (str, Integral, Mapping, torch.Tensor)) or callable(targets):
        targets = [targets]
    targets = list(targets) if isinstance(targets, range) else targets
    if not isinstance(targets, (list, tuple)) or not targets:
        raise TargetError(f"targets are {targets!r}; give a list of at least one class, name, weights or signal.")
    nested = [isinstance(item, (list, tuple)) for item in targets]
    if not any(nested):
        return [_expanded(targets)] * images
    if not all(nested) or len(targets) != images:
        raise TargetError(
            f"targets are given one list per image, but there are {len(targets)} entries, {sum(nested)} of them lists,"
            f" for {images} images."
        )
    if not all(targets):
        empty = [i for i, item in enumerate(targets) if not item]
        raise TargetError(f"image {empty[0]} has an empty list of targets; leave the image out or name a target.")
    return [_expanded(item) for item in targets]


def _one_each(targets: Any, images: int) -> list[int] | None:
    """Read classes given as a tensor or array, one per image; `None` if `targets` is neither."""
    if isinstance(targets, torch.Tensor):
        whole = not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)
    else:
        whole = isinstance(targets, np.ndarray) and targets.dtype.kind in "iu"
    if not whole or targets.ndim != 1:
        return None
    if len(targets) != images:
        raise TargetError(
            f"targets are a {type(targets).__name__} of {len(targets)} classes, one for each image, but there are"
            f" {images} images; for all classes of every image give targets.tolist()."
        )
    return [int(item) for item in targets.tolist()]


def _expanded(targets: Sequence[Target]) -> list[Target]:
    """Replace `"top5"` in a list of targets by five `TopClass` targets."""
    expanded: list[Target] = []
    for target in targets:
        top = _TOP.fullmatch(target) if isinstance(target, str) else None
        expanded.extend([target] if top is None else [TopClass(rank, int(top[1])) for rank in range(int(top[1]))])
    return expanded


def has_function(item: object) -> bool:
    """Whether a target, or any target in a list, is a function of the scores."""
    if isinstance(item, (list, tuple)):
        return any(has_function(part) for part in item)
    top = isinstance(item, str) and _TOP.fullmatch(item) is not None
    return top or (callable(item) and not isinstance(item, torch.Tensor))


def priors(
    per_image: list[list[Target]],
    scores: Float[torch.Tensor, "image classes *space"],
    class_names: Sequence[str] | None,
    spatial: SpatialWeighting,
) -> Float[torch.Tensor, "target image classes *space"]:
    """The top-down signal of each target. Images with fewer targets are padded with zeros."""
    if all(item is per_image[0] for item in per_image):
        each = [top_down_signal(t, scores, class_names=class_names, spatial=spatial) for t in per_image[0]]
        return torch.stack(each)
    whole = scores.new_zeros((max(map(len, per_image)), *scores.shape))
    for i, items in enumerate(per_image):
        for k, item in enumerate(items):
            one = top_down_signal(item, scores[i : i + 1], class_names=class_names, spatial=spatial)
            whole[k, i] = one[0]
    return whole


def weights_over_classes(
    per_image: list[list[Target]],
    scores: Float[torch.Tensor, "image classes *space"],
    class_names: Sequence[str] | None,
) -> Float[torch.Tensor, "target image classes"]:
    """The weight of each class in each target, independent of the response of the class."""
    # With a softmax over positions, the weights of a class sum to the weight of the class.
    weights = priors(per_image, scores, class_names, "softmax")
    return weights.flatten(3).sum(3) if weights.dim() > 3 else weights


def target_scores(
    per_image: list[list[Target]],
    scores: Float[torch.Tensor, "image classes *space"],
    class_names: Sequence[str] | None,
) -> Float[torch.Tensor, "image target"]:
    """The score of each target: target weights times class scores, averaged over the positions of a score map."""
    flat = scores.flatten(2).mean(2) if scores.dim() > 2 else scores
    weights = priors(per_image, scores, class_names, "response")
    weights = weights.flatten(3).sum(3) if weights.dim() > 3 else weights
    return (weights * flat).sum(2).transpose(0, 1)


def target_labels(
    per_image: Sequence[Sequence[Target]],
    scores: Float[torch.Tensor, "image classes *space"],
    class_names: Sequence[str] | None,
) -> tuple[tuple[str, ...], ...]:
    """Human-readable labels of the targets of each image."""
    return tuple(
        tuple(
            _label(int(item.indices(scores[i : i + 1])[0]) if isinstance(item, TopClass) else item, class_names)
            for item in items
        )
        for i, items in enumerate(per_image)
    )


def _label(target: Any, class_names: Sequence[str] | None) -> str:
    target = plain(target)
    if isinstance(target, str):
        return target
    if isinstance(target, int):
        known = class_names is not None and 0 <= target < len(class_names)
        return class_names[target].partition(",")[0] if known and class_names is not None else f"class {target}"
    if isinstance(target, Mapping):
        return " + ".join(f"{weight:g} {_label(name, class_names)}" for name, weight in target.items())
    if isinstance(target, torch.Tensor):
        return "signal"
    return getattr(target, "__name__", type(target).__name__)
