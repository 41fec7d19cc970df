"""`Explainer`, the one way from a network, images and targets to an explanation, and its shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from .._checks import check_model
from ..core import (
    Explanation,
    Layer,
    OutputChoice,
    Settings,
    SpatialWeighting,
    Targets,
    make_request,
)
from ..engine import Images
from ..methods import find_method
from ..models import LoadedModel
from ._all_classes import Strategy, find_all_classes
from ._class_maps import ClassMaps
from ._cuda_graph import CudaGraph
from ._mass_balance import MassBalance, measure_balance
from ._pictures import Picture, explain_pictures, is_pictures, one_batch

Given = Images | Picture | Sequence[Picture]
"""A batch as the network takes it; or, for a loaded model, one picture or a list of them."""


class Explainer:
    """A network with all settings of its explanations: validate them once, explain any number of batches.

    Args:
        model: the network in evaluation mode, untouched by all calls.
        layer: where to take the maps (a name or module, see `Layer`); several give maps of each from one sweep. None
            given: the default of the loaded model, else the last layer at stride 16 that all evidence passes through;
            methods other than Excitation Backprop may choose otherwise.
        method: a name out of `list_methods()`: `"mwp"` (Eq. 2), `"c-mwp"` (Sec. 3.3: unit minus dual unit, formed at
            the last weighted layer), `"r-mwp"` (beyond the paper: all other classes are subtracted, each as probable
            as the network finds it), `"grad-cam"` and others.
        spatial: how a class's signal is spread over a score map, for networks that return one.
        class_names: for targets by name; the loaded model's if not given.
        output: which part of the network's output holds the class scores: key, index or function.
        constants: dotted names of constant tensors the network keeps outside parameters and buffers.
        **options: the method's own, as `list_methods()` has them. Those of MWP: `against`, a rival whose MWP is
            subtracted (a target, or a list of classes that count alike); `signed=True` keeps the negative values of a
            contrast, which are cut at zero otherwise (Sec. 3.3); `policies` for choices the paper leaves open.

    Raises:
        ExcitationError: a setting that makes no sense, or an option that the method does not have.
    """

    def __init__(
        self,
        model: torch.nn.Module | LoadedModel,
        *,
        layer: Layer | Sequence[Layer] | None = None,
        method: str = "mwp",
        spatial: SpatialWeighting = "response",
        class_names: Sequence[str] | None = None,
        output: OutputChoice = None,
        constants: Sequence[str] = (),
        **options: Any,
    ) -> None:
        check_model(model.model if isinstance(model, LoadedModel) else model)
        self.model = model
        self.settings = Settings(
            layer=layer,
            method=method,
            spatial=spatial,
            class_names=class_names,
            output=output,
            constants=constants,
            options=find_method(method).check_options(options),
        )

    def __call__(self, images: Given, targets: Targets) -> Explanation:
        """Attention maps: where the evidence for each target lies.

        Args:
            images: a tensor (image, channel, height, width) as the network takes it; a tuple or dictionary of tensors
                for a network with several inputs, `model(*images)` or `model(**images)` (`layer="input"` then gives
                maps of each, `input[0]` or `input[name]`). A loaded model, which knows its preprocessing, also takes a
                PIL picture, a path, an array (height, width, 3) of whole numbers from 0 to 255, or a list of these,
                whose sizes may differ; results are in the pixels of each picture.
            targets: what to look for. One target for all images; a list: **every target for every image**, also where
                the list is as long as the batch (Captum and torch-cam read it as one target per image); a tensor or
                array of whole numbers, one class per image; a list of lists, one list per image. `"top5"` are the five
                classes with the highest scores of each image. A target is a class index or name, weights by class, a
                top-down signal (a tensor over the network's outputs), or a function of the scores that gives one.

        Returns:
            Maps, scores and masses.

        Raises:
            ExcitationError: one of its kinds, with a sentence on what was wrong and what to do.

        Warns:
            BypassWarning: a layer is only one arm of the network.
            EmptyMapWarning: a map has next to no mass (at most 1e-6 of what its signal put in).
            MassLossWarning: more than half of the mass on top was lost on the way to a layer.

        Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, Sec. 3.
        """
        if is_pictures(images):
            return explain_pictures(self._tensors, self.model, images, targets)
        return self._tensors(images, targets)  # type: ignore[arg-type]

    def balance(self, images: Given, targets: Targets) -> MassBalance:
        """The balance of probability mass, operation by operation, from the top to one layer.

        Costs one sweep with all branches followed. What is lost is measured where it is lost, so that the balance can
        fail to close.

        Returns:
            In double precision; printing it gives a table.

        Raises:
            BalanceError: it does not close beyond rounding, at an operation or over all.
            ExcitationError: several layers, a method without mass; or as a call of the explainer.

        Warns:
            As a call of the explainer.
        """
        return measure_balance(self.model, one_batch(self.model, images), targets, self.settings)

    def all_classes(
        self,
        images: Given,
        *,
        dual: bool = True,
        strategy: Strategy | None = None,
        memory: int = 1 << 30,
    ) -> ClassMaps:
        """The maps of all classes, from which any target, mixture or contrast is a small product.

        Args:
            images: as a call of the explainer takes them, of one size.
            dual: whether c-MWP will be asked for.
            strategy: `"classes"`, `"features"` or `"positions"`; the one with fewest passes if not given.
            memory: bytes that the signals of one chunk may hold, beside the record, the normalisers and the result; an
                estimate.

        Raises:
            ExcitationError: as a call of the explainer; or the strategy does not apply, or `memory` is too small for
                one pass.

        Warns:
            BypassWarning: the layer is only one arm of the network.
        """
        return find_all_classes(
            self.model, one_batch(self.model, images), self.settings, dual=dual, strategy=strategy, memory=memory
        )

    def cuda_graph(self, images: torch.Tensor, targets: Targets) -> CudaGraph:
        """Record a call on a CUDA device, to be repeated for other images and targets without Python's part.

        Args:
            images: an example of the batches to come: their shape, precision and device are kept.
            targets: an example of the targets to come: classes or weights over classes, as many for each image.

        Returns:
            What takes further images and targets and gives what the explainer would.

        Raises:
            ExcitationError: as a call of the explainer; or targets are more than weights over classes, or differ in
                number; or the network makes the host wait for the device, which cannot be captured.
        """
        return CudaGraph(self.model, images, targets, self.settings)

    def _tensors(self, images: Images, targets: Targets) -> Explanation:
        method = find_method(self.settings.method)
        made = method.explain(make_request(self.model, images, targets, self.settings), self.settings.options)
        if not method.sweeps or len(made.by_layer) > 1:
            return made
        return replace(made, measure=lambda: self.balance(images, targets))

    def __repr__(self) -> str:
        """The network's name and the settings that are not the default."""
        name = self.model.spec if isinstance(self.model, LoadedModel) else type(self.model).__name__
        plain = Settings()
        changed = {
            item.name: getattr(self.settings, item.name)
            for item in fields(Settings)
            if item.name != "options" and getattr(self.settings, item.name) != getattr(plain, item.name)
        }
        shown = {**changed, **self.settings.options}
        return f"Explainer({', '.join([name, *(f'{key}={value!r}' for key, value in shown.items())])})"


def explain(
    model: torch.nn.Module | LoadedModel,
    images: Given,
    targets: Targets,
    *,
    layer: Layer | Sequence[Layer] | None = None,
    method: str = "mwp",
    **settings: Any,
) -> Explanation:
    """Attention maps of some images: `Explainer(model, ...)(images, targets)`.

    Args:
        model: the network in evaluation mode, or a loaded model.
        images: a batch as the network takes it, or pictures; as `Explainer.__call__` takes them.
        targets: what to look for; a list holds for **every** image, a tensor of whole numbers is one class per image.
        layer: where to take the maps; several give maps of each.
        method: `"mwp"`, `"c-mwp"`, `"r-mwp"` or another name out of `list_methods()`.
        **settings: all others of `Explainer`.

    Returns:
        Maps (`.maps`: image, target, height, width), scores and masses.

    Raises:
        ExcitationError: one of its kinds, with a sentence on what was wrong and what to do.

    Warns:
        As `Explainer.__call__`.
    """
    return Explainer(model, layer=layer, method=method, **settings)(images, targets)


def balance(model: torch.nn.Module | LoadedModel, images: Given, targets: Targets, **settings: Any) -> MassBalance:
    """The balance of probability mass on the way to one layer: `Explainer(model, ...).balance(images, targets)`."""
    return Explainer(model, **settings).balance(images, targets)


def all_classes(
    model: torch.nn.Module | LoadedModel,
    images: Given,
    *,
    dual: bool = True,
    strategy: Strategy | None = None,
    memory: int = 1 << 30,
    **settings: Any,
) -> ClassMaps:
    """The maps of all classes: `Explainer(model, ...).all_classes(images)`."""
    return Explainer(model, **settings).all_classes(images, dual=dual, strategy=strategy, memory=memory)


def cuda_graph(
    model: torch.nn.Module | LoadedModel, images: torch.Tensor, targets: Targets, **settings: Any
) -> CudaGraph:
    """A call of `explain` recorded as a CUDA graph: `Explainer(model, ...).cuda_graph(images, targets)`."""
    return Explainer(model, **settings).cuda_graph(images, targets)
