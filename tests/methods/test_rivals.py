"""r-MWP by hand on small nets, and as what it is: a difference of two MWPs."""

from __future__ import annotations

import pytest
import torch
from method_networks import deep
from torch import nn

import excitation as eb
from excitation.methods import find_method

odds = find_method("r-mwp")
rivals = find_method("r-mwp-rectified")


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
    found = rivals(model, row(2, 1, 3), [0], layer="input", signed=True, spatial=reading)[0, 0, 0]
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
        eb.explain(model, images, [side / side.sum(1, keepdim=True)], layer="6").maps for side in (inside, outside)
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
    found = odds(model, images, [1], layer="6", start="others", signed=True)
    assert torch.allclose(found[:, 0], every[:, 1] - every[:, [0, 2, 3, 4, 5]].mean(1), atol=1e-12)
    y = model(images).softmax(1)
    weights = -y * y[:, 1:2]
    weights[:, 1] += y[:, 1]
    found = odds(model, images, [1], layer="6", start="softmax", signed=True)
    assert torch.allclose(found[:, 0], torch.einsum("bk,bkhw->bhw", weights, every), atol=1e-12)


@pytest.mark.parametrize("method", [odds, rivals], ids=["odds", "rectified"])
def test_a_list_for_each_image(images, method):
    model = deep(3)
    found = method(model, images, [[0], [1, 2], [3]], layer="6", signed=True)
    assert torch.allclose(found[1, 1], method(model, images[1:2], [2], layer="6", signed=True)[0, 0])
    assert float(found[0, 1].abs().max()) == 0


@pytest.mark.parametrize("target", [1, {0: 0.3, 2: 0.7}])
def test_starts_with_the_derivative_of_the_log_odds(target, images):
    """Autograd differentiates `log y(K) / y(not K)`; MWP is linear in its signal."""
    model = deep(4)
    own = torch.zeros(6, dtype=torch.bool)
    own[[1] if target == 1 else [0, 2]] = True
    scores = (10 * model(images)).detach().requires_grad_(True)
    y = scores.softmax(1)
    (y[:, own].sum(1) / y[:, ~own].sum(1)).log().sum().backward()
    louder = deep(4)
    with torch.no_grad():
        for tensor in (louder[-1].weight, louder[-1].bias):
            tensor.mul_(10)
    every = find_method("mwp")(louder, images, list(range(6)), layer="6")
    found = odds(louder, images, [target], layer="6", signed=True)
    assert torch.allclose(found[:, 0], torch.einsum("bk,bkhw->bhw", scores.grad, every), atol=1e-12)
    assert float(found.abs().max()) > 1e-4


@pytest.mark.parametrize("shift", [-1000.0, 50.0])
def test_odds_do_not_change_when_all_scores_rise(shift, images):
    """Where nothing is rectified below: the same start, and no empty map for a class with a negative score."""
    model, other = deep(5), deep(5)
    with torch.no_grad():
        other[-1].bias.add_(shift)
    found, shifted = (odds(net, images, [0, {1: 0.5, 4: 0.5}], layer="6", signed=True) for net in (model, other))
    assert torch.allclose(found, shifted, atol=1e-9)
    if shift < 0:
        assert bool((other(images) < 0).all())
        assert float(rivals(other, images, [0], layer="6").sum()) == 0
    assert bool((shifted.clamp(min=0).flatten(2).sum(2) > 0).all())


def test_odds_of_hopeless_classes_do_not_underflow(images):
    """In single precision `exp(-500)` is nothing, but the two classes still share the target's signal by 1 to e."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(4))
        model[1].bias.copy_(torch.tensor([500.0, 0, -1, -2]))
    x = torch.zeros(1, 1, 1, 4) + 1
    found = odds(model, x, [{1: 0.5, 2: 0.5}], layer="input", signed=True)[0, 0, 0]
    e = torch.tensor([0.0, -1.0]).softmax(0)
    assert torch.allclose(found, torch.tensor([-1.0, float(e[0]), float(e[1]), 0.0]), atol=1e-6)


def test_odds_on_a_score_map(images):
    """The class's share by its mean score, its places by the signal's reading."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.ReLU()).double().eval()
    s = model(images).detach()
    found = odds(model, images, [2], layer="1", spatial="softmax", signed=True)
    y = s.mean((2, 3))
    rest = torch.tensor([0, 1, 3])
    start = torch.zeros_like(s)
    places = s.flatten(2).softmax(2).reshape(s.shape)
    start[:, 2] = places[:, 2]
    start[:, rest] = -y[:, rest].softmax(1)[..., None, None] * places[:, rest]
    assert torch.allclose(found, eb.explain(model, images, [start], layer="1").maps, atol=1e-12)


