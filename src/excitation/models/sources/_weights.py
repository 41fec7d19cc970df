"""Weights from files that contain only tensors: safetensors, or PyTorch's format read without pickles."""

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
"""Errors that PyTorch's reader can raise for a damaged `torch.save` file; it validates little."""

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts store the weights next to other data."""


def read_weights(path: Path) -> State:
    """Read named tensors from a file.

    Args:
        path: a `.safetensors` file, or any other name for a `torch.save` file. The latter is read with
            `weights_only=True`, so that no code in it runs.

    Returns:
        Tensors by name.

    Raises:
        ModelError: the file is missing or incomplete, or contains anything other than named tensors.
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
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"weights {path} contain more than tensors, and reading the rest would run code; save the state_dict"
            " alone, or as safetensors."
        ) from error
    except DAMAGE as error:
        raise ModelError(f"weights {path}: not a whole file of torch.save: {_line(error)}") from error
    return _tensors(content, path)


def _tensors(content: object, path: Path) -> State:
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(item, torch.Tensor) for item in content.values()):
        raise ModelError(f"weights {path} hold {type(content).__name__}; named tensors (a state_dict) expected.")
    for key, item in content.items():
        # A tensor can be stored as one number with stride zero; its copy in a network would fill the memory.
        plain = item.layout is torch.strided and not item.is_quantized
        if not plain or item.untyped_storage().nbytes() < item.numel() * item.element_size():
            raise ModelError(
                f"weights {path}: {ascii(key)[:100]} has {item.numel()} numbers and stores fewer; save plain dense"
                " tensors, or safetensors."
            )
    state = {str(key): item for key, item in content.items()}
    if state and all(key.startswith("module.") for key in state):  # prefix of DataParallel
        state = {key.removeprefix("module."): item for key, item in state.items()}
    return state


def _check_archive(path: Path) -> None:
    """Check that the records of an archive are not compressed. A compressed record could expand to 1000 times its size.

    Raises:
        ModelError: records are compressed, or together larger than the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error):
        return  # PyTorch's older format, or another file, for which torch.load raises an error
    packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    if packed or sum(record.file_size for record in records) > path.stat().st_size:
        raise ModelError(
            f"weights {path}: its records are compressed, which torch.save never does; save it again with torch.save."
        )


def fit_weights(model: torch.nn.Module, state: State, path: Path) -> None:
    """Load weights into a model. Every weight must be present and have the right shape.

    Some entries may be missing: counters of batch normalisations, which evaluation does not use, and further names of
    shared tensors, which safetensors stores once.

    Raises:
        ModelError: a weight is missing, unused, or has another shape.
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
    """A context in which random weights are the same every time. Afterwards the caller's random state is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def last_weighted(model: torch.nn.Module) -> str | None:
    """The name of the last linear or convolution layer in the order of definition, usually the classifier."""
    kinds = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    return next((name for name, part in reversed(list(model.named_modules())) if isinstance(part, kinds)), None)


def classes_in(state: Mapping[str, torch.Tensor], layer: str | None) -> int | None:
    """The number of classes of a classifier layer, if its weights are in the file."""
    weight = None if layer is None else state.get(f"{layer}.weight")
    return None if weight is None else len(weight)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
