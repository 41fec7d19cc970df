from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _factories(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def run(capsys, monkeypatch):
    """Call the program in this process; give its exit code, output and errors."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    from excitation.cli import main

    def call(*words):
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return call


@pytest.fixture
def colours(tmp_path):
    """A folder with a subfolder of pictures for each of three colours."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(20):
            values = rng.integers(0, 90, (18, 24, 3))
            values[:, :, channel] += 120
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / "data" / name / f"{name}{i}.png")
    return tmp_path / "data"
