"""What all tests share. Imports nothing of `excitation`: pytest's jaxtyping hook must be in place before that."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from experiments.support.operators import declare_missing_operators
from tests.slow import listed

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)  # each of pytest's workers has a core to itself


declare_missing_operators()


def pytest_collection_modifyitems(items):
    slow = listed()
    for item in items:
        if item.nodeid.split("[")[0] in slow:
            item.add_marker(pytest.mark.slow)


def document(name: str) -> Path:
    """A file of the documentation, wherever it lies below `docs/`; skips where that folder was not shipped."""
    if not (ROOT / "docs").is_dir():
        pytest.skip("the documentation is not in the source distribution")
    (found,) = (path for path in (ROOT / "docs").rglob(name) if "_build" not in path.parts)
    return found


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
