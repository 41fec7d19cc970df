"""Models from a Python factory and a file of weights: `package.module:factory@weights.safetensors`."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from ._loaded import LoadedModel, ModelError
from .sources import fit_weights, read_weights

FORM = "package.module:factory[@weights.safetensors]"


def load_factory(spec: str) -> LoadedModel:
    """Call a factory without arguments and load weights into its result.

    This imports the module and runs its code. It is the only way of loading a model that runs code from the spec.
    Accept such specs only from trusted sources.

    Args:
        spec: `package.module:factory` or `package.module:factory@weights.safetensors`. The factory returns a module or
            a `LoadedModel`; a `LoadedModel` defines the preprocessing and the class names. The file must contain every
            weight with the right shape.

    Returns:
        The model in evaluation mode. A plain module gets the default preprocessing: shortest side 224, values in
        [0, 1], no mean subtracted.

    Raises:
        ModelError: the module or factory is missing or fails, returns another type, or the weights do not match.
    """
    place, _, weights = spec.partition("@")
    module, _, name = place.partition(":")
    if not module or not name:
        raise ModelError(f"model {spec!r} does not name a factory; expected {FORM}.")
    made = _call(module, name)
    model = made.model if isinstance(made, LoadedModel) else made
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"{place} returned {type(model).__name__}; it must return a torch.nn.Module or a LoadedModel.")
    if weights:
        fit_weights(model, read_weights(Path(weights)), Path(weights))
    model.eval()
    return made if isinstance(made, LoadedModel) else LoadedModel(model, spec)


def weights_file(spec: str) -> Path | None:
    """The weights file in a spec, or `None`."""
    _, _, weights = spec.partition("@")
    return Path(weights) if weights else None


def _call(module: str, name: str) -> object:
    try:
        item = importlib.import_module(module)
    except ImportError as error:
        raise ModelError(f"module {module!r} cannot be imported: {error}.") from error
    factory = getattr(item, name, None)
    if factory is None:
        raise ModelError(f"module {module!r} has no {name!r}; expected {FORM}.")
    if not callable(factory):
        raise ModelError(
            f"{module}:{name} is of type {type(factory).__name__}; it must be a function without arguments."
        )
    try:
        return factory()
    except Exception as error:
        raise ModelError(f"{module}:{name}() failed: {type(error).__name__}: {error}") from error
