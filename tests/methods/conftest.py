"""Networks and references the tests of all methods share."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "engine"))  # the reference networks' modules


@pytest.fixture
def images():
    return torch.rand(3, 3, 20, 20, dtype=torch.float64) * 2 - 0.7


@pytest.fixture
def untouched():
    """`check = untouched(model)`; `check()` afterwards: same weights, modes and hooks, no gradients left."""

    def begin(model):
        def state():
            return {
                "weights": [(name, t.clone()) for name, t in model.state_dict().items()],
                "modes": [m.training for m in model.modules()],
                "asks": [p.requires_grad for p in model.parameters()],
                "hooks": [
                    sum(len(getattr(m, kind)) for kind in vars(m) if kind.endswith("_hooks")) for m in model.modules()
                ],
                "attributes": [sorted(vars(m)) for m in model.modules()],
            }

        before = state()

        def check():
            after = state()
            for (name, old), (_, new) in zip(before.pop("weights"), after.pop("weights"), strict=True):
                assert torch.equal(old, new), name
            assert before == after
            assert all(p.grad is None for p in model.parameters())
            assert torch.nn.modules.module._global_forward_hooks == {}
            assert torch.nn.modules.module._global_forward_pre_hooks == {}

        return check

    return begin


@pytest.fixture(scope="session")
def golden(shared):
    from caffe_tiny import Golden

    return Golden(shared("reference/caffe_tiny"))


@pytest.fixture(scope="session")
def photo(shared):
    folder = shared("reference/caffe_squeezenet")

    def load(job):
        image = torch.from_numpy(np.load(folder / "inputs" / f"{job}.npy")).double()
        return image, np.load(folder / "maps_f64" / f"{job}_grad_dc.npz")

    return load
