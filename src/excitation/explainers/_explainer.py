"""`Explainer`, which computes explanations from a network, images and targets, and its shortcuts."""

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
    Picture,
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
from ._pictures import explain_pictures, is_pictures, one_batch

Given = Images | Picture | Sequence[Picture]
"""A batch in the format that the network takes; for a loaded model also one picture or a list of pictures."""


class Explainer:
    """A network with all settings of its explanations: validated once, applied to any number of batches.

    Args:
        model: the network in evaluation mode; no call changes it.
        layer: layer of the maps (a name or module, see `Layer`). Several layers get their maps from one sweep. The
            default is the layer of the loaded model, else the last layer at stride 16 that every path passes through,
            without class or register tokens. Methods other than Excitation Backprop can have other defaults.
        method: a name from `list_methods()`: `"mwp"` (Eq. 2); `"c-mwp"` (Sec. 3.3: unit minus dual unit, formed at the
            last weighted layer); `"r-mwp"` (beyond the paper: subtracts all other classes, weighted by their predicted
            probability); `"grad-cam"` and others.
        spatial: how the signal of a class is distributed over a score map, for networks that return one.
        class_names: names for targets given by name; those of the loaded model if not given.
        output: which part of the network output holds the class scores: key, index or function.
        constants: dotted names of constant tensors that are neither parameters nor buffers.
        **options: options of the method, as listed by `list_methods()`. Options of MWP: `against`, a rival whose MWP is
            subtracted (a target, or a list of classes with equal weights); `signed=True` keeps the negative values of a
            contrast, which are set to zero by default (Sec. 3.3); `policies` for choices that the paper leaves open.

    Raises:
        ExcitationError: an invalid setting, or an option that the method does not have.
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
        """Compute attention maps, which show the location of the evidence for each target.

        Args:
            images: a tensor `(image, channel, height, width)` as the network takes it. For a network with several
                inputs, a tuple or dictionary of tensors, passed as `model(*images)` or `model(**images)`;
                `layer="input"` then gives maps of each input, `input[0]` or `input[name]` of one. A loaded model, which
                includes its preprocessing, also takes a PIL picture, a path, an array `(height, width, 3)` of integers
                from 0 to 255, or a list of these with equal or different sizes; results are in pixels of each picture.
            targets: what to explain. One target applies to all images. In a list, **every target applies to every
                image**, even if the list is as long as the batch (Captum and torch-cam interpret it as one target per
                image). An integer tensor or array gives one class per image. A list of lists gives one list per image.
                `"top5"` selects the five classes with the highest scores of each image. A target is a class index or
                name, weights by class, a top-down signal (a tensor over the network outputs), or a function from the
                scores to a signal.

        Returns:
            Maps, scores and masses.

        Raises:
            ExcitationError: an invalid argument or an unsupported network; the message states the problem and a remedy.

        Warns:
            BypassWarning: some paths bypass a layer.
            EmptyMapWarning: a map has almost no mass (at most 1e-6 of the mass of its signal).
            MassLossWarning: more than half of the mass on top was lost above a layer.

        Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, Sec. 3.
        """
        if is_pictures(images):
            return explain_pictures(self._tensors, self.model, images, targets)
        return self._tensors(images, targets)  # type: ignore[arg-type]

    def balance(self, images: Given, targets: Targets) -> MassBalance:
        """The balance of probability mass, operation by operation, from the top to one layer.

        This costs one sweep through all branches. Losses are measured at the operations where they occur, so the
        balance is an independent check and can fail.

        Returns:
            The balance in double precision; printing it gives a table.

        Raises:
            BalanceError: the balance does not close within rounding, at an operation or in total.
            ExcitationError: several layers, or a method without mass; or an error of `__call__`.

        Warns:
            The warnings of `__call__`.
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
        """Compute the maps of all classes. Any target, mixture or contrast is then a small matrix product.

        Args:
            images: images as `__call__` takes them, all of the same size.
            dual: whether to compute the maps needed for c-MWP.
            strategy: `"classes"`, `"features"` or `"positions"`; the one with the fewest passes if not given.
            memory: maximum size of the signals of one chunk in bytes; an estimate. The record, the normalisers and the
                result need additional memory.

        Returns:
            The maps of all classes.

        Raises:
            ExcitationError: an error of `__call__`; or the strategy does not apply, or `memory` is too small for one
                pass.

        Warns:
            BypassWarning: some paths bypass the layer.
        """
        return find_all_classes(
            self.model, one_batch(self.model, images), self.settings, dual=dual, strategy=strategy, memory=memory
        )

    def cuda_graph(self, images: torch.Tensor, targets: Targets) -> CudaGraph:
        """Capture a call on a CUDA device. Replays for other images and targets have no Python overhead.

        Args:
            images: an example batch; it fixes the shape, precision and device.
            targets: example targets, as classes or weights over classes; they fix the number of targets per image.

        Returns:
            A callable that takes images and targets and returns the same result as the explainer.

        Raises:
            ExcitationError: an error of `__call__`; or targets that are not weights over classes, or that differ in
                number between images; or a network that makes the host wait for the device, which cannot be captured.
        """
        return CudaGraph(self.model, images, targets, self.settings)

    def _tensors(self, images: Images, targets: Targets) -> Explanation:
        method = find_method(self.settings.method)
        made = method.explain(make_request(self.model, images, targets, self.settings), self.settings.options)
        if not method.sweeps or len(made.by_layer) > 1:
            return made
        return replace(made, measure=lambda: self.balance(images, targets))

    def __repr__(self) -> str:
        """The name of the network and all settings that differ from their defaults."""
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
    """Compute attention maps of a batch of images: `Explainer(model, ...)(images, targets)`.

    Args:
        model: the network in evaluation mode, or a loaded model.
        images: a batch in the format that the network takes, or pictures, as in `Explainer.__call__`.
        targets: what to explain. A list applies to **every** image; an integer tensor gives one class per image.
        layer: layer of the maps; several give maps of each.
        method: `"mwp"`, `"c-mwp"`, `"r-mwp"` or another name from `list_methods()`.
        **settings: the other settings of `Explainer`.

    Returns:
        Maps (`.maps`: `(image, target, height, width)`), scores and masses.

    Raises:
        ExcitationError: an invalid argument or an unsupported network; the message states the problem and a remedy.

    Warns:
        The warnings of `Explainer.__call__`.
    """
    return Explainer(model, layer=layer, method=method, **settings)(images, targets)


def balance(model: torch.nn.Module | LoadedModel, images: Given, targets: Targets, **settings: Any) -> MassBalance:
    """The balance of probability mass from the top to one layer: `Explainer(model, ...).balance(images, targets)`."""
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
    """Capture a call of `explain` as a CUDA graph: `Explainer(model, ...).cuda_graph(images, targets)`."""
    return Explainer(model, **settings).cuda_graph(images, targets)
