"""What people compare with, against maintained libraries, on deep random networks, batches and all targets."""

from __future__ import annotations

import pytest
import torch
from method_networks import deep
from peers import raw_map
from torch import nn

from excitation.methods import feedback_full, find_method

captum = pytest.importorskip("captum.attr", reason="captum is not installed")
TARGETS = list(range(6))
# The library adds 1e-6 below the line of Eq. 19, which matters where derivatives are small. Both its sides grow with
# the square of the derivatives, so with larger last weights it no longer does; the formula stays the same.
LARGE = 1e8


def steep(seed, inplace=True):
    """`deep` with larger scores, and so larger derivatives."""
    model = deep(seed, inplace=inplace)
    with torch.no_grad():
        for parameter in model[-1].parameters():
            parameter.mul_(LARGE)
    return model


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layer", ["1", "5", "9"])
@pytest.mark.parametrize(("name", "kind"), [("layer-cam", "LayerCAM"), ("grad-cam++", "GradCAMPlusPlus"),
                                            ("grad-cam", "GradCAM")])  # fmt: skip
def test_maps_from_gradients_are_pytorch_grad_cams(name, kind, layer, seed, images, untouched):
    make = steep if name == "grad-cam++" else deep
    model, plain = make(seed), make(seed, inplace=False)
    check = untouched(model)
    found = find_method(name)(model, images, TARGETS, layer=layer)
    check()
    assert float(found.amax()) > 0
    for k in TARGETS:
        truth = raw_map(kind, plain, plain[int(layer)], images, k)
        assert float((found[:, k] - truth).abs().max()) <= 1e-5 * float(truth.abs().max()), k


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layer", ["6", "9"])
def test_score_cam_is_pytorch_grad_cams(layer, seed, images, untouched, monkeypatch):
    """Two things set apart: the library enlarges masks with aligned corners, which the paper's program does not, and
    silent channels, which show nothing, have a part in its softmax; so maps are compared by their shape."""
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", lambda size: nn.Upsample(size, mode="bilinear"))
    model, plain = deep(seed), deep(seed, inplace=False)
    check = untouched(model)
    found = find_method("score-cam")(model, images, TARGETS, layer=layer)
    check()
    for k in TARGETS:
        truth = raw_map("ScoreCAM", plain, plain[int(layer)], images, k)
        for ours, theirs in zip(found[:, k], truth, strict=True):
            assert float((ours / ours.max() - theirs / theirs.max()).abs().max()) <= 1e-5, k


@pytest.mark.parametrize("seed", range(3))
def test_smoothgrad_is_captums_noise_tunnel_on_the_same_noise(seed, images, untouched, monkeypatch):
    model, plain = deep(seed), deep(seed, inplace=False)
    check = untouched(model)
    found = {kind: find_method("smoothgrad")(model, images, TARGETS, samples=6, noise=0.1, seed=5, average=kind)
             for kind in ("signed", "absolute")}  # fmt: skip
    check()
    generator = torch.Generator().manual_seed(5)
    draws = torch.stack([torch.randn((3, 20, 20), generator=generator, dtype=torch.float64) for _ in range(6)])
    spread = 0.1 * (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))

    def shared(input, stdev, samples):
        # Captum lays the samples of one image next to each other.
        assert samples == 6
        noise = spread[:, None, None, None, None] * draws
        return (input[:, None] + noise).flatten(0, 1)

    monkeypatch.setattr(captum.NoiseTunnel, "_add_noise_to_input", staticmethod(shared))
    for kind, absolute in (("signed", False), ("absolute", True)):
        tunnel = captum.NoiseTunnel(captum.Saliency(plain))
        for k in TARGETS:
            theirs = tunnel.attribute(images, nt_samples=6, target=k, abs=absolute)
            truth = theirs.abs().amax(1)
            assert float((found[kind][:, k] - truth).abs().max()) <= 1e-10 * float(truth.max()), (kind, k)


@pytest.mark.parametrize("seed", range(2))
def test_feedback_is_what_hooks_on_the_rectifiers_do(seed, images):
    """The same gates by PyTorch's own hooks and autograd, in a network that is changed for it."""
    found = feedback_full(deep(seed), images, [0, 4], iterations=4, rate=0.4, sparsity=0.05)
    for i, k in enumerate((0, 4)):
        scores, maps = by_hooks(deep(seed, inplace=False), images, k, iterations=4, rate=0.4, sparsity=0.05)
        assert torch.allclose(found.scores[:, i], scores, rtol=1e-9, atol=1e-12)
        assert torch.allclose(found.maps[:, i], maps, rtol=1e-9, atol=1e-14)


def by_hooks(model, images, target, iterations, rate, sparsity):
    """Scores of all iterates `(image, iterate)`, and the absolute derivative at the best."""
    rectifiers = [module for module in model if isinstance(module, nn.ReLU)]
    gates, scores, maps = {}, [], []
    for module in rectifiers:
        module.register_forward_hook(lambda module, _, y: y * gates.setdefault(module, torch.ones_like(y)))
    for _ in range(iterations + 1):
        x = images.clone().requires_grad_(True)
        if gates:
            gates.update({module: gate.detach().requires_grad_(True) for module, gate in gates.items()})
        y = model(x)[:, target]
        if not scores:  # the gates stand only now
            gates.update({module: gate.requires_grad_(True) for module, gate in gates.items()})
            y = model(x)[:, target]
        slopes = torch.autograd.grad(y.sum(), [x, *gates.values()])
        scores.append(y.detach())
        maps.append(slopes[0].abs().amax(1))
        for (module, gate), slope in zip(list(gates.items()), slopes[1:], strict=True):
            steepest = slope.abs().flatten(1).amax(1)
            steepest = torch.where(steepest > 0, steepest, 1).reshape(-1, *(1,) * (slope.dim() - 1))
            gates[module] = (gate.detach() + rate * (slope / steepest - sparsity)).clamp(0, 1)
    scores, maps = torch.stack(scores, 1), torch.stack(maps, 1)
    best = scores.argmax(1)
    return scores, maps[torch.arange(len(images)), best]
