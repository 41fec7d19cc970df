"""What all tests share. Imports nothing of `excitation`: pytest's jaxtyping hook must be in place before that."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)  # each of pytest's workers has a core to itself


def _declare_missing_torchvision_operators():
    """Let torchvision be imported beside a torch build that its compiled operators do not match.

    Its Python part registers shapes for `nms` and `qnms` whether or not the operators exist, and fails if they do
    not. Classifiers use neither, so a declaration without an implementation is enough.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
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
    globals()["_OPERATORS"] = operators  # the declarations live as long as this object


_declare_missing_torchvision_operators()


@pytest.fixture(autouse=True)
def _seeds():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries that still draw from the global state
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared():
    """Paths below the reference data beside the project; a test skips where its path is absent."""

    def path(relative: str) -> Path:
        found = ROOT.parent / "shared" / relative
        if not found.exists():
            pytest.skip(f"reference data is absent: {found}")
        return found

    return path
