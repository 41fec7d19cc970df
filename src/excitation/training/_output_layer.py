"""Replaces the output layer of a classifier, and selects the layers to train."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float

from ..models._loaded import LoadedModel
from ..models.sources._weights import last_weighted
from ._options import TrainingError

SPREAD = 0.01
"""Standard deviation of new weights."""


def with_classes(
    loaded: LoadedModel, classes: Sequence[str], shares: Float[np.ndarray, " class"], seed: int = 0
) -> LoadedModel:
    """Give a classifier a new output layer for other classes.

    New weights are normally distributed with a standard deviation of 0.01. New biases are the log-odds of each class,
    so that the initial loss is that of the best constant prediction.

    Args:
        loaded: the classifier. Its network is changed in place.
        classes: names of the new classes.
        shares: fraction of the training examples that contain each class, 0 to 1.
        seed: seed of the weights.

    Returns:
        The same network with the names of the new classes.

    Raises:
        TrainingError: the layer that computes the scores is unknown, or a function after it prevents negative logits.
    """
    layer = output_layer(loaded)
    module = loaded.model.get_submodule(layer)
    weight = module.get_parameter("weight")
    generator = torch.Generator().manual_seed(seed)
    fresh = SPREAD * torch.randn(len(classes), *weight.shape[1:], generator=generator)
    bounded = np.clip(shares, 1e-4, 1 - 1e-4)
    bias = torch.from_numpy(np.log(bounded / (1 - bounded))).float()
    module.weight = torch.nn.Parameter(fresh.to(weight.dtype))
    module.bias = torch.nn.Parameter(bias.to(weight.dtype))
    for name in ("out_features", "out_channels"):
        if hasattr(module, name):
            setattr(module, name, len(classes))
    changed = dataclasses.replace(loaded, class_names=tuple(classes), classifier_layer=layer)
    _check_logits(changed, module, len(classes))
    return changed


def output_layer(loaded: LoadedModel) -> str:
    """Return the name of the layer that computes the class scores.

    Raises:
        TrainingError: the layer is unknown, or it is neither a linear layer nor a plain convolution.
    """
    layer = loaded.classifier_layer or last_weighted(loaded.model)
    if layer is None:
        raise TrainingError("the network has no linear layer or convolution that can be its output layer.")
    module = loaded.model.get_submodule(layer)
    if not isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) or getattr(module, "groups", 1) != 1:
        raise TrainingError(
            f"the layer {layer!r} that makes the class scores is of type {type(module).__name__}; a linear layer or a"
            " convolution without groups can be exchanged."
        )
    return layer


def choose_layers(model: torch.nn.Module, layers: Sequence[str]) -> None:
    """Enable gradients for the parameters of some modules and their submodules only.

    Args:
        model: the network.
        layers: names of modules; `"all"` for the whole network.

    Raises:
        TrainingError: a name is not the name of a module, or the module has no parameters.
    """
    known = dict(model.named_modules())
    for item in model.parameters():
        item.requires_grad_("all" in layers)
    for name in layers:
        if name == "all":
            continue
        if name not in known:
            raise TrainingError(f"the network has no layer {name!r}; `excitation layers` shows them.")
        own = list(known[name].parameters())
        if not own:
            raise TrainingError(f"layer {name!r} has no parameters to train.")
        for item in own:
            item.requires_grad_(True)


class _StopError(Exception):
    """Ends the forward pass when the features have been computed."""


@contextmanager
def _caught(module: torch.nn.Module, stop: bool) -> Iterator[list[torch.Tensor]]:
    """Context manager that collects the inputs of a module."""
    found: list[torch.Tensor] = []

    def take(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        found.append(inputs[0].detach())
        if stop:
            raise _StopError

    handle = module.register_forward_pre_hook(take)
    try:
        yield found
    finally:
        handle.remove()


def features(loaded: LoadedModel, images: torch.Tensor) -> torch.Tensor:
    """Return the inputs of the output layer, without gradients."""
    module = loaded.model.get_submodule(output_layer(loaded))
    with torch.no_grad(), _caught(module, stop=True) as found:
        try:
            loaded.model(images)
        except _StopError:
            return found[0]
    raise TrainingError("the forward pass does not use the output layer.")


def is_last(loaded: LoadedModel, images: torch.Tensor) -> bool:
    """Whether the results of the output layer are the scores of the network, apart from their shape."""
    module = loaded.model.get_submodule(output_layer(loaded))
    with torch.no_grad():
        own = module(features(loaded, images))
        scores = scores_of(loaded, loaded.model(images))
    return own.numel() == scores.numel() and torch.equal(own.flatten(), scores.flatten())


def scores_of(loaded: LoadedModel, found: object) -> torch.Tensor:
    """Return the tensor of class scores in the output of a network.

    Raises:
        TrainingError: the output contains no class scores.
    """
    if callable(loaded.output):
        found = loaded.output(found)
    elif isinstance(loaded.output, str):
        found = found[loaded.output] if isinstance(found, dict) else getattr(found, loaded.output)
    elif loaded.output is not None:
        found = found[loaded.output]  # type: ignore[index]
    if not isinstance(found, torch.Tensor):
        raise TrainingError("the network must return one tensor of class scores.")
    return found


class Scores(torch.nn.Module):
    """A module that returns the logits of a network, `(example, class)`.

    Args:
        loaded: the network, and the location of its scores.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__()
        self.model = loaded.model
        self._loaded = (loaded,)  # not a part of this module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits, `(example, class)`."""
        return scores_of(self._loaded[0], self.model(images))


def _check_logits(loaded: LoadedModel, module: torch.nn.Module, count: int) -> None:
    """Refuse a network without negative scores, because it cannot predict that a class is absent."""
    height, width = loaded.preprocessing.size
    channels = 1 if loaded.preprocessing.channels == "L" else 3
    bias = module.get_parameter("bias")
    kept = bias.detach().clone()
    training = loaded.model.training
    loaded.model.eval()
    with torch.no_grad():
        bias.fill_(-20.0)
        scores = scores_of(loaded, loaded.model(torch.zeros(1, channels, height, width)))
        bias.copy_(kept)
    loaded.model.train(training)
    if scores.dim() < 2 or scores.shape[1] != count or scores[0, 0].numel() != 1:
        raise TrainingError(
            f"the network gives scores of shape {tuple(scores.shape)} with a layer of {count} classes; one score for"
            " each image and class is expected."
        )
    if scores.max() > -5:
        raise TrainingError(
            "the network's scores pass a ReLU or softmax after their layer and cannot be logits; for one that"
            " classifies before it pools, pool-first:SPEC puts the layer last."
        )
