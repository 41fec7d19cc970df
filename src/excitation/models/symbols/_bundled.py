"""The trained classifiers that are part of this package: `--model symbols`, `symbols:resnet`, `symbols:tags`."""

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
"""Classes of the first two networks: forty symbols, followed by eight colours."""

PREPROCESSING = Preprocessing(size=(160, 160), scale=1 / 127.5, mean=(1.0, 1.0, 1.0))
"""Pictures keep their size up to a shortest side of 160 pixels, the size in training."""


NETWORKS: dict[str, tuple[Callable[[int], nn.Module], str, str]] = {
    "": (SymbolNet, "googlenet.safetensors", "inception_3b"),
    "tags": (SymbolNet, "tags.safetensors", "inception_3b"),
    "resnet": (SymbolResNet, "resnet.safetensors", "layer2"),
}
"""Network, weights file and default layer, by the text after `symbols:` in a spec."""


def load_symbols(rest: str = "") -> LoadedModel:
    """Load one of the symbol world's networks with its trained weights, without a download.

    Args:
        rest: the text after `symbols:` in a spec: empty for the small GoogLeNet, `resnet` for the residual network,
            `tags` for the GoogLeNet fine-tuned on noisy tags, whose classes are words.

    Returns:
        The model with the preprocessing `PREPROCESSING`; its scores are logits.

    Raises:
        ModelError: an unknown network.
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
    """The class names in a file written by `excitation train`."""
    with safetensors.safe_open(path, "pt") as file:
        return tuple(json.loads(file.metadata()["classes"]))
