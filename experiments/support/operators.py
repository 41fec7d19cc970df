"""torchvision beside a build of torch that its compiled operators do not match. Imports nothing of `excitation`."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import torch

_declared: list[torch.library.Library] = []


def declare_missing_operators() -> None:
    """Let torchvision be imported without its compiled operators.

    Its Python part registers shapes for `nms` and `qnms` whether or not the operators exist, and fails if they do
    not. Classifiers use neither, so a declaration without an implementation is enough.
    """
    spec = importlib.util.find_spec("torchvision")
    if _declared or spec is None or spec.origin is None:
        return
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        for library in Path(spec.origin).parent.glob(f"_C{suffix}"):
            try:
                torch.ops.load_library(str(library))
            except OSError:
                continue
            return
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(operators)  # the declarations live as long as this object
