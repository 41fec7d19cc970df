"""The audit of the contrast: its sums where they are known by hand, and on the bundled network with either head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from experiments.contrast_audit import STRIDE, moved, symbols
from torch import nn

from excitation import to_fully_convolutional
from excitation.models import LoadedModel
from excitation.models.symbols import load_symbols


def test_a_pooled_head_whose_halves_look_at_different_channels():
    # two positions, each with a channel of its own; the class is for the first and against the second
    model = nn.Sequential(
        nn.Conv2d(2, 2, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2)[:, :, None, None])
        model[4].weight.copy_(torch.tensor([[1.0, -1.0]]))
        model[4].bias.zero_()
    images = torch.tensor([[[[2.0, 0.0]], [[0.0, 3.0]]]], dtype=torch.float64)
    found = moved(LoadedModel(model.double(), "two"), [(images, [0])], ["1"])
    np.testing.assert_allclose(found["1"], [[2, 0]], atol=1e-12)  # nothing in common, nothing lost


@pytest.mark.parametrize("pooled_first", [True, False])
def test_positions_that_are_classified_first_leave_no_contrast(pooled_first):
    loaded = load_symbols()
    layer = "inception_4c"
    if not pooled_first:
        loaded, layer = to_fully_convolutional(loaded, STRIDE), "model.inception_4c"
    loaded.model.double()
    sums = moved(loaded, symbols(loaded, 1), [layer])[layer][:, 0]
    assert (sums > 0.1).all() if pooled_first else (sums < 1e-12).all()
