"""What a run depends on beside its options: the model's weights, and the versions it ran under."""

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


def hash_model(model: torch.nn.Module) -> str:
    """SHA-256 of a network's structure as it prints itself, and of all parameters and buffers with their names."""
    whole = hashlib.sha256(repr(model).encode())
    # Not only the state dictionary: buffers that are not saved take part in the forward pass too.
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        whole.update(f"{name}\t{tensor.dtype}\t{tuple(tensor.shape)}\n".encode())
        whole.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return whole.hexdigest()


def hash_content(content: Mapping[str, object]) -> str:
    """SHA-256 of something JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@functools.cache
def hash_sources() -> str:
    """A short hash of this package's own `.py` files, as they lay when first asked; `"unknown"` where none lie.

    The version alone stays the same while the package is being changed.
    """
    return hash_files(Path(__file__).parents[1]) or "unknown"


def hash_files(root: Path) -> str:
    """A short hash of names and contents of the `.py` files below a folder, `""` if there are none."""
    files = sorted(root.rglob("*.py"), key=lambda file: file.relative_to(root).as_posix())
    whole = hashlib.sha256()
    for file in files:
        # Whatever ends of lines a checkout has.
        content = hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
        whole.update(f"{file.relative_to(root).as_posix()}\t{content}\n".encode())
    return whole.hexdigest()[:12] if files else ""


def environment(device: torch.device) -> dict[str, str]:
    """Versions, this package's own sources, and the machine: noted with a run, not compared."""
    found = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    found |= {package: _version(package) for package in PACKAGES}
    found["sources"] = hash_sources()
    found["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return found


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
