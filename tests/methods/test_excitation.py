"""MWP and c-MWP are the engine's; Table 2's variants by hand and against dense formulas."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from method_networks import deep
from torch import nn

import excitation as eb
from excitation.methods import find_method


def dense_products(model, image, signal):
    """`a * W+^T p` from layer to layer, for a chain of linear layers and ReLUs on one vector."""
    inputs, x = [], image
    for layer in model:
        inputs.append(x)
        x = layer(x)
    p = signal
    for layer, a in zip(reversed(model), reversed(inputs), strict=True):
        if isinstance(layer, nn.Linear):
            p = a * (p @ layer.weight.clamp(min=0))
    return p


def total(p):
    """Sums by image; a unit without any active excitatory input has none."""
    return p.sum(1, keepdim=True).clamp(min=1e-300)


class Chain(nn.Module):
    """Linear layers on the pixels of an image with one column."""

    def __init__(self, seed, sizes=(5, 16, 12, 4)):
        super().__init__()
        torch.manual_seed(seed)
        layers = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x):
        return self.layers(x.flatten(1))


def chain(seed):
    model = Chain(seed).double().eval()
    return model, torch.rand(2, 1, 5, 1, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(4))
def test_without_normalisers_by_dense_matrices(seed):
    model, images = chain(seed)
    found = find_method("eb-without-norm")(model, images, [0, 2], layer="input", signed=True)
    after = find_method("eb-post-norm")(model, images, [0, 2], layer="input", signed=True)
    dual = Chain(seed).double()
    with torch.no_grad():
        dual.layers[-1].weight.neg_()
    for t, target in enumerate((0, 2)):
        signal = F.one_hot(torch.tensor([target]), 4).double()
        with torch.no_grad():
            unit = torch.cat([dense_products(model.layers, x.flatten(1), signal) for x in images.split(1)])
            other = torch.cat([dense_products(dual.layers, x.flatten(1), signal) for x in images.split(1)])
        difference = unit - other
        assert float(difference.abs().max()) > 1e-6
        truth = difference / total(difference.abs())
        assert torch.allclose(found[:, t, :, 0], truth, atol=1e-12)
        truth = unit / total(unit) - other / total(other)
        assert torch.allclose(after[:, t, :, 0], truth, atol=1e-12)


def product(layer, a, p):
    """`a * W+^T p` of one layer of `deep`, by autograd; its pools pass on to their winners, and by their weights."""
    if isinstance(layer, nn.ReLU):
        return p
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        layer = copy.deepcopy(layer)
        with torch.no_grad():
            layer.weight.clamp_(min=0)
    a = a.detach().requires_grad_()
    (back,) = torch.autograd.grad(layer(a), a, p)
    return back.detach() if isinstance(layer, (nn.MaxPool2d, nn.Flatten)) else (a * back).detach()


def products(model, images, target, to):
    """The unnormalised sweep of `deep` from a unit down to the output of layer `to`."""
    inputs, x = [], images
    for layer in model:
        inputs.append(x)
        x = layer(x).detach()
    p = F.one_hot(torch.tensor([target] * len(images)), x.shape[1]).double()
    for layer, a in zip(reversed(model[to + 1 :]), reversed(inputs[to + 1 :]), strict=True):
        p = product(layer, a, p)
    return p.sum(1)


@pytest.mark.parametrize("layer", [1, 4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_without_normalisers_on_deep_networks(seed, layer, images):
    asked = list(range(6))
    without = find_method("eb-without-norm")(deep(seed), images, asked, layer=str(layer), signed=True)
    after = find_method("eb-post-norm")(deep(seed), images, asked, layer=str(layer), signed=True)
    plain, dual = deep(seed, inplace=False), deep(seed, inplace=False)
    with torch.no_grad():
        dual[-1].weight.neg_()
    for target in asked:
        unit, other = (products(model, images, target, layer) for model in (plain, dual))
        difference = unit - other
        scale = difference.abs().sum((1, 2), keepdim=True)
        assert torch.allclose(without[:, target], difference / scale, atol=1e-12)
        # A unit without any active excitatory input has no map.
        unit, other = (side / side.sum((1, 2), keepdim=True).clamp(min=1e-300) for side in (unit, other))
        assert torch.allclose(after[:, target], unit - other, atol=1e-12)


def test_mwp_and_c_mwp_are_explains(images, untouched):
    model = deep()
    check = untouched(model)
    for name, contrast in (("mwp", {}), ("c-mwp", {"method": "c-mwp"})):
        found = find_method(name)(model, images, [1, {2: 0.5, 3: 0.5}], layer="6")
        assert torch.equal(found, eb.explain(model, images, [1, {2: 0.5, 3: 0.5}], layer="6", **contrast).maps)
    check()
    default = find_method("mwp")(model, images, [1])
    assert torch.equal(default, eb.explain(model, images, [1]).maps)
    policies = eb.Policies.original()
    assert torch.equal(find_method("mwp")(model, images, [1], layer="input", policies=policies),
                       eb.explain(model, images, [1], layer="input", policies=policies).maps)  # fmt: skip


def test_the_variants_differ_from_c_mwp(images, untouched):
    model = deep(5)
    check = untouched(model)
    maps = {
        name: find_method(name)(model, images, [1, 4], layer="6")
        for name in ("c-mwp", "eb-without-norm", "eb-post-norm")
    }
    check()
    for name, one in maps.items():
        assert float(one.min()) == 0, name
        assert float(one.flatten(2).sum(2).min()) > 0, name
    flat = {name: one / one.flatten(2).sum(2)[..., None, None] for name, one in maps.items()}
    assert not torch.allclose(flat["c-mwp"], flat["eb-without-norm"], atol=1e-3)
    assert not torch.allclose(flat["c-mwp"], flat["eb-post-norm"], atol=1e-3)
    assert not torch.allclose(flat["eb-without-norm"], flat["eb-post-norm"], atol=1e-3)


def test_one_weighted_layer_tells_norm_from_no_norm_by_hand():
    """Scores 3 x0 - x1 and their dual: Z is 3 x0 and x1, so c-MWP is (1, -1), without norm (3 x0, -x1)."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False)).double().eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[3.0, -1.0]]))
    image = torch.tensor([1.0, 2.0], dtype=torch.float64).reshape(1, 1, 2, 1)
    found = {
        name: find_method(name)(model, image, [0], layer="input", signed=True).flatten().tolist()
        for name in ("c-mwp", "eb-without-norm", "eb-post-norm")
    }
    assert found["c-mwp"] == pytest.approx([1, -1])
    assert found["eb-without-norm"] == pytest.approx([3 / 5, -2 / 5])
    assert found["eb-post-norm"] == pytest.approx([1, -1])


