"""The trained classifiers that come with the package: `--model symbols`, `symbols:resnet`, `symbols:tags`."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import safetensors
import safetensors.torch
from torch import nn

from ...data.symbols import COLOUR_NAMES, SYMBOL_NAMES
from .._loaded import LoadedModel, ModelError, Preprocessing
from ._architecture import SymbolNet, SymbolResNet

CLASS_NAMES = (*SYMBOL_NAMES, *COLOUR_NAMES)
"""The outputs of the first two: forty symbols, then eight colours."""

PREPROCESSING = Preprocessing(size=(160, 160), scale=1 / 127.5, mean=(1.0, 1.0, 1.0))
"""Pictures keep their size up to a shortest side of 160 pixels, on which the networks were trained."""


NETWORKS: dict[str, tuple[Callable[[int], nn.Module], str, str]] = {
    "": (SymbolNet, "googlenet.safetensors", "inception_3b"),
    "tags": (SymbolNet, "tags.safetensors", "inception_3b"),
    "resnet": (SymbolResNet, "resnet.safetensors", "layer2"),
}
"""By what follows `symbols:` in a spec: network, weights beside this file, and the layer maps are taken at."""


def load_symbols(rest: str = "") -> LoadedModel:
    """One of the symbol world's networks with its trained weights; no download.

    Args:
        rest: what follows `symbols:` in a spec: nothing for the small GoogLeNet, `resnet` for the residual network,
            `tags` for the GoogLeNet fine-tuned on noisy tags, whose classes are words.

    Returns:
        Scores are logits. Pictures are prepared as `PREPROCESSING` says.

    Raises:
        ModelError: there is no such network.
    """
    if rest not in NETWORKS:
        raise ModelError(
            f"model 'symbols:{rest}' is not understood; it is 'symbols' or 'symbols:resnet' or 'symbols:tags'."
        )
    make, weights, layer = NETWORKS[rest]
    with as_file(files(__package__) / weights) as path:
        names = _stored_names(path) if rest == "tags" else CLASS_NAMES
        model = make(len(names))
        safetensors.torch.load_model(model, path, strict=True)
    model.eval()
    spec = f"symbols:{rest}" if rest else "symbols"
    return LoadedModel(model, spec, PREPROCESSING, names, default_layer=layer)


def _stored_names(path: Path) -> tuple[str, ...]:
    """The class names that a file of `excitation train` holds."""
    with safetensors.safe_open(path, "pt") as file:
        return tuple(json.loads(file.metadata()["classes"]))
