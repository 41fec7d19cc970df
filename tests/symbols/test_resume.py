"""A training run that is killed and goes on ends with the weights of one that was left alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from experiments.symbols.precision import PAIRED
from experiments.symbols.scenes import CLASSES
from kills import kill_when, start

STEPS = 16
COMMAND = f"""
import sys
from pathlib import Path
import experiments.symbols.train as t
t.EASY_SCENES, t.EVERY = 250, 2
t.train(steps={STEPS}, scenes=250, out=Path(sys.argv[1]), rate=2e-3, network="googlenet", seed=0, threads=1,
        device="cpu")
"""
"""The command's own function, with a checkpoint every other step and one file of easy scenes."""


def write_scenes(folder):
    """Files such as `render` leaves and finds again: small pictures of noise, tinted by what they are said to show."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    files = {"train-0": (1, 40), "dominant-1": (1, 70), "val-0": (4, 6), "test-0": (4, 6)}
    unpaired = sorted(set(range(40)) - set(PAIRED))
    for name, (count, scenes) in files.items():
        for number in range(count):
            shares = np.zeros((scenes, len(CLASSES)), dtype=np.float32)
            symbols = rng.choice(unpaired, scenes)
            shares[np.arange(scenes), symbols] = shares[np.arange(scenes), rng.integers(40, 48, scenes)] = 0.2
            images = rng.integers(0, 200, (scenes, 48, 64, 3)) + symbols[:, None, None, None]
            arrays = {"images 48x64": images.astype(np.uint8), "shares 48x64": shares}
            np.savez(folder / f"{name}-{250 * number:06d}.npz", **arrays)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run left alone, and one that was killed after its first checkpoints and called again."""
    alone, killed = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("killed")
    for out in (alone, killed):
        write_scenes(out / "scenes")
    kill_when(start(COMMAND, killed), (killed / "googlenet.checkpoint.pt").exists)
    assert not (killed / "googlenet.safetensors").exists()
    assert 2 <= torch.load(killed / "googlenet.checkpoint.pt", weights_only=True)["step"] < STEPS
    assert [start(COMMAND, out).wait() for out in (killed, alone)] == [0, 0]
    return alone, killed


def test_the_weights_are_the_same(runs):
    alone, killed = (out / "googlenet.safetensors" for out in runs)
    assert alone.read_bytes() == killed.read_bytes()


def test_so_is_the_record(runs):
    losses = [torch.load(out / "googlenet.checkpoint.pt", weights_only=True)["history"] for out in runs]
    assert losses[0] == losses[1]
    assert len(losses[0]["loss"]) == STEPS
    records = [json.loads((out / "googlenet.json").read_text()) for out in runs]
    for key in ("configuration", "precision", "precision over 5 %", "precision over 5 % by kind"):
        # NaN, where no scene has an object of a size, is not equal to itself; its text is.
        assert json.dumps(records[0][key]) == json.dumps(records[1][key])
    assert all((out / "googlenet.png").read_bytes().startswith(b"\x89PNG") for out in runs)
