"""Score-CAM and RISE by hand; integrated gradients, input x gradient and SmoothGrad against Captum and formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_networks import deep, pooled
from torch import nn

import excitation as eb
from excitation.methods import find_method
from excitation.methods._masks import random_mask

captum = pytest.importorskip("captum.attr", reason="captum is not installed")


def close(found, truth, tolerance):
    """Whether two maps differ by no more than a part of the largest value."""
    return float((found - truth).abs().max()) <= tolerance * float(truth.abs().max())


@pytest.mark.parametrize("of", ["score", "probability"])
def test_score_cam_by_hand(of, images, untouched):
    model = pooled(2)
    check = untouched(model)
    found = find_method("score-cam")(model, images, [0, 3], layer="4", of=of, batch=4)
    check()
    with torch.no_grad():
        features = model[:5](images)
        for b in range(3):
            scores = []
            for channel in features[b]:
                mask = F.interpolate(channel[None, None], (20, 20), mode="bilinear", align_corners=False)
                mask = (mask - mask.min()) / (mask.max() - mask.min()) if channel.max() > channel.min() else mask * 0
                y = model(images[b : b + 1] * mask)[0]
                scores.append((y.softmax(0) if of == "probability" else y)[[0, 3]])
            alive = torch.stack([c.max() > c.min() for c in features[b]])
            weights = torch.stack(scores).masked_fill(~alive[:, None], -torch.inf).softmax(0)
            truth = torch.einsum("ct,chw->thw", weights, features[b]).clamp(min=0)
            assert torch.allclose(found[b], truth, atol=1e-12)


def test_rise_by_hand(images, untouched):
    model = pooled(1)
    check = untouched(model)
    found = find_method("rise")(model, images, [0, 3], samples=40, cells=5, kept=0.4, seed=7, batch=10)
    check()
    generator = torch.Generator().manual_seed(7)
    truth = torch.zeros(3, 2, 20, 20, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(40):
            mask = random_mask((20, 20), 5, 0.4, generator)
            assert mask.shape == (20, 20)
            assert 0 <= float(mask.min()) <= float(mask.max()) <= 1
            truth += model(images * mask).softmax(1)[:, [0, 3], None, None] * mask / (40 * 0.4)
    assert torch.allclose(found, truth, atol=1e-12)
    alone = find_method("rise")(model, images[1:2], [3], samples=40, cells=5, kept=0.4, seed=7)
    assert torch.allclose(found[1:2, 1:], alone, atol=1e-12)


def test_rise_finds_the_pixels_that_count():
    """A network that reads one corner only: the map is highest there."""

    class Corner(nn.Module):
        def forward(self, x):
            seen = x[:, :, :4, 16:].mean((1, 2, 3))
            return torch.stack([seen * 8, -seen], 1)

    found = find_method("rise")(Corner().eval(), torch.ones(1, 3, 20, 20), [0], samples=150, of="score")[0, 0]
    y, x = divmod(int(found.argmax()), 20)
    assert y < 4
    assert x >= 16
    assert float(found[:4, 16:].mean()) > 1.2 * float(found.mean())


@pytest.mark.parametrize("seed", range(3))
def test_captums_integrated_gradients_and_input_times_gradient(seed, images, untouched):
    model, plain = deep(seed), deep(seed, inplace=False)
    check = untouched(model)
    integrated = find_method("integrated-gradients")(model, images, [0, 4], samples=10)
    product = find_method("input-x-gradient")(model, images, [0, 4])
    shifted = find_method("integrated-gradients")(
        model, images, [0], samples=10, baseline=0.3 * torch.ones(3, 20, 20).double()
    )
    check()
    for k, target in enumerate((0, 4)):
        theirs = captum.IntegratedGradients(plain).attribute(images, target=target, n_steps=10, method="gausslegendre")
        assert close(integrated[:, k], theirs.sum(1), 1e-7)  # Captum's steps are in single precision
        theirs = captum.InputXGradient(plain).attribute(images.clone().requires_grad_(True), target=target)
        assert torch.allclose(product[:, k], theirs.sum(1), rtol=1e-9, atol=1e-13)
    theirs = captum.IntegratedGradients(plain).attribute(images, 0.3 * torch.ones_like(images), target=0, n_steps=10)
    assert close(shifted[:, 0], theirs.sum(1), 1e-7)


def test_integrated_gradients_are_complete(images):
    model = deep(0)
    with torch.no_grad():
        rise = model(images) - model(torch.zeros_like(images))
    found = find_method("integrated-gradients")(model, images, [2], samples=60)
    assert torch.allclose(found.sum((2, 3))[:, 0], rise[:, 2], atol=5e-3 * float(rise.abs().max()))


def test_input_times_gradient_at_a_layer(images):
    plain = deep(2, inplace=False)
    a = plain[:6](images).detach().requires_grad_(True)
    (g,) = torch.autograd.grad(plain[6:](a)[:, 2].sum(), a)
    found = find_method("input-x-gradient")(deep(2), images, [2], layer="5")
    assert torch.allclose(found[:, 0], (a * g).sum(1).detach(), atol=1e-14)


@pytest.mark.parametrize("average", ["signed", "absolute"])
def test_smoothgrad_by_hand(average, images):
    model = deep(1, inplace=False)
    found = find_method("smoothgrad")(model, images, [3], samples=6, noise=0.1, seed=5, average=average)
    generator = torch.Generator().manual_seed(5)
    truth = torch.zeros_like(images)
    for _ in range(6):
        draw = torch.randn((3, 20, 20), generator=generator, dtype=torch.float64)
        spread = 0.1 * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
        noisy = (images + spread * draw).requires_grad_(True)
        (g,) = torch.autograd.grad(model(noisy)[:, 3].sum(), noisy)
        truth += (g.abs() if average == "absolute" else g) / 6
    assert torch.allclose(found[:, 0], truth.abs().amax(1), atol=1e-13)
    alone = find_method("smoothgrad")(model, images[2:], [3], samples=6, noise=0.1, seed=5, average=average)
    assert torch.allclose(found[2:], alone, atol=1e-13)
    without = find_method("smoothgrad")(model, images, [3], samples=2, noise=0.0)
    assert torch.allclose(without, find_method("gradient")(model, images, [3]))


def test_defined_at_the_image_only(images):
    for name in ("integrated-gradients", "smoothgrad", "rise"):
        with pytest.raises(eb.ExcitationError, match="leave `layer` out"):
            find_method(name)(deep(), images, [0], layer="5")
    with pytest.raises(eb.ExcitationError, match="baseline has shape"):
        find_method("integrated-gradients")(deep(), images, [0], baseline=torch.zeros(3))
    with pytest.raises(eb.ExcitationError, match="at least one"):
        find_method("smoothgrad")(deep(), images, [0], samples=0)
