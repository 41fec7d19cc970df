"""The trained classifier that comes with the package: `--model symbols`."""

from __future__ import annotations

from importlib.resources import as_file, files

import safetensors.torch

from ...data.symbols import COLOUR_NAMES, SYMBOL_NAMES
from .._loaded import LoadedModel, ModelError, Preprocessing
from ._architecture import SymbolNet, SymbolResNet

WEIGHTS = "googlenet.safetensors"
CLASS_NAMES = (*SYMBOL_NAMES, *COLOUR_NAMES)
"""The outputs: forty symbols, then eight colours."""

PREPROCESSING = Preprocessing(size=(160, 160), scale=1 / 127.5, mean=(1.0, 1.0, 1.0))
"""Pictures keep their size up to a shortest side of 160 pixels, on which the networks were trained."""


def load_symbols(rest: str = "") -> LoadedModel:
    """The symbol world's GoogLeNet with its trained weights; no download.

    Args:
        rest: what follows `symbols:` in a spec; nothing may.

    Returns:
        Scores are logits. Pictures are prepared as `PREPROCESSING` says.

    Raises:
        ModelError: something follows the name.
    """
    if rest:
        raise ModelError(f"model 'symbols:{rest}' is not understood; it is just 'symbols'.")
    model = SymbolNet(len(CLASS_NAMES))
    with as_file(files(__package__) / WEIGHTS) as path:
        safetensors.torch.load_model(model, path, strict=True)
    model.eval()
    return LoadedModel(model, "symbols", PREPROCESSING, CLASS_NAMES, default_layer="inception_3b")


def symbol_resnet() -> LoadedModel:
    """The symbol world's residual network, untrained: a factory for `--model` and weights that `make train` writes.

    `excitation.networks.symbols:symbol_resnet@runs/symbols/resnet.safetensors`. Scores are logits.
    """
    model = SymbolResNet(len(CLASS_NAMES)).eval()
    return LoadedModel(model, "symbol_resnet", PREPROCESSING, CLASS_NAMES, default_layer="layer2")
