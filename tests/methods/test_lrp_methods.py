"""LRP against zennit on deep random networks, conservation, and its relation to MWP."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_networks import deep
from torch import nn

import excitation as eb
from excitation.methods import find_method

pytest.importorskip("zennit", reason="zennit is not installed", exc_type=ImportError)
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import EpsilonPlus, EpsilonPlusFlat, LayerMapComposite
from zennit.rules import AlphaBeta, Epsilon, Flat, Gamma, Norm, Pass, ZPlus
from zennit.types import Activation, AvgPool, Convolution, Linear

RULES = {
    "lrp-epsilon": lambda: Epsilon(),
    "lrp-alpha1-beta0": lambda: AlphaBeta(alpha=1, beta=0),
    "lrp-alpha2-beta1": lambda: AlphaBeta(alpha=2, beta=1),
    "lrp-z-plus": lambda: ZPlus(zero_params=["bias"]),
    "lrp-gamma": lambda: Gamma(gamma=0.25),
    "lrp-flat": lambda: Flat(),
}


def composite(name):
    if name == "lrp-epsilon-plus":
        return EpsilonPlus()
    if name == "lrp-epsilon-plus-flat":
        return EpsilonPlusFlat()
    rule = RULES[name]()
    return LayerMapComposite([(Activation, Pass()), (AvgPool, Norm()), (Convolution, rule), (Linear, rule)])


def relevance(model, images, target, composite, classes=6):
    with Gradient(model=model, composite=composite) as attributor:
        signal = torch.zeros(len(images), classes, dtype=images.dtype)
        signal[:, target] = 1
        _, found = attributor(images.clone(), signal)
    return found.sum(1)


FROM_SCORE = {"lrp-epsilon", "lrp-gamma", "lrp-epsilon-plus", "lrp-epsilon-plus-flat"}
"""Rules that start from the score unless asked otherwise: the map's sum is then the score."""


def close(found, truth, scale=None):
    return float((found - truth).abs().max()) < 1e-7 * float((truth if scale is None else scale).abs().max())


@pytest.mark.parametrize("name", [*RULES, "lrp-epsilon-plus", "lrp-epsilon-plus-flat"])
@pytest.mark.parametrize("seed", range(3))
def test_zennit(name, seed, images, untouched):
    model = deep(seed)
    check = untouched(model)
    asked = list(range(6))
    unit = find_method(name)(model, images, asked, start="unit")
    score = find_method(name)(model, images, asked, start="score")
    usual = find_method(name)(model, images, asked)
    check()
    scores = model(images).detach()
    for target in asked:
        truth = relevance(deep(seed, inplace=False), images, target, composite(name))
        assert close(unit[:, target], truth), target
        of_score = truth * scores[:, target, None, None]
        assert close(score[:, target], of_score), target
        assert close(usual[:, target], of_score if name in FROM_SCORE else truth), target


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"rule": "gamma", "gamma": 0.1}, lambda: Gamma(gamma=0.1)),
        ({"rule": "alpha-beta", "alpha": 3.0, "beta": 2.0}, lambda: AlphaBeta(alpha=3, beta=2)),
        ({"rule": "epsilon", "epsilon": 0.1}, lambda: Epsilon(epsilon=0.1)),
        ({"rule": "epsilon", "biases": False}, lambda: Epsilon(zero_params=["bias"])),
    ],
)
def test_options_of_rules_are_zennits(options, rule, images):
    given = LayerMapComposite(
        [
            (Activation, Pass()),
            (AvgPool, Norm(stabilizer=options.get("epsilon", 1e-6))),  # `epsilon` is that of all sums
            (Convolution, rule()),
            (Linear, rule()),
        ]
    )
    found = find_method("lrp")(deep(1), images, [0, 4], start="unit", **options)
    for place, target in enumerate((0, 4)):
        assert close(found[:, place], relevance(deep(1, inplace=False), images, target, given))


