"""The maps of all classes of some images, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float

from ._errors import ExcitationError, TargetError
from ._explain import Contrast
from ._precision import own_precision
from .signals import Target, class_weights, plain, read_contrast, rivals_weights


@dataclass(frozen=True, eq=False)
class ClassMaps:
    """Attention maps of every class, as `precompute` gives them.

    Attributes:
        layer: where the maps were taken.
        classes: MWP of each class: `(image, class, height, width)`; mass.
        contrasts: signed c-MWP of each class, not cut at zero; `None` if it was not asked for.
        scores: the network's class scores (averaged over positions).
        way: how they were found.
        class_names: for targets by name.
        masses: of each class's signal on a score map: one, or zero where the class answers nowhere; `None` if all are
            one.
    """

    layer: str
    classes: Float[torch.Tensor, "image class *space"]
    contrasts: Float[torch.Tensor, "image class *space"] | None
    scores: Float[torch.Tensor, "image class"]
    way: str
    class_names: tuple[str, ...] | None = None
    masses: Float[torch.Tensor, "image class"] | None = None

    def maps(
        self, targets: Target | Sequence[Target], *, contrast: Contrast = None, signed: bool = False
    ) -> Float[torch.Tensor, "image target *space"]:
        """Maps of targets: products of their weights over classes with the classes' maps.

        Args:
            targets: classes by index or name, weights by class, or tensors `(classes,)` or `(image, classes)`; one, or
                a list.
            contrast: `None`, `"dual"`, `"rivals"`, another target, or a list of classes, as in `explain`.
            signed: keep negative values of a contrast.

        Returns:
            What `explain` gives for the same images, layer and targets.

        Raises:
            TargetError: no such class, or a signal that is no weighting of classes.
            ExcitationError: the dual was not precomputed.
        """
        several = isinstance(targets, (list, tuple, range))
        items: list[Target] = list(targets) if several else [targets]  # type: ignore[arg-type, list-item]
        if not items:
            raise TargetError("an empty list of targets was given; name at least one.")
        weights = torch.stack([self._weights(item) for item in items], 1)
        source = self.classes
        if isinstance(contrast, str) and contrast == "dual":
            if self.contrasts is None:
                raise ExcitationError("these maps were precomputed with dual=False; precompute them with dual=True.")
            source = self.contrasts
        elif isinstance(contrast, str) and contrast == "rivals":
            masses = torch.ones_like(self.scores) if self.masses is None else self.masses
            weights = rivals_weights(weights.transpose(0, 1) > 0, self.scores, masses).transpose(0, 1)
        elif contrast is not None:
            weights = weights - read_contrast(contrast, self._weights)[:, None]
        with own_precision(source):
            found = torch.bmm(weights, source.flatten(2)).reshape(*weights.shape[:2], *source.shape[2:])
        return found if contrast is None or signed else found.clamp(min=0)

    def _weights(self, target: Target) -> Float[torch.Tensor, "image class"]:
        """A target as weights over classes, for each image."""
        count, target = self.scores.shape[1], plain(target)
        if callable(target) and not isinstance(target, torch.Tensor):
            target = target(self.scores)
        if isinstance(target, torch.Tensor):
            weights = target.detach().to(self.scores)
            if weights.shape not in {torch.Size([count]), self.scores.shape}:
                raise TargetError(
                    f"a signal of shape {tuple(weights.shape)} is no weighting of {count} classes; give one of shape"
                    f" ({count},) or {tuple(self.scores.shape)}, or ask `explain`."
                )
        else:
            weights = class_weights(target, count, self.class_names).to(self.scores)
        return weights.expand(self.scores.shape)
