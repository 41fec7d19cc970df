"""r-MWP by hand on small nets, and as what it is: a difference of two MWPs."""

from __future__ import annotations

import pytest
import torch
from method_networks import deep
from torch import nn

import excitation as eb
from excitation.methods import find_method

rivals = find_method("r-mwp")


def row(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1)


def linear(weights):
    model = nn.Sequential(nn.Flatten(), nn.Linear(len(weights[0]), len(weights), bias=False)).double().eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor(weights))
    return model


def test_by_hand():
    """s0 = 2 a + b = 5, s1 = b + c = 4, s2 = 3 c = 9 at (a, b, c) = (2, 1, 3); class 0 against 1 and 2."""
    model = linear([[2.0, 1, 0], [0, 1, 1], [0, 0, 3]])
    found = rivals(model, row(2, 1, 3), [0], layer="input", signed=True)[0, 0, 0]
    # R_0 = 1 on class 0: (4/5, 1/5, 0). R_not0 = (4/13, 9/13): b gets 4/13 * 1/4, c the rest.
    assert torch.allclose(found, torch.tensor([4 / 5, 1 / 5 - 1 / 13, -12 / 13], dtype=torch.float64))
    cut = rivals(model, row(2, 1, 3), [0], layer="input")[0, 0, 0]
    assert torch.allclose(cut, found.clamp(min=0))


@pytest.mark.parametrize("reading", ["softmax", "posterior"])
def test_softmax_of_rivals_by_hand(reading):
    model = linear([[2.0, 1, 0], [0, 1, 1], [0, 0, 3]])
    found = rivals(model, row(2, 1, 3), [0], layer="input", signed=True, signal=reading)[0, 0, 0]
    e = torch.tensor([4.0, 9.0], dtype=torch.float64).softmax(0)
    assert torch.allclose(found, torch.stack([e[0] * 0 + 4 / 5, 1 / 5 - e[0] / 4, -(e[0] * 3 / 4 + e[1])]))


def test_without_positive_rivals_only_the_class_is_left():
    model = linear([[1.0, 1], [-1, -1]])
    found = rivals(model, row(1, 3), [0, 1], layer="input", signed=True)[0, :, 0]
    assert torch.allclose(found[0], torch.tensor([0.25, 0.75], dtype=torch.float64))
    assert torch.allclose(found[1], torch.tensor([-0.25, -0.75], dtype=torch.float64))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("target", [1, {0: 0.3, 2: 0.7}])
def test_is_a_difference_of_two_distributions(seed, target, images, untouched):
    model = deep(seed)
    with torch.no_grad():
        model[-1].bias.add_(1.0)
    check = untouched(model)
    found = rivals(model, images, [target, 3], layer="6", signed=True)
    check()
    own = [1] if target == 1 else [0, 2]
    s = model(images).clamp(min=0)
    inside = torch.zeros_like(s)
    inside[:, own] = s[:, own]
    outside = s - inside
    maps = [
        eb.explain(model, images, [side / side.sum(1, keepdim=True)], layer="6") for side in (inside, outside)
    ]  # fmt: skip
    assert torch.allclose(found[:, :1], maps[0] - maps[1], atol=1e-12)
    assert float(found.sum((2, 3)).abs().max()) < 1e-9


def test_score_maps_and_pooled_scores_are_one(images):
    """Below a head ReLU-then-average, Eq. 4 spreads a class as its response does."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.ReLU())
    maps = body.double().eval()
    scores = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    found = rivals(maps, images, [0, 3], layer="1", signed=True)
    assert torch.allclose(found, rivals(scores, images, [0, 3], layer="0.1", signed=True), atol=1e-12)
    assert float(found.abs().max()) > 1e-4


def test_start_as_the_peers_do(images):
    model = deep(2)
    every = find_method("mwp")(model, images, list(range(6)), layer="6")
    found = rivals(model, images, [1], layer="6", start="others", signed=True)
    assert torch.allclose(found[:, 0], every[:, 1] - every[:, [0, 2, 3, 4, 5]].mean(1), atol=1e-12)
    y = model(images).softmax(1)
    weights = -y * y[:, 1:2]
    weights[:, 1] += y[:, 1]
    found = rivals(model, images, [1], layer="6", start="softmax", signed=True)
    assert torch.allclose(found[:, 0], torch.einsum("bk,bkhw->bhw", weights, every), atol=1e-12)


def test_a_list_for_each_image(images):
    model = deep(3)
    found = rivals(model, images, [[0], [1, 2], [3]], layer="6", signed=True)
    assert torch.allclose(found[1, 1], rivals(model, images[1:2], [2], layer="6", signed=True)[0, 0])
    assert float(found[0, 1].abs().max()) == 0