def normed(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, groups=2, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 64, 10),
        nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 6),
    )  # fmt: skip
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.eps = 1e-12  # zennit's merged network differs from the network itself by this number
            nn.init.uniform_(module.weight, -0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.double().eval()


@pytest.mark.parametrize("name", ["lrp-epsilon", "lrp-alpha2-beta1", "lrp-gamma", "lrp-epsilon-plus-flat"])
def test_batch_normalisation_is_folded_as_zennit_does(name, images):
    model = normed(0)
    found = find_method(name)(model, images, [0, 3], start="unit")
    for k, target in enumerate((0, 3)):
        if name.startswith("lrp-epsilon-plus"):
            truth = relevance(normed(0), images, target, EpsilonPlusFlat(canonizers=[SequentialMergeBatchNorm()]))
        else:
            rule = RULES[name]()
            merged = LayerMapComposite(
                [(Activation, Pass()), (Convolution, rule), (Linear, rule)], canonizers=[SequentialMergeBatchNorm()]
            )
            truth = relevance(normed(0), images, target, merged)
        assert float((found[:, k] - truth).abs().max()) < 1e-7 * float(truth.abs().max())


def test_transposed_convolutions_are_folded(images):
    """Folding into a transposed convolution gives the relevance of the network whose weights were multiplied."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5)
    nn.init.uniform_(norm.weight, -0.5, 1.5)
    norm.running_mean.normal_()
    plain = nn.ConvTranspose2d(3, 5, 3, stride=2)
    tail = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    model = nn.Sequential(plain, norm, *tail).double().eval()
    folded = nn.Sequential(nn.ConvTranspose2d(3, 5, 3, stride=2), *tail).double().eval()
    with torch.no_grad():
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        folded[0].weight.copy_(plain.weight * factor[None, :, None, None])
        folded[0].bias.copy_((plain.bias - norm.running_mean) * factor + norm.bias)
        assert torch.allclose(folded(images), model(images))
    for name in ("lrp-alpha2-beta1", "lrp-epsilon"):
        assert torch.allclose(find_method(name)(model, images, [0]), find_method(name)(folded, images, [0]), atol=1e-12)


@pytest.mark.parametrize("name", ["lrp-epsilon", "lrp-gamma", "lrp-epsilon-plus", "lrp-z-plus"])
def test_a_negative_score_does_not_turn_the_map(name, images):
    """What speaks for a class is positive whatever the sign of its score; a bias alone changes that sign here."""
    maps = []
    for shift in (5.0, -5.0):
        model = deep(1)
        with torch.no_grad():
            model[-1].bias += shift
        assert bool((model(images)[:, 0] * shift > 0).all())
        maps.append(find_method(name)(model, images, [0], epsilon=1e-9))
    positive, negative = maps
    agreement = F.cosine_similarity(positive.flatten(2), negative.flatten(2), dim=2)
    assert float(agreement.min()) > 0.9, agreement


@pytest.mark.parametrize("name", [*RULES, "lrp-epsilon-plus", "lrp-epsilon-plus-flat"])
def test_relevance_is_conserved_at_every_layer_without_biases(name, images):
    model = deep(1, bias=False)
    if name == "lrp-flat":  # silent neurons get relevance too, which an average of them cannot pass on
        model[4] = model[7] = nn.Identity()
        model = model[:10].append(nn.AdaptiveMaxPool2d(1)).append(nn.Flatten()).append(nn.Linear(12, 6).double()).eval()
    options = {} if name == "lrp-z-plus" else {"biases": False}
    for layer in ("9", "6", "3", "0", "input"):
        maps = find_method(name)(model, images, [0, 2, 5], layer=layer, epsilon=1e-12, start="unit", **options)
        assert torch.allclose(maps.sum((2, 3)), torch.ones(3, 3, dtype=torch.float64), atol=1e-6), layer


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.scale, self.top = nn.Conv2d(6, 6, 1), nn.Linear(6, 4)

    def forward(self, x):
        x = self.stem(x).relu()
        x = self.inner(x).relu() + x
        x = x * torch.sigmoid(self.scale(x.mean((2, 3), keepdim=True)))
        return self.top(torch.cat([x[:, :3], x[:, 3:]], 1).mean((2, 3)))


def test_sums_gates_and_arrangements_conserve(images):
    model = Residual().double().eval()
    maps = find_method("lrp-z-plus")(model, images, [0, 1, 2, 3])
    alive = (model.top.weight > 0).any(1)
    assert torch.allclose(maps.sum((2, 3))[:, alive], torch.ones(3, int(alive.sum()), dtype=torch.float64), atol=1e-3)
    by_hand = Residual.forward(model, images)
    started = find_method("lrp-epsilon")(model, images, [0], start="score", biases=False)
    assert started.shape == (3, 1, 20, 20)
    assert by_hand.shape == (3, 4)


@pytest.mark.parametrize("seed", range(3))
def test_z_plus_is_mwp_on_non_negative_images(seed, images):
    model = deep(seed)
    images = images.clamp(min=0)
    found = find_method("lrp-z-plus")(model, images, [0, 4], epsilon=1e-12)
    assert torch.allclose(found, eb.explain(model, images, [0, 4], layer="input").maps, atol=1e-9)


def test_contrasts(images, untouched):
    import copy

    model = deep(4)
    check = untouched(model)
    dual = copy.deepcopy(model)
    with torch.no_grad():
        dual[-1].weight.neg_()
        dual[-1].bias.neg_()
    plain, other = (find_method("lrp-z-plus")(m, images, [1, 2], layer="6") for m in (model, dual))
    found = find_method("c-lrp")(model, images, [1, 2], layer="6")
    check()
    assert torch.allclose(found, (plain - other).clamp(min=0), atol=1e-12)
    assert float(found.sum()) > 0
    # CLRP's first form: less the mean of all other classes; relevance is linear in its start.
    every = find_method("lrp-z-plus")(model, images, list(range(6)), layer="6")
    found = find_method("lrp-z-plus")(model, images, [1], layer="6", contrast="others")
    rest = [0, 2, 3, 4, 5]
    assert torch.allclose(found[:, 0], every[:, 1] - every[:, rest].mean(1), atol=1e-12)
    assert torch.equal(find_method("clrp")(model, images, [1], layer="6"), found.clamp(min=0))
    # SGLRP: the softmax's derivative at the scores.
    y = model(images).softmax(1)
    weights = -y * y[:, 1:2]
    weights[:, 1] += y[:, 1]
    found = find_method("lrp-z-plus")(model, images, [1], layer="6", contrast="softmax")
    assert torch.allclose(found[:, 0], torch.einsum("bk,bkhw->bhw", weights, every), atol=1e-12)
    assert torch.equal(find_method("sglrp")(model, images, [1], layer="6"), found.clamp(min=0))
    # On pooled scores that is r-MWP up to a factor for each image, and to LRP's epsilon.
    ours, theirs = (maps / maps.sum((2, 3), keepdim=True) for maps in (
        find_method("r-mwp")(model, images, [1], layer="6"), found.clamp(min=0),
    ))  # fmt: skip
    assert torch.allclose(ours, theirs, atol=1e-3 * float(ours.max()))


def test_options_are_checked(images):
    with pytest.raises(eb.ExcitationError, match="alpha - beta = 1"):
        find_method("lrp")(deep(), images, [0], rule="alpha-beta", alpha=2.0, beta=0.0)
    with pytest.raises(eb.ExcitationError, match="rule is 'plus'"):
        find_method("lrp")(deep(), images, [0], rule="plus")
    with pytest.raises(eb.ExcitationError, match="no option 'rule'"):
        find_method("lrp-flat")(deep(), images, [0], rule="flat")