TARGETS = [2, {0: 0.3, 3: 0.7}, {1: 1.0, 2: -0.5}]


@pytest.mark.parametrize("signed", [False, True])
def test_contrast_rivals_of_explain_is_the_method(signed, images):
    """Of several layers from one sweep, of mixtures, and of a list of targets for each image."""
    model = deep(6)
    for targets in (TARGETS, [[0], [1, {2: 0.5, 4: 0.5}], [3]]):
        found = eb.explain(model, images, targets, layer=["6", "3"], method="r-mwp", signed=signed)
        for layer in found.layers:
            maps, whole = found.per_image(layer), odds(model, images, targets, layer=layer, signed=signed)
            expected = [whole[i, : len(maps[i])] for i in range(3)]
            assert all(
                torch.allclose(one, other, rtol=0, atol=1e-12) for one, other in zip(maps, expected, strict=True)
            )
            assert float(whole.abs().max()) > 1e-4
            assert (float(whole.min()) < -1e-4) == signed
    full = eb.explain(model, images, [2], method="r-mwp", signed=True)
    ((name, maps),) = full.by_layer.items()
    assert torch.allclose(maps, odds(model, images, [2], signed=True), rtol=0, atol=1e-12), name
    assert float(maps.sum((2, 3)).abs().max()) < 1e-9
    assert bool(full.share[name].isnan().all())
    assert torch.equal(full.top, torch.ones(3, 1, dtype=torch.float64))


@pytest.mark.parametrize("reading", ["response", "softmax", "posterior"])
@pytest.mark.parametrize("rectified", [False, True])
def test_contrast_rivals_on_a_score_map_is_the_method(reading, rectified, images):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).double().eval()
    with torch.no_grad():
        model[2].weight[3] = -model[2].weight[3].abs()  # a class that answers nowhere
        model[2].bias[3] = -1
    if rectified:
        model.append(nn.ReLU())
    found = eb.explain(model, images, TARGETS, layer="0", method="r-mwp", spatial=reading, signed=True).maps
    assert torch.allclose(found, odds(model, images, TARGETS, layer="0", spatial=reading, signed=True), atol=1e-12)
    # The start by its formula, one unit at a time.
    s = model(images).detach()
    places = {
        "response": s.clamp(min=0),
        "softmax": s.flatten(2).softmax(2).reshape(s.shape),
        "posterior": s.softmax(1),
    }
    r = places[reading] / places[reading].sum((2, 3), keepdim=True).clamp(min=1e-300)
    weighed = s.mean((2, 3)).exp()[..., None, None] * r
    own = torch.tensor([1, 0, 0, 1], dtype=torch.float64)[:, None, None]
    sides = [weighed * side / (weighed * side).sum((1, 2, 3), keepdim=True) for side in (own, 1 - own)]
    by_hand = eb.explain(model, images, [sides[0] - sides[1]], layer="0").maps
    assert torch.allclose(found[:, 1:2], by_hand, atol=1e-12)
    assert float(by_hand.abs().max()) > 1e-4


def test_a_class_that_is_called_rivals(images):
    """The word is the contrast; the class goes by its index or by weights."""
    model, names = deep(7), ["a", "b", "rivals", "dual", "c", "d"]
    ask = {"layer": "6", "class_names": names, "signed": True}
    against = eb.explain(model, images, ["a"], against=2, **ask).maps
    assert torch.equal(eb.explain(model, images, ["a"], against={"rivals": 1}, **ask).maps, against)
    everyone = eb.explain(model, images, ["a"], method="r-mwp", **ask).maps
    assert torch.allclose(everyone, odds(model, images, [0], layer="6", signed=True), atol=1e-12)
    assert not torch.allclose(everyone, against, atol=1e-3)
