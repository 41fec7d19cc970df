"""Damaged ONNX files: each either runs or is refused with one of the library's errors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed", exc_type=ImportError)

import torch
from onnx_mutations import damaged, network

import excitation as eb

PICTURE = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
FILES = 240


def answer(content, path):
    """The scores, or the error that the library raises; any other exception fails the test."""
    path.write_bytes(content)
    try:
        net = eb.load_model(f"onnx:{path}").model
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # a number that overflows in the damaged network
            return net(torch.from_numpy(PICTURE))
    except eb.ExcitationError as error:
        return error


def test_the_undamaged_network_runs(tmp_path):
    scores = answer(network().SerializeToString(), tmp_path / "net.onnx")
    assert scores.shape == (1, 2)


@pytest.mark.parametrize("block", range(4))
def test_damaged_files_run_or_are_refused(block, tmp_path):
    content = network().SerializeToString()
    seeds = range(block * FILES // 4, (block + 1) * FILES // 4)
    answers = [answer(damaged(content, seed), tmp_path / "net.onnx") for seed in seeds]
    assert any(isinstance(each, eb.ExcitationError) for each in answers)
