"""The maps of all classes for a batch of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float

from .._checks import check_choice
from .._errors import ExcitationError, TargetError
from .._precision import own_precision
from ..core import Against, Target, class_weights, plain, read_against, read_targets, rivals_weights
from ..methods import find_method

METHODS = ("mwp", "c-mwp", "r-mwp")
"""Methods whose maps are products of class weights with the maps of all classes."""


@dataclass(frozen=True, eq=False)
class ClassMaps:
    """Attention maps of every class, the result of `all_classes`.

    Attributes:
        layer: name of the layer of the maps.
        classes: MWP of each class, `(image, class, height, width)`, in units of mass.
        contrasts: signed c-MWP of each class, with negative values; `None` if not requested.
        scores: the class scores, averaged over positions, `(image, class)`.
        strategy: the strategy that computed the maps.
        method: the default method of `maps`.
        class_names: names for targets given by name.
        masses: mass of the signal of each class on a score map, `(image, class)`: one, or zero for a class without a
            response. `None` if all masses are one.
    """

    layer: str
    classes: Float[torch.Tensor, "image class *space"]
    contrasts: Float[torch.Tensor, "image class *space"] | None
    scores: Float[torch.Tensor, "image class"]
    strategy: str
    method: str = "mwp"
    class_names: tuple[str, ...] | None = None
    masses: Float[torch.Tensor, "image class"] | None = None

    def maps(
        self,
        targets: Target | Sequence[Target],
        *,
        method: str | None = None,
        against: Against = None,
        signed: bool = False,
    ) -> Float[torch.Tensor, "image target *space"]:
        """Maps of targets: products of target weights over classes with the maps of the classes.

        Args:
            targets: classes by index or name, weights by class, or tensors `(classes,)` or `(image, classes)`; a single
                target or a list.
            method: `"mwp"`, `"c-mwp"` or `"r-mwp"`; the default method of this object if not given.
            against: for MWP, the target or list of classes whose MWP is subtracted.
            signed: whether to keep negative values of a contrast.

        Returns:
            `(image, target, height, width)`: the result of `explain` for the same images, layer and targets.

        Raises:
            TargetError: an unknown class, or a signal that is not a weighting of classes.
            ExcitationError: an unsupported method, or the maps of the dual were not computed.
        """
        name = self.method if method is None else find_method(method).name
        check_choice("method", name, METHODS)
        if against is not None and name != "mwp":
            raise ExcitationError(f"against= goes with method='mwp'; {name!r} has a rival of its own.")
        items = read_targets(targets, 1)[0]
        weights = torch.stack([self._weights(item) for item in items], 1)
        source = self.classes
        if name == "c-mwp":
            if self.contrasts is None:
                raise ExcitationError("these maps were made with dual=False; make them with dual=True for c-MWP.")
            source = self.contrasts
        elif name == "r-mwp":
            masses = torch.ones_like(self.scores) if self.masses is None else self.masses
            weights = rivals_weights(weights.transpose(0, 1) > 0, self.scores, masses).transpose(0, 1)
        elif against is not None:
            weights = weights - read_against(against, self._weights)[:, None]
        with own_precision(source):
            maps = torch.bmm(weights, source.flatten(2)).reshape(*weights.shape[:2], *source.shape[2:])
        contrasted = name != "mwp" or against is not None
        return maps.clamp(min=0) if contrasted and not signed else maps

    def __repr__(self) -> str:
        """Summarise the numbers of classes and images, the layer and the strategy."""
        images, classes, *space = self.classes.shape
        dual = "MWP" if self.contrasts is None else "MWP and c-MWP"
        return (
            f"ClassMaps({dual} of {images} image{'s' * (images != 1)} x {classes} classes at {self.layer}"
            f" {' x '.join(map(str, space))}, found by {self.strategy})"
        )

    def _weights(self, target: Target) -> Float[torch.Tensor, "image class"]:
        """Convert a target to weights over classes for each image."""
        count, target = self.scores.shape[1], plain(target)
        if callable(target) and not isinstance(target, torch.Tensor):
            target = target(self.scores)
        if isinstance(target, torch.Tensor):
            weights = target.detach().to(self.scores)
            if weights.shape not in {torch.Size([count]), self.scores.shape}:
                raise TargetError(
                    f"a signal of shape {tuple(weights.shape)} does not fit {count} classes; give one of shape"
                    f" ({count},) or {tuple(self.scores.shape)}, or ask `explain`."
                )
        else:
            weights = class_weights(target, count, self.class_names).to(self.scores)
        return weights.expand(self.scores.shape)
