"""Classifiers of torchvision: `torchvision:NAME[@WEIGHTS]`."""

from __future__ import annotations

import difflib
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from .._loaded import LoadedModel, ModelError, Preprocessing
from ._requirements import needed
from ._weights import classes_in, fit_weights, fixed_random, last_weighted, read_weights

FORM = "torchvision:NAME[@WEIGHTS]"
AUXILIARY = {"googlenet": "aux1.", "inception_v3": "AuxLogits."}
"""Prefixes of the weights of auxiliary heads, by network."""

OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
"""DenseNet weights published before 2017 contain a dot where module names cannot."""


def load_torchvision(rest: str) -> LoadedModel:
    """Load a classifier of torchvision. Requires the extra `torchvision`.

    Args:
        rest: `NAME`: random weights with a fixed seed. `NAME@FILE`: weights from a file of safetensors or `torch.save`,
            read without pickles. `NAME@ENTRY`: an entry of torchvision's weights enum (`IMAGENET1K_V2`, `DEFAULT`),
            which torchvision downloads to its cache if needed.

    Returns:
        The model with the preprocessing and class names of the chosen entry (else the default entry). For a file, the
        class names are those of ImageNet if it has 1000 classes. The default layer is left to `explain`: the last layer
        at stride 16 that every path passes through.

    Raises:
        ModelError: torchvision is missing or cannot be imported; an unknown network, entry or file; weights that do not
            match.
    """
    name, _, chosen = rest.partition("@")
    models = needed("torchvision.models", "torchvision")
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=4, cutoff=0.4)
        hint = f" Nearest: {', '.join(near)}." if near else ""
        raise ModelError(f"torchvision has no classifier {name!r}; expected {FORM}.{hint}")
    entries = models.get_model_weights(name)
    entry, state = _entry(entries, chosen), None
    if entry is not None:
        _check_cached(entry)
        model = models.get_model(name, weights=entry)
    elif chosen:
        state = _renamed(read_weights(Path(chosen)))
        model = _built(models, name, state)
        fit_weights(model, state, Path(chosen))
    else:
        with fixed_random():
            model = models.get_model(name, weights=None, **_options(name, {}))
    classifier = last_weighted(model)
    names = (entry or entries.DEFAULT).meta["categories"]
    count = len(names) if state is None else classes_in(state, classifier)
    return LoadedModel(
        model.eval(),
        f"torchvision:{rest}",
        _preprocessing((entry or entries.DEFAULT).transforms()),
        tuple(names) if count == len(names) else None,
        classifier_layer=classifier,
    )


def torchvision_files(rest: str) -> list[Path]:
    """The weights file of a spec: the named file, or torchvision's copy in the hub's cache."""
    name, _, chosen = rest.partition("@")
    if not chosen or (Path(chosen).is_file() and not chosen.isidentifier()):
        return [Path(chosen)] if chosen else []
    entry = _entry(needed("torchvision.models", "torchvision").get_model_weights(name), chosen)
    return [Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]] if entry else [Path(chosen)]


def _entry(entries: Any, chosen: str) -> Any:
    """The entry of the weights enum with this name; `None` for a file or an empty text."""
    if not chosen or (chosen not in entries.__members__ and Path(chosen).is_file()):
        return None
    if chosen not in entries.__members__:
        raise ModelError(
            f"weights {chosen!r} are neither a file nor one of torchvision's: {', '.join(entries.__members__)}."
        )
    return entries[chosen]


def _check_cached(entry: Any) -> None:
    """Download the weights of an entry if needed, and check that the cached file contains only tensors."""
    try:
        entry.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"torchvision's cached weights {entry} contain more than tensors, and reading the rest would"
            " run code; delete them from the hub's cache and fetch them again."
        ) from error
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"torchvision's weights {entry} cannot be loaded: {' '.join(str(error).split())[:300]}"
        ) from error


def _options(name: str, state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Builder options required by the weights. Auxiliary heads are not used in evaluation."""
    if name not in AUXILIARY:
        return {}
    return {"aux_logits": any(key.startswith(AUXILIARY[name]) for key in state), "init_weights": not state}


def _built(models: Any, name: str, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    options = _options(name, state)
    with torch.device("meta"):  # only to find the name of the classifier layer
        classifier = last_weighted(models.get_model(name, weights=None, **options))
    count = classes_in(state, classifier)
    model: torch.nn.Module = models.get_model(
        name, weights=None, **options, **({} if count is None else {"num_classes": count})
    )
    return model


def _renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {OLD_DENSENET.sub(r"\1\2", key): item for key, item in state.items()}


def _preprocessing(preset: Any) -> Preprocessing:
    side, resize = int(preset.crop_size[0]), int(preset.resize_size[0])
    return Preprocessing(
        size=(side, side), resize="crop", resize_to=resize, mean=tuple(preset.mean), std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )  # fmt: skip
