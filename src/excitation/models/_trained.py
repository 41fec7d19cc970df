"""Networks written by `excitation train`: `trained:FILE`, a safetensors file with metadata."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from .._files import whole_file
from ._loaded import LoadedModel, ModelError, Preprocessing, shown
from .sources import fit_weights, read_weights

FORM = "trained:FILE.safetensors[,SPEC]"
KIND = "excitation.trained.1"
SAFE = ("symbols", "lite", "lite1", "lite2", "caffe", "paper", "torchvision", "timm", "hf", "onnx")
"""Sources of networks that a file can name: all except those that run code chosen by the file. `hf` needs a folder."""

AROUND = ("pool-first:", "convolutional:")


def write_trained(path: Path, loaded: LoadedModel, spec: str, about: Mapping[str, Any] | None = None) -> None:
    """Write a network to a file that `trained:FILE` can load.

    Args:
        path: path of the file, which is written atomically.
        loaded: the trained network with its class names, preprocessing and classifier layer.
        spec: spec of the original network, which defines the architecture.
        about: additional metadata, serialisable as JSON.

    Raises:
        OSError: the file cannot be written.
    """
    weights: dict[str, torch.Tensor] = {}
    seen: set[tuple[int, torch.Size]] = set()
    for name, item in loaded.model.state_dict().items():
        key = (item.data_ptr(), item.shape)
        if item.numel() and key in seen:
            continue  # another name of a tensor that several modules share
        seen.add(key)
        weights[name] = item.detach().cpu().contiguous()
    names = list(loaded.class_names or ())
    said = {
        "kind": KIND, "model": spec, "classes": json.dumps(names), "classifier_layer": loaded.classifier_layer or "",
        "default_layer": loaded.default_layer or "",
        "preprocessing": json.dumps(dataclasses.asdict(loaded.preprocessing)), "about": json.dumps(dict(about or {})),
    }  # fmt: skip
    with whole_file(path) as file:
        file.write(safetensors.torch.save(weights, said))


def read_about(path: Path) -> dict[str, str]:
    """Read the metadata of a file written by `write_trained`.

    Raises:
        ModelError: the file is not such a file.
    """
    if not path.is_file():
        raise ModelError(f"weights {path}: no such file.")
    try:
        with safetensors.safe_open(path, "pt") as file:
            said = dict(file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise ModelError(f"weights {path}: not a whole safetensors file: {error}.") from error
    if said.get("kind") != KIND:
        raise ModelError(f"weights {path}: were not written by `excitation train`; expected {FORM}.")
    return said


def load_trained(rest: str) -> LoadedModel:
    """Load a network written by `excitation train`.

    Args:
        rest: `FILE`, or `FILE,SPEC` with the spec of the original network. `SPEC` is required if that network was
            moved, if a Python factory creates it, or if it is a repository of the hub, because a file must not choose
            code to run or what to download.

    Raises:
        ModelError: the file does not exist or has another format, or the network does not match.
    """
    from ._catalogue import load_model

    path, given = split_spec(rest)
    said = read_about(path)
    spec = given or said.get("model", "")
    bare = spec
    while bare.startswith(AROUND):
        bare = bare.partition(":")[2]
    scheme, _, name = bare.partition(":")
    risk = "whose code would be run" if scheme not in SAFE else ""
    if scheme == "hf" and not Path(name).is_dir():
        risk = "which would be downloaded"
    if given is None and risk:
        raise ModelError(
            f"{path} was made from {shown(spec)}, {risk}; if you trust it, give it yourself: trained:{path},SPEC."
        )
    try:
        names, prepared = json.loads(said["classes"]), json.loads(said["preprocessing"])
        named = isinstance(names, list) and all(isinstance(item, str) for item in names)
        if not named or not isinstance(prepared, dict):
            damage = (
                f"weights {path}: the metadata of the file is damaged: no list of class names, or no preprocessing."
            )
            raise ModelError(damage)
        preprocessing = Preprocessing(**_with_tuples(prepared))
        layer = said["classifier_layer"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"weights {path}: the metadata of the file is damaged: {error}.") from error
    base = load_model(spec)
    state = read_weights(path)
    _resize(base.model, layer, state, path)
    fit_weights(base.model, state, path)
    base.model.eval()
    return dataclasses.replace(
        base, preprocessing=preprocessing, class_names=tuple(names), classifier_layer=layer,
        default_layer=said.get("default_layer") or base.default_layer,
    )  # fmt: skip


def trained_files(rest: str) -> list[Path]:
    """The file in the text after `trained:`."""
    return [split_spec(rest)[0]]


def split_spec(rest: str) -> tuple[Path, str | None]:
    """Split the text after `trained:` into file and network spec.

    Raises:
        ModelError: the text contains no file.
    """
    name, _, spec = rest.partition(",")
    if not name:
        raise ModelError(f"model 'trained:{rest}' does not name a file; expected {FORM}.")
    return Path(name), spec or None


def _resize(model: torch.nn.Module, layer: str, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Resize the classifier layer to the stored number of classes."""
    try:
        module = model.get_submodule(layer)
    except AttributeError as error:
        raise ModelError(f"weights {path}: the network has no layer {layer!r}, their output layer.") from error
    weight = state.get(f"{layer}.weight")
    if weight is None or not isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
        raise ModelError(f"weights {path}: hold no weights of an output layer {layer!r} that the network has.")
    module.weight = torch.nn.Parameter(torch.empty_like(weight))
    module.bias = torch.nn.Parameter(torch.empty(len(weight), dtype=weight.dtype))
    for name in ("out_features", "out_channels"):
        if hasattr(module, name):
            setattr(module, name, len(weight))


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
