"""Sums of sums and sums of class scores are one sum; what silent neurons would win is lost."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb

FEATURES, CLASSES = 5, 3
CONTRASTS = pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}])


def nested(rng, leaves):
    """A random linear expression in which each leaf occurs once: how to compute it, and each leaf's factor."""
    if len(leaves) == 1:
        leaf = leaves[0]
        factor = rng.choice([1.0, -0.5, 2.0])
        wrap = rng.choice(["plain", "times", "divided"])
        if wrap == "times":
            return (lambda xs: factor * xs[leaf]), {leaf: factor}
        if wrap == "divided":
            return (lambda xs: xs[leaf] / factor), {leaf: 1 / factor}
        return (lambda xs: xs[leaf]), {leaf: 1.0}
    leaves = rng.sample(leaves, len(leaves))
    cut = rng.randint(1, len(leaves) - 1)
    (left, a), (right, b) = nested(rng, leaves[:cut]), nested(rng, leaves[cut:])
    way = rng.choice(["add", "subtract", "stack sum", "stack mean", "cat mean", "interpolated", "kept"])
    if way == "add":
        return (lambda xs: left(xs) + right(xs)), a | b
    if way == "subtract":
        return (lambda xs: left(xs) - right(xs)), a | {k: -v for k, v in b.items()}
    if way == "stack sum":
        return (lambda xs: torch.stack([left(xs), right(xs)], 1).sum(1)), a | b
    if way == "kept":
        return (lambda xs: (left(xs) + right(xs)).flatten(1).clone().reshape(xs[0].shape)), a | b
    halves = {k: v / 2 for k, v in (a | b).items()}
    if way == "stack mean":
        return (lambda xs: torch.stack([left(xs), right(xs)], -1).mean(-1)), halves
    if way == "interpolated":
        return (lambda xs: 0.5 * left(xs) + 0.5 * right(xs)), halves
    return (lambda xs: torch.cat([left(xs)[:, None], right(xs)[:, None]], 1).mean(1)), halves


class Scores(nn.Module):
    """Heads on features, put together by an expression; or the one head they amount to."""

    def __init__(self, seed, folded):
        super().__init__()
        rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        self.count = rng.randint(2, 5)
        self.expression, self.factors = nested(rng, list(range(self.count)))
        self.folded = folded
        self.conv = nn.Conv2d(2, FEATURES * self.count, 3).double()
        self.heads = nn.ModuleList(nn.Linear(FEATURES, CLASSES).double() for _ in range(self.count))
        for parameter in self.parameters():
            parameter.data.normal_(generator=generator)
        for head in self.heads:
            head.bias.data.normal_(0, 5, generator=generator)  # scores of either sign

    def forward(self, x):
        features = F.relu(self.conv(x)).mean((2, 3)).unflatten(1, (self.count, FEATURES))
        if self.folded:
            weight = torch.cat([self.factors[k] * head.weight for k, head in enumerate(self.heads)], 1)
            return F.linear(
                features.flatten(1), weight, sum(self.factors[k] * h.bias for k, h in enumerate(self.heads))
            )
        return self.expression([head(features[:, k]) for k, head in enumerate(self.heads)])


