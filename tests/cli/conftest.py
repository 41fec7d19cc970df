from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _toy_models(monkeypatch):
    """`toy_models` can be imported, as a module in the folder where the command is called would be."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def toys():
    import toy_models

    toy_models.calls.clear()
    return toy_models


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
def folder(tmp_path, toys):
    """Four pictures of two shapes, and what else lies in a folder."""
    place = tmp_path / "photos"
    place.mkdir()
    for name, size in {"a": (96, 96), "b": (96, 64), "c": (96, 96), "d": (96, 96)}.items():
        toys.scene(size, (20, 20), (70, 15), (40, 45)).save(place / f"{name}.png")
    (place / "labels.csv").write_text("a,0\n")
    return place