def test_residual_sums_and_signed_inputs_by_hand():
    """y = 2 (x + r(x)), r(x) = -x: with Z = 1 the branches' positive parts pass, each times its own path."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.top = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

        def forward(self, x):
            x = x.flatten(1)
            return self.top(x + self.inner(x))

    model = Residual().double().eval()
    with torch.no_grad():
        model.inner.weight.fill_(-0.5)
        model.top.weight.fill_(2.0)
    image = torch.full((1, 1, 1, 1), 4.0, dtype=torch.float64)
    # top: sum s = 4 - 2 = 2, raised: 2 * 2 * 1 = 4; sum: skip passes 4 * 4 = 16, inner has no positive part: 0.
    found = find_method("eb-without-norm")(model, image, [0], layer="input", signed=True)
    assert found.item() == 1
    from excitation.core._forward import forward
    from excitation.engine import sweep
    from excitation.methods._excitation import UnnormalisedRules

    record = forward(model, image, None)
    start = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    (p,) = sweep(record, start, [record.images], UnnormalisedRules(eb.Policies()))
    assert p.sum().item() == 16


def test_a_dual_with_its_own_response_by_hand():
    """Scores s = a - b at two positions, (3, 1) and (1, 2): the unit stands at the first alone, the dual at the
    second; below, the unit's winner is a, the dual's b."""
    model = nn.Sequential(nn.Conv2d(2, 1, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = model.double().eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1))
    image = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64).reshape(1, 2, 1, 2)
    found = find_method("c-mwp")(model, image, [0], layer="input", dual="own", signed=True)
    assert found.flatten().tolist() == [1, -1]
    same = find_method("c-mwp")(model, image, [0], layer="input", signed=True)
    assert same.flatten().tolist() == pytest.approx([0, 0])
    with pytest.raises(eb.ExcitationError, match="pools features first"):
        find_method("c-mwp")(deep(), torch.rand(1, 3, 20, 20).double(), [0], layer="5", dual="own")


def test_a_dual_with_its_own_response_is_two_sweeps(images):
    torch.manual_seed(0)
    maps = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 1)).double().eval()
    model = nn.Sequential(*maps, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    found = find_method("c-mwp")(model, images, [1, {2: 0.5, 3: 0.5}], layer="input", dual="own", signed=True)
    dual = copy.deepcopy(maps)
    with torch.no_grad():
        dual[2].weight.neg_()
        dual[2].bias.neg_()
    unit, other = (eb.explain(m, images, [1, {2: 0.5, 3: 0.5}], layer="input").maps for m in (maps, dual))
    assert torch.allclose(found, unit - other, atol=1e-12)


@pytest.mark.parametrize("name", ["r-mwp", "lrp", "eb-post-norm", "selective-tuning", "mwp"])
def test_an_arm_of_the_network_is_called_one(name, images):
    class Arms(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            x = self.stem(x).relu()
            return self.head(torch.cat([self.left(x).relu(), self.right(x).relu()], 1).mean((2, 3)))

    with pytest.warns(eb.BypassWarning, match="layer 'left' is in one branch"):
        find_method(name)(Arms().double().eval(), images, [0, 1], layer="left")
