"""Weights of the paper's networks, layer by layer, from a caffemodel or safetensors file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from .._loaded import ModelError

SUFFIXES = (".caffemodel", ".safetensors")

Stored = Iterator[tuple[str, list[torch.Tensor]]]
"""Layers of a file: name to weight and bias."""

NAMED = 8
"""Maximum number of layers listed in an error message."""


def put_weights(
    model: torch.nn.Module,
    path: Path,
    *,
    classifier: str,
    classes: int | None,
    rename: Mapping[str, str],
    ignored: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
) -> None:
    """Load the weights of a file into a network. Each layer must be present and have the right shape.

    Args:
        model: the network; its parameters can be on the meta device, and are replaced.
        path: a `.caffemodel` or `.safetensors` file.
        classifier: name of its last layer.
        classes: required number of classes; `None` accepts the number in the file.
        rename: map from layer names in the file to those of the network.
        ignored: name prefixes of additional layers that the file may contain.
        dtype: type of the parameters.

    Raises:
        ModelError: the file is missing or incomplete, or a layer is missing, unexpected or of another shape.
    """
    shapes = {
        name: [tuple(item.shape) for item in (module.weight, module.bias)]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and module.bias is not None
    }
    if path.suffix not in SUFFIXES:
        raise ModelError(f"weights {path}: a file whose name ends in {' or '.join(SUFFIXES)} is expected.")
    if not path.is_file():
        raise ModelError(f"weights {path}: no such file.")
    wanted = _Wanted(shapes, classifier, classes, rename)
    read = _from_caffemodel if path.suffix == ".caffemodel" else _from_safetensors
    stored = {}
    for name, (weight, bias) in read(path, wanted, dtype):
        if name in stored:
            raise ModelError(f"weights {path}: the file holds layer {name!r} more than once.")
        stored[name] = weight
        module = model.get_submodule(name)
        module.weight, module.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
    missing = [name for name in shapes if name not in stored]
    extra = [name for name in wanted.others if not name.startswith(tuple(ignored))]
    if missing or extra:
        parts = [f"{word} {_listed(names)}" for word, names in (("lacks", missing), ("also has", extra)) if names]
        raise ModelError(
            f"weights {path} belong to another network: the file {' and '.join(parts)}; if a layer only goes by another"
            " name there, give rename."
        )
    last = model.get_submodule(classifier)
    assert isinstance(last, torch.nn.Linear)
    last.out_features = len(stored[classifier])


class _Wanted:
    """The layers that the network requires, and the other layers of a file."""

    def __init__(
        self, shapes: dict[str, list[tuple[int, ...]]], classifier: str, classes: int | None, rename: Mapping[str, str]
    ) -> None:
        self._shapes, self._classifier, self._classes, self._rename = shapes, classifier, classes, rename
        self.others: list[str] = []
        unknown = sorted(set(rename.values()) - set(shapes))
        if unknown:
            raise ModelError(f"rename: the network has no layer {unknown[0]!r} with weights.")

    def name(self, name: str) -> str | None:
        """The name of a layer in the network; `None` if the network does not have it."""
        own = self._rename.get(name, name)
        if own in self._shapes:
            return own
        self.others.append(name)
        return None

    def shapes(self, name: str, rows: int) -> list[tuple[int, ...]]:
        """Shapes of weight and bias, if the weight in the file has `rows` rows."""
        weight, bias = self._shapes[name]
        if name == self._classifier and self._classes is None and rows > 0:
            weight, bias = (rows, *weight[1:]), (rows,)
        return [weight, bias]


def _from_caffemodel(path: Path, wanted: _Wanted, dtype: torch.dtype) -> Stored:
    from ..caffe._weights import Slot, read_weights, take_blobs  # protobuf is optional

    for given, blobs in read_weights(path):
        name = wanted.name(given)
        if name is not None:
            where = f"layer {name!r}"
            slots = [Slot(shape, where) for shape in wanted.shapes(name, _rows(blobs[0]))]
            take_blobs(slots, blobs, where, dtype)
            yield name, [slot.values for slot in slots if slot.values is not None]


def _rows(blob: Any) -> int:
    """The number of rows of a matrix in Caffe's format; old blobs without shapes use height and width."""
    return int(blob.shape.dim[0]) if blob.HasField("shape") and blob.shape.dim else int(blob.height)


def _from_safetensors(path: Path, wanted: _Wanted, dtype: torch.dtype) -> Stored:
    try:
        state = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ModelError(f"weights {path}: not a whole safetensors file: {error}.") from error
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        layer, _, part = key.rpartition(".")
        parts.setdefault(layer, {})[part] = value
    for given, tensors in parts.items():
        name = wanted.name(given)
        if name is None:
            continue
        if set(tensors) != {"weight", "bias"}:
            raise ModelError(f"weights {path}: layer {given!r} has {_listed(sorted(tensors))}, weight and bias needed.")
        both = [tensors["weight"], tensors["bias"]]
        for part, value, shape in zip(("weight", "bias"), both, wanted.shapes(name, len(both[0])), strict=True):
            what = f"weights {path}: {part} of layer {given!r}"
            if tuple(value.shape) != shape:
                raise ModelError(
                    f"{what} has shape {tuple(value.shape)}, {shape} expected; it belongs to another network."
                )
            if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
                raise ModelError(f"{what} is of {value.dtype} or holds NaN or infinity; finite numbers expected.")
        yield name, [value.to(dtype) for value in both]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(repr, names[:NAMED])) + more