def pictures(seed=0):
    return torch.rand(2, 2, 6, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@CONTRASTS
@pytest.mark.parametrize("seed", range(25))
def test_linear_operations_on_scores_are_part_of_the_last_layer(seed, contrast):
    """Eq. 4 with the operations folded into the last weights, whatever the sign of a score."""
    images, options = pictures(), {**contrast, "signed": True, "layer": "input"}
    written, folded = Scores(seed, folded=False).eval(), Scores(seed, folded=True).eval()
    with torch.no_grad():
        assert torch.allclose(written(images), folded(images), atol=1e-12)
    expected = eb.explain(folded, images, [0, 1, 2], **options).maps
    assert torch.allclose(eb.explain(written, images, [0, 1, 2], **options).maps, expected, atol=1e-10)


@CONTRASTS
def test_a_bias_does_not_decide_whether_a_class_has_a_map(contrast):
    images = pictures()
    model = Scores(3, folded=False).eval()
    maps = []
    for shift in (-50.0, 0.0, 50.0):
        with torch.no_grad():
            for k, head in enumerate(model.heads):
                head.bias.fill_(shift / (model.count * model.factors[k]))
        maps.append(eb.explain(model, images, [0, 1, 2], layer="input", **contrast, signed=True).maps)
    assert torch.allclose(maps[0], maps[1], atol=1e-12)
    assert torch.allclose(maps[2], maps[1], atol=1e-12)


class Places(nn.Module):
    """A classifier of positions that pools afterwards, or before."""

    def __init__(self, pool_first):
        super().__init__()
        self.pool_first = pool_first
        generator = torch.Generator().manual_seed(1)
        self.conv, self.point = nn.Conv2d(2, 6, 3).double(), nn.Conv2d(6, CLASSES, 1).double()
        for parameter in self.parameters():
            parameter.data.normal_(generator=generator)

    def forward(self, x):
        x = F.relu(self.conv(x))
        if self.pool_first:
            return self.point(F.adaptive_avg_pool2d(x, 1)).flatten(1)
        return self.point(x).mean((2, 3))


@CONTRASTS
@pytest.mark.parametrize("layer", ["input", "conv"])
def test_pooling_scores_of_positions_is_pooling_before_them(layer, contrast):
    options = {**contrast, "signed": True, "layer": layer}
    found, expected = (
        eb.explain(Places(first).eval(), pictures(), [0, 1, 2], **options).maps for first in (False, True)
    )
    assert torch.allclose(found, expected, atol=1e-10)
    assert float(expected.abs().sum()) > 0.1


@pytest.mark.parametrize("way", ["classes", "positions"])
def test_every_way_to_all_classes_knows_it(way):
    images = pictures()
    for model in (Scores(3, folded=False).eval(), Places(pool_first=False).eval()):
        every = eb.all_classes(model, images, layer="conv", strategy=way)
        for contrast in ({}, {"method": "c-mwp"}):
            expected = eb.explain(model, images, [0, 1, 2], layer="conv", **contrast, signed=True).maps
            assert torch.allclose(every.maps([0, 1, 2], **contrast, signed=True), expected, atol=1e-10)


class Nested(nn.Module):
    """Neurons of both signs, summed by an expression or by one sum, below further layers."""

    def __init__(self, seed, flat, tail):
        super().__init__()
        rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        self.count, self.flat, self.tail = rng.randint(3, 6), flat, tail
        self.expression, self.factors = nested(rng, list(range(self.count)))
        self.conv, self.above = nn.Conv2d(2, 3 * self.count, 3).double(), nn.Conv2d(3, 4, 2).double()
        self.head = nn.Linear(4, CLASSES).double()
        for parameter in self.parameters():
            parameter.data.normal_(generator=generator)

    def forward(self, x):
        terms = list(self.conv(x).chunk(self.count, 1))
        if self.flat:
            y = torch.stack([self.factors[k] * term for k, term in enumerate(terms)], 2).sum(2)
        else:
            y = self.expression(terms)
        y = y + 1 if self.tail == "shifted" else F.relu(y) if self.tail == "rectified" else y
        return self.head(F.relu(self.above(y)).mean((2, 3)))


@pytest.mark.parametrize("tail", ["", "shifted", "rectified"])
@pytest.mark.parametrize("seed", range(12))
def test_nested_sums_are_one_sum(seed, tail):
    images = pictures(seed)
    nest, flat = (Nested(seed, flat=flat, tail=tail).eval() for flat in (False, True))
    with torch.no_grad():
        assert torch.allclose(nest(images), flat(images), atol=1e-12)
    found, expected = (eb.explain(model, images, [0, 1, 2], layer="input").maps for model in (nest, flat))
    assert torch.allclose(found, expected, atol=1e-10)


def test_deep_sums_need_no_deep_recursion():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3).double()

        def forward(self, x):
            terms = y = self.conv(x)
            for _ in range(400):
                y = y + terms.roll(1, 3)
            return y.mean((2, 3))

    torch.manual_seed(0)
    audit = eb.balance(Deep().eval(), pictures(), [0], layer="input")
    assert torch.allclose(audit.arrived + audit.lost, torch.ones(2, 1, dtype=torch.float64))


class Stream(nn.Module):
    """A residual stream that ends in an average: its last sum is taken in by nothing else."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.stem, self.block, self.head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, CLASSES)
        self.end = nn.Identity()
        self.double()
        for parameter in self.parameters():
            parameter.data.normal_(generator=generator)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.end(x + self.block(F.relu(x))).mean((2, 3)))


def test_the_map_of_a_layer_does_not_depend_on_which_others_are_asked_for():
    """Nor does it matter that the record begins at the layer."""
    model, images = Stream().eval(), pictures()
    together = eb.explain(model, images, [0, 1, 2], layer=[":add", "stem", "input"])
    for name, expected in together.by_layer.items():
        alone = eb.explain(model, images, [0, 1, 2], layer=name).maps
        assert torch.allclose(alone, expected, atol=1e-12), name


class Silent(nn.Module):
    """Everything is silent in one half of the picture; a maximum or a rectifier is on top."""

    def __init__(self, top):
        super().__init__()
        self.top = top
        self.conv = nn.Conv2d(1, 2, 1, bias=False).double()
        self.conv.weight.data = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(2, 1, 1, 1)

    def forward(self, x):
        x = F.relu(self.conv(x))  # channel 0 fires everywhere, channel 1 nowhere
        return {
            "max pooling": lambda: F.adaptive_max_pool2d(x, 1).flatten(1),
            "amax": lambda: x.amax((2, 3)),
            "max": lambda: x.flatten(2).max(2).values,
            "rectifier": lambda: F.relu(x[:, :, 1, 1]) * 2,
            "mean": lambda: x.mean((2, 3)),
            "sum of silent terms": lambda: (x + x.flip(2)).amax((2, 3)),
            "clamp": lambda: x[:, :, 1, 1].clamp(0, 3),
        }[self.top]()


@pytest.mark.parametrize("top", ["max pooling", "amax", "max", "rectifier", "mean", "sum of silent terms", "clamp"])
def test_silent_winners_lose_their_mass(top):
    image = 0.5 + pictures()[:1, :1]
    audit = eb.balance(Silent(top).eval(), image, [0, 1], layer="input")
    assert audit.arrived[0].tolist() == pytest.approx([1, 0])
    assert audit.lost[0].tolist() == pytest.approx([0, 1])
    spread = eb.balance(Silent(top).eval(), image, [0, 1], layer="input", policies=eb.Policies(normaliser="spread"))
    assert spread.arrived[0].tolist() == pytest.approx([1, 1])


def test_a_negative_maximum_of_scores_has_a_winner():
    """Neurons of both signs are not silent below zero: the class with a negative score keeps its map."""

    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6 * 7, CLASSES).double()

        def forward(self, x):
            return torch.stack([self.head(view.flatten(1)) for view in x.unbind(1)], 1).amax(1) - 100

    torch.manual_seed(0)
    found = eb.explain(Views().eval(), pictures(), [0, 1, 2], layer="input", method="mwp").maps
    assert torch.allclose(found.flatten(2).sum(2), torch.ones(2, 3, dtype=torch.float64))
