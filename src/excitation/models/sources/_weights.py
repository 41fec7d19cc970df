"""Weights from files that hold tensors and nothing else: safetensors, or PyTorch's own format read without pickles."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from .._loaded import ModelError

State = dict[str, torch.Tensor]

DAMAGE = (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError, struct.error)
"""What reading a damaged file of `torch.save` runs into: its reader checks little before it acts."""

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the weights beside other things."""


def read_weights(path: Path) -> State:
    """Read named tensors.

    Args:
        path: `.safetensors`, or any other ending for a file of `torch.save`, which is read with `weights_only=True`:
            nothing in it is run.

    Raises:
        ModelError: no such file, not whole, or it holds something other than named tensors.
    """
    if not path.is_file():
        raise ModelError(f"weights {path}: no such file.")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except SafetensorError as error:
            raise ModelError(f"weights {path}: not a whole safetensors file: {error}.") from error
    _check_archive(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"weights {path} hold more than tensors, which would have to be run to be read; save the state_dict alone,"
            " or as safetensors."
        ) from error
    except DAMAGE as error:
        raise ModelError(f"weights {path}: not a whole file of torch.save: {_line(error)}") from error
    return _tensors(found, path)


def _tensors(found: object, path: Path) -> State:
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(item, torch.Tensor) for item in found.values()):
        raise ModelError(f"weights {path} hold {type(found).__name__}; named tensors (a state_dict) expected.")
    for key, item in found.items():
        # A tensor can be stored as one number, repeated without end: its copy in a network would fill the memory.
        plain = item.layout is torch.strided and not item.is_quantized
        if not plain or item.untyped_storage().nbytes() < item.numel() * item.element_size():
            raise ModelError(
                f"weights {path}: {ascii(key)[:100]} has {item.numel()} numbers and stores fewer; save plain dense"
                " tensors, or safetensors."
            )
    state = {str(key): item for key, item in found.items()}
    if state and all(key.startswith("module.") for key in state):  # of DataParallel
        state = {key.removeprefix("module."): item for key, item in state.items()}
    return state


def _check_archive(path: Path) -> None:
    """PyTorch stores its records as they are; a packed one could unpack to a thousand times the file's size.

    Raises:
        ModelError: records are packed, or larger together than the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error):
        return  # PyTorch's older format, or no file of PyTorch, which torch.load tells
    packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    if packed or sum(record.file_size for record in records) > path.stat().st_size:
        raise ModelError(f"weights {path}: its records are packed, which torch.save never does; save it again with it.")


def fit_weights(model: torch.nn.Module, state: State, path: Path) -> None:
    """Put weights into a model; every one must be there and fit.

    Counters of batch norms, which evaluation does not use, may be missing, and so may the further names of a tensor
    that several modules share: safetensors keeps it once.

    Raises:
        ModelError: a weight is missing, left over, or of another shape.
    """
    own = model.state_dict()
    given = {own[key].data_ptr() for key in state if key in own}
    missing = [
        key for key, item in own.items()
        if key not in state and not key.endswith("num_batches_tracked") and item.data_ptr() not in given
    ]  # fmt: skip
    extra = [key for key in state if key not in own]
    wrong = [key for key, item in state.items() if key in own and own[key].shape != item.shape]
    for keys, what in ((missing, "missing"), (extra, "unknown to it"), (wrong, "of another shape")):
        if keys:
            shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise ModelError(f"weights {path} do not fit the model: {what}: {shown}.")
    model.load_state_dict(state, strict=False)


@contextmanager
def fixed_random() -> Iterator[None]:
    """Random weights made in this block are the same every time; the caller's random numbers go on undisturbed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def last_weighted(model: torch.nn.Module) -> str | None:
    """Name of the last linear or convolutional layer in the order of definition: a classifier's own, as a rule."""
    kinds = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    return next((name for name, part in reversed(list(model.named_modules())) if isinstance(part, kinds)), None)


def classes_in(state: Mapping[str, torch.Tensor], layer: str | None) -> int | None:
    """How many classes the weights of a classifier layer are for, if they are among them."""
    weight = None if layer is None else state.get(f"{layer}.weight")
    return None if weight is None else len(weight)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
