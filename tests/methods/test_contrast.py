"""c-Gradient is zero, c-Deconv is Deconv of a network with negated last weights subtracted."""

from __future__ import annotations

import copy

import pytest
import torch
from method_networks import deep
from torch import nn

import excitation as eb
from excitation.methods import find_method


def test_c_gradient_is_zero(images, untouched):
    model = deep(1)
    check = untouched(model)
    for layer in (None, "5"):
        found = find_method("c-gradient")(model, images, [0, 3], layer=layer, signed=True)
        assert float(found.abs().max()) < 1e-15
    check()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layer", ["input", "6"])
def test_c_deconv_is_the_difference_to_the_network_with_negated_weights(seed, layer, images):
    model = deep(seed)
    dual = copy.deepcopy(model)
    with torch.no_grad():
        dual[-1].weight.neg_()
        dual[-1].bias.neg_()
    found = find_method("c-deconv")(model, images, [0, 5], layer=layer, signed=True)
    maps = [find_method("deconv")(m, images, [0, 5], layer=layer) for m in (model, dual)]
    unit, other = (m / m.sum((2, 3), keepdim=True) for m in maps)
    assert torch.allclose(found, unit - other, atol=1e-14)
    assert float(found.abs().max()) > 1e-4
    cut = find_method("c-deconv")(model, images, [0, 5], layer=layer)
    assert torch.equal(cut, found.clamp(min=0))


def test_the_dual_is_formed_below_a_rectifier_on_top(images):
    """A head conv-ReLU-pool: the dual keeps the score's own gate, its weights change sign."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).double().eval()  # fmt: skip
    found = find_method("c-deconv")(model, images, [0, 1, 2, 3], signed=True)
    alive = model(images) > 0
    assert bool(alive.any())
    assert float(found.abs().flatten(2).amax(2)[alive].min()) > 1e-4


def test_nothing_to_contrast(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    with pytest.raises(eb.LayerError, match="no weighted operation between"):
        find_method("c-gradient")(model, images, [0], layer="1")
