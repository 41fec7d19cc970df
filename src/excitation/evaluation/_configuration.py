"""The configuration and environment of a run: hashes and versions. Describes differences of configurations in text."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = ("excitation", "torch", "numpy", "pillow", "pycocotools")

MAX_DIFFERENCES = 8
"""Maximum number of differences in a message."""

MAX_CHARACTERS = 40
"""Maximum number of characters of a value in a message."""


def hash_model(model: torch.nn.Module) -> str:
    """Return the SHA-256 of a network's structure (its `repr`) and of all named parameters and buffers."""
    digest = hashlib.sha256(repr(model).encode())
    # The state dictionary is not sufficient, because the forward pass also uses non-persistent buffers.
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        digest.update(f"{name}\t{tensor.dtype}\t{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def hash_content(content: Mapping[str, object]) -> str:
    """Return the SHA-256 of JSON-compatible data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@functools.cache
def hash_sources() -> str:
    """Return a short hash of the `.py` files of this package at the first call; `"unknown"` if there are none.

    The version alone is not sufficient, because it does not change during development.
    """
    return hash_files(Path(__file__).parents[1]) or "unknown"


def hash_files(root: Path) -> str:
    """Return a short hash of the names and contents of the `.py` files in a folder tree; `""` if there are none."""
    files = sorted(root.rglob("*.py"), key=lambda file: file.relative_to(root).as_posix())
    digest = hashlib.sha256()
    for file in files:
        # Independent of the line endings of a checkout.
        content = hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
        digest.update(f"{file.relative_to(root).as_posix()}\t{content}\n".encode())
    return digest.hexdigest()[:12] if files else ""


def environment(device: torch.device) -> dict[str, str]:
    """Return package versions, the hash of this package, and the machine. They are stored, but not compared."""
    versions = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    versions |= {package: _version(package) for package in PACKAGES}
    versions["sources"] = hash_sources()
    versions["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return versions


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def differences(was: Mapping[str, object], now: Mapping[str, object]) -> str:
    """Describe the differences between two configurations in text. Long values are shortened."""
    texts = _mapping("", was, now)
    more = [f"{len(texts) - MAX_DIFFERENCES} more"] if len(texts) > MAX_DIFFERENCES else []
    return "; ".join(texts[:MAX_DIFFERENCES] + more)


def _mapping(path: str, was: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    texts = []
    lost, new = sorted({*was} - {*now}), sorted({*now} - {*was})
    for key in sorted({*was} & {*now}):
        texts += _value(_below(path, key), was[key], now[key])
    if not path:
        texts += [f"{key} was {_short(was[key])}, is missing" for key in lost]
        return sorted(texts + [f"{key} was missing, is {_short(now[key])}" for key in new])
    return texts + _changed(path, lost, new)


def _value(path: str, was: object, now: object) -> list[str]:
    if json.dumps(was, sort_keys=True) == json.dumps(now, sort_keys=True):
        return []
    was, now = _opened(was), _opened(now)
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        return _mapping(path, was, now)
    if isinstance(was, (list, tuple)) and isinstance(now, (list, tuple)):
        old, new = ([json.dumps(item, sort_keys=True) for item in items] for items in (was, now))
        lost, added = [item for item in old if item not in new], [item for item in new if item not in old]
        if lost or added:
            return _changed(path, lost, added)
    return [f"{path} was {_short(was, now)}, is {_short(now, was)}"]


def _changed(path: str, lost: list[str], new: list[str]) -> list[str]:
    """Describe the removed and the new items of a list or mapping."""
    texts = [f"{_listed(lost)} removed"] if lost else []
    texts += [f"{_listed(new)} added"] if new else []
    return [f"{path}: {', '.join(texts)}"] if texts else []


def _listed(items: list[str]) -> str:
    shortened = [item if len(item) <= MAX_CHARACTERS else f"{item[:MAX_CHARACTERS]}..." for item in items]
    text = ", ".join(shortened[:MAX_DIFFERENCES])
    return text if len(items) <= MAX_DIFFERENCES else f"{text} and {len(items) - MAX_DIFFERENCES} more"


def _below(path: str, key: str) -> str:
    # Descriptions of objects store their class under an empty key.
    return ".".join(filter(None, (path, key or "class")))


def _opened(value: object) -> object:
    """Parse the description of a method (see `describe_method`)."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _short(value: object, other: object = None) -> str:
    """Shorten a value to its beginning. With another text, start shortly before the first difference."""
    text, beside = (json.dumps(item, sort_keys=True, ensure_ascii=False) for item in (value, other))
    if len(text) <= MAX_CHARACTERS:
        return text
    same = next((i for i, (a, b) in enumerate(zip(text, beside, strict=False)) if a != b), min(len(text), len(beside)))
    begin = max(same - 10, 0) if same > MAX_CHARACTERS // 2 else 0
    part = text[begin : begin + MAX_CHARACTERS]
    return f"{'...' if begin else ''}{part}{'...' if begin + MAX_CHARACTERS < len(text) else ''}"
