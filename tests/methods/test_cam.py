"""CAM by hand, Grad-CAM's identity with it, LayerCAM and Grad-CAM++ by their formulas, Grad-CAM as Captum's."""

from __future__ import annotations

import pytest
import torch
from method_networks import Counting, deep, pooled
from torch import nn

import excitation as eb
from excitation.methods import find_method

captum = pytest.importorskip("captum.attr", reason="captum is not installed")
cam, grad_cam = find_method("cam"), find_method("grad-cam")


@pytest.mark.parametrize("seed", range(3))
def test_cam_by_hand_and_the_identity_with_grad_cam(seed, images, untouched):
    model = pooled(seed)
    check = untouched(model)
    found = cam(model, images, [0, 3, {1: 0.5, 2: 0.5}])
    graded = grad_cam(model, images, [0, 3, {1: 0.5, 2: 0.5}], signed=True)
    check()
    with torch.no_grad():
        features, w = model[:5](images), model[-1].weight
        truth = torch.einsum("kc,bchw->bkhw", torch.stack([w[0], w[3], (w[1] + w[2]) / 2]), features)
        assert torch.allclose(found, truth, atol=1e-12)
        assert torch.allclose(found.mean((2, 3))[:, 0] + model[-1].bias[0], model(images)[:, 0])
    assert torch.allclose(graded * 100, truth, atol=1e-12)  # 10 x 10 positions
    cut = grad_cam(model, images, [0, 3, {1: 0.5, 2: 0.5}])
    assert torch.equal(cut, graded.clamp(min=0))


class Head(nn.Module):
    def __init__(self, head):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), head
        self.conv, self.fc, self.drop = nn.Conv2d(6, 4, 1), nn.Linear(6, 4), nn.Dropout()

    def forward(self, x):
        x = self.body(x)
        if self.head == "mean":
            return self.fc(self.drop(x.mean((2, 3))))
        if self.head == "conv on pooled":
            return self.conv(x.mean((2, 3), keepdim=True)).flatten(1).softmax(1)
        if self.head == "map":
            return self.conv(x)
        if self.head == "pooled map":
            return self.conv(self.drop(x)).relu().mean((2, 3))
        return self.fc(self.body(x).mean((2, 3)))


@pytest.mark.parametrize("head", ["mean", "conv on pooled", "map", "pooled map"])
def test_heads_cam_applies_to(head, images):
    model = Head(head).double().eval()
    with torch.no_grad():
        weight = model.fc.weight if head == "mean" else model.conv.weight.flatten(1)
        truth = torch.einsum("kc,bchw->bkhw", weight, model.body(images))
    assert torch.allclose(cam(model, images, [0, 1, 2, 3]), truth, atol=1e-12)
    contrasted = find_method("c-cam")(model, images, [0, 1, 2, 3])
    unmoved = truth.flatten(2).amax(2) > 0  # where all of CAM is negative, what is cut at zero leaves nothing
    assert bool(unmoved.any())
    assert torch.equal(contrasted.flatten(2).argmax(2)[unmoved], truth.flatten(2).argmax(2)[unmoved])
    named = {"mean": "body", "conv on pooled": "body", "map": "body"}.get(head)
    if named:
        assert torch.allclose(cam(model, images, [1], layer=named)[:, 0], truth[:, 1])


def test_cam_refuses_after_one_image(images):
    model = Counting(deep())
    with pytest.raises(eb.ExcitationError, match=r"CAM does not apply.*'inner\.12:relu'.*Grad-CAM"):
        cam(model, images, [0])
    assert model.seen == [1]
    flattened = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 18 * 18, 2)).double().eval()
    with pytest.raises(eb.ExcitationError, match="between the features"):
        cam(flattened, images, [0])
    with pytest.raises(eb.ExcitationError, match="leave `layer` out"):
        cam(pooled(), images, [0], layer="1")


def test_c_cam_does_not_move_the_maximum(images):
    model = pooled(1)
    maps, found = cam(model, images, [0, 2]), find_method("c-cam")(model, images, [0, 2])
    assert torch.equal(maps.flatten(2).argmax(2), found.flatten(2).argmax(2))
    assert torch.allclose(found, 2 * (maps / maps.abs().sum((2, 3), keepdim=True)).clamp(min=0), atol=1e-14)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("layer", ["0", "5", "9"])
def test_grad_cam_is_captums(seed, layer, images):
    model, plain = deep(seed), deep(seed, inplace=False)
    found = grad_cam(model, images, [0, 4], layer=layer)
    for k, target in enumerate((0, 4)):
        theirs = captum.LayerGradCam(plain, plain[int(layer)]).attribute(images, target=target, relu_attributions=True)
        assert torch.allclose(found[:, k], theirs[:, 0], rtol=1e-9, atol=1e-14)


def test_the_last_layer_is_the_default(images):
    model = deep(0)
    assert torch.equal(grad_cam(model, images, [1]), grad_cam(model, images, [1], layer="9"))


@pytest.mark.parametrize("layer", ["5", "9"])
def test_layer_cam_and_grad_cam_plus_plus_by_their_formulas(layer, images):
    model, plain = deep(3), deep(3, inplace=False)
    a = plain[: int(layer) + 1](images).detach().requires_grad_(True)
    (g,) = torch.autograd.grad(plain[int(layer) + 1 :](a)[:, 2].sum(), a)
    a = a.detach()
    found = find_method("layer-cam")(model, images, [2], layer=layer)
    assert torch.allclose(found[:, 0], (g.clamp(min=0) * a).sum(1).clamp(min=0), atol=1e-14)
    found = find_method("grad-cam++")(model, images, [2], layer=layer)
    for b in range(3):
        total = torch.zeros(a.shape[2:], dtype=torch.float64)
        for k in range(a.shape[1]):
            weight = 0.0
            for y in range(a.shape[2]):
                for x in range(a.shape[3]):
                    d = float(g[b, k, y, x])
                    below = 2 * d**2 + d**3 * float(a[b, k].sum())
                    weight += d**2 / below * max(d, 0) if below else 0
            total += weight * a[b, k]
        assert torch.allclose(found[b, 0], total.clamp(min=0), rtol=1e-9, atol=1e-13)
