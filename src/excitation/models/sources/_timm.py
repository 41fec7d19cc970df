"""Classifiers of timm: `timm:NAME[@WEIGHTS]`."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Any, Literal

import torch

from .._loaded import FILTERS, LoadedModel, ModelError, Preprocessing
from ._requirements import needed
from ._weights import classes_in, fit_weights, fixed_random, last_weighted, read_weights

FORM = "timm:NAME[@WEIGHTS]"
PRETRAINED = "pretrained"


def load_timm(rest: str) -> LoadedModel:
    """Load a classifier of timm. Requires the extra `timm`.

    Args:
        rest: `NAME` (`resnet50`, or with a tag `resnet50.a1_in1k`): random weights with a fixed seed.
            `NAME@FILE`: weights from a file of safetensors or `torch.save`, read without pickles.
            `NAME@pretrained`: pretrained weights, which timm downloads to its cache if needed; read without pickles.

    Returns:
        The model with timm's preprocessing, and with ImageNet class names if the number of classes matches. The default
        layer is left to `explain`.

    Raises:
        ModelError: timm is missing or cannot be imported; an unknown network or file; weights that do not match.
    """
    name, _, chosen = rest.partition("@")
    timm = needed("timm", "timm")
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=4, cutoff=0.4)
        hint = f" Nearest: {', '.join(near)}." if near else ""
        raise ModelError(f"timm has no network {name!r}; expected {FORM}.{hint}")
    if chosen and chosen != PRETRAINED:
        model = _with_file(timm, name, Path(chosen))
    else:
        try:
            with fixed_random():
                model = timm.create_model(name, pretrained=chosen == PRETRAINED)
        except (RuntimeError, OSError) as error:
            raise ModelError(f"timm cannot make {rest!r}: {' '.join(str(error).split())[:300]}") from error
    return LoadedModel(
        model.eval(),
        f"timm:{rest}",
        _preprocessing(timm.data.resolve_model_data_config(model)),
        _class_names(timm, model),
        classifier_layer=_classifier(model),
    )


def timm_files(rest: str) -> list[Path]:
    """The weights file of a spec: the named file, or the hub's cached copy if present."""
    name, _, chosen = rest.partition("@")
    if chosen != PRETRAINED:
        return [Path(chosen)] if chosen else []
    config = needed("timm", "timm").get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return []
    cached = needed("huggingface_hub", "timm").try_to_load_from_cache
    path = cached(config.hf_hub_id, config.hf_hub_filename or "model.safetensors")
    return [Path(path)] if isinstance(path, str) else []


def _with_file(timm: Any, name: str, path: Path) -> torch.nn.Module:
    state = read_weights(path)
    with torch.device("meta"):  # only to find the name of the classifier layer
        classifier = _classifier(timm.create_model(name, pretrained=False))
    count = classes_in(state, classifier)
    model: torch.nn.Module = timm.create_model(name, pretrained=False, num_classes=count)
    fit_weights(model, state, path)
    return model


def _classifier(model: Any) -> str | None:
    """The name of the layer that timm declares as the classifier."""
    part = model.get_classifier()
    if isinstance(part, torch.nn.Module):
        name = next((name for name, module in model.named_modules() if module is part), None)
        inner = last_weighted(part)
        return name if not inner or not name else f"{name}.{inner}"
    return last_weighted(model)


def _class_names(timm: Any, model: torch.nn.Module) -> tuple[str, ...] | None:
    subset = timm.data.infer_imagenet_subset(model)
    return tuple(timm.data.ImageNetInfo(subset).label_descriptions()) if subset else None


def _preprocessing(config: dict[str, Any]) -> Preprocessing:
    channels, height, width = config["input_size"]
    if channels != 3:
        raise ModelError(f"the network takes pictures of {channels} channels; three are expected.")
    kept = config["crop_pct"] or 1.0
    mode = config["crop_mode"]
    if mode == "border" or (mode == "squash" and kept != 1):
        raise ModelError(f"the preprocessing crop_mode={mode!r} with crop_pct={kept} is not supported.")
    resize: Literal["crop", "squash"] = "squash" if mode == "squash" else "crop"
    interpolation = config["interpolation"]
    return Preprocessing(
        size=(height, width), resize=resize, resize_to=math.floor(max(height, width) / kept),
        mean=tuple(config["mean"]), std=tuple(config["std"]),
        interpolation=interpolation if interpolation in FILTERS else "bicubic",
    )  # fmt: skip
