from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from writers import Writers


@pytest.fixture
def tmp_path(tmp_path):
    """A folder in memory where there is one: each result waits for the disk, and tests should not."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def writers():
    """A process that forks writers, which tests kill."""
    if not hasattr(os, "fork"):
        pytest.skip("processes cannot be forked here")
    found = Writers()
    yield found
    found.close()
