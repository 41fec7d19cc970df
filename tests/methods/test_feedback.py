"""Feedback: gates raise the score, the best iterate is never below the start, by hand on a small net."""

from __future__ import annotations

import pytest
import torch
from method_networks import deep
from torch import nn

import excitation as eb
from excitation.methods import feedback_full, find_method

feedback = find_method("feedback")


def test_closes_the_gate_that_lowers_the_score():
    """y = 2 relu(a) - relu(b): closing b's gate raises 2 a - b to 2 a; the map is then a's alone."""
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, (1, 2), bias=False), nn.Flatten()).double().eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([2.0, -1.0]).reshape(1, 1, 1, 2))
    image = torch.tensor([3.0, 5.0], dtype=torch.float64).reshape(1, 1, 1, 2)
    found = feedback_full(model, image, [0], iterations=5, rate=0.5)
    # Slopes are (6, -5), of which the larger counts as one: b's gate goes down by 5/12 a step and shuts in three.
    assert found.scores.flatten().tolist() == pytest.approx([1, 1 + 25 / 12, 1 + 25 / 6, 6, 6, 6])
    assert found.best.item() == 3
    assert found.maps.flatten().tolist() == [2, 0]
    assert found.closed.item() == 0.5
    assert found.shut.flatten().tolist() == [0, 0, 0.5, 0.5, 0.5, 0.5]  # 7/12 and 1/6 open, then shut


@pytest.mark.parametrize("seed", range(3))
def test_best_iterate_is_never_below_the_start(seed, images, untouched):
    model = deep(seed)
    check = untouched(model)
    found = feedback_full(model, images, [0, 3, {1: 0.5, 2: 0.5}], iterations=4)
    maps = feedback(model, images, [0, 3, {1: 0.5, 2: 0.5}], iterations=4)
    check()
    with torch.no_grad():
        scores = model(images)
    start = torch.stack([scores[:, 0], scores[:, 3], scores[:, 1:3].mean(1)], 1)
    assert found.scores.shape == (3, 3, 5)
    assert torch.allclose(found.scores[..., 0], start, atol=1e-12)
    best = found.scores.gather(2, found.best[..., None])[..., 0]
    assert torch.equal(best, found.scores.amax(2))
    assert bool((best > start).all())
    assert torch.equal(maps, found.maps)
    assert 0 < float(found.closed.min()) <= float(found.closed.max()) < 1
    alone = feedback(model, images[1:2], [3], iterations=4)
    assert torch.allclose(alone[0, 0], maps[1, 1], rtol=1e-9, atol=1e-14)


def test_one_update_and_gradient_of_the_gated_network(images):
    """At a layer: with gates found by one step, the derivative is the one through these gates."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).double().eval()  # fmt: skip
    found = feedback_full(model, images, [1], iterations=1, rate=0.3)
    with torch.no_grad():
        h = model[1](model[0](images))
    h.requires_grad_(True)
    (g,) = torch.autograd.grad(model[2:](h)[:, 1].sum(), h)
    slope = g * h.detach()
    gates = (1 + 0.3 * slope / slope.abs().amax((1, 2, 3), keepdim=True)).clamp(0, 1)
    x = images.clone().requires_grad_(True)
    y = model[2:](model[1](model[0](x)) * gates)[:, 1]
    (truth,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(found.scores[:, 0, 1], y.detach())
    assert torch.allclose(found.maps[:, 0], truth.abs().amax(1), atol=1e-14)


def test_sparsity_closes_more(images):
    model = deep(1)
    free = feedback_full(model, images, [2], iterations=10)
    priced = feedback_full(model, images, [2], iterations=10, sparsity=0.2)
    assert float(priced.scores[..., 0].sum()) == pytest.approx(float(free.scores[..., 0].sum()))
    assert not torch.equal(priced.scores, free.scores)


def test_refusals(images):
    plain = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    with pytest.raises(eb.ExcitationError, match="no rectified linear unit"):
        feedback(plain, images, [0])
    with pytest.raises(eb.ExcitationError, match="iterations is 0; a whole number from 1 on"):
        feedback(deep(), images, [0], iterations=0)
