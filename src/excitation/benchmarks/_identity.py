"""What a run depends on beside its options: the model's weights, and the versions it ran under."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata

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


def environment(device: torch.device) -> dict[str, str]:
    """Versions and machine."""
    found = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    found |= {package: _version(package) for package in PACKAGES}
    found["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return found


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
