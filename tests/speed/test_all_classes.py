"""All classes at once, each of the three ways, against `explain` one by one."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb

CLASSES = 12


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.norm.weight.data[::3] = -1.0
        self.wide = nn.Conv2d(8, 10, 1)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.stem(x)), 3, 2, 1)
        x = torch.relu(x + self.norm(self.two(torch.relu(self.one(x)))))
        x = torch.relu(torch.cat([self.wide(x)[:, :5], self.wide(F.avg_pool2d(x, 3, 1, 1))[:, 5:]], 1))
        return self.head(x.mean((2, 3)))


class Spatial(nn.Sequential):
    """Classifies positions and pools afterwards, as SqueezeNet does."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, CLASSES, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip


class ScoreMap(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, CLASSES, 1)
        )


class Signed(nn.Sequential):
    """The linear layer's inputs have both signs."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(6, CLASSES),
        )  # fmt: skip


NETWORKS = {Residual: "stem", Spatial: "1", ScoreMap: "1", Signed: "1"}


def question(kind, dtype=torch.float64):
    torch.manual_seed(1)
    return kind().to(dtype).eval(), torch.randn(2, 3, 13, 15, dtype=dtype), NETWORKS[kind]


def ways(kind):
    return ["classes", "positions"] + (["features"] if kind in {Residual, Signed} else [])


CASES = [(kind, way) for kind in NETWORKS for way in ways(kind)]


@pytest.mark.parametrize(("kind", "way"), CASES)
def test_equal_to_explain_for_every_class(kind, way):
    model, images, layer = question(kind)
    found = eb.all_classes(model, images, layer=layer, strategy=way)
    every = list(range(CLASSES))
    assert found.strategy == way
    for contrast in ({}, {"method": "c-mwp"}, {"method": "r-mwp"}, {"against": 3}, {"against": [1, 2]}):
        expected = eb.explain(model, images, every, layer=layer, **contrast, signed=True).maps
        assert float(expected.abs().max()) > 1e-3
        got = found.maps(every, **contrast, signed=True)
        assert torch.allclose(got, expected, atol=1e-12), contrast
    mixture = [{2: 0.5, 4: 0.25}, torch.rand(CLASSES, dtype=torch.float64)]
    cut = found.maps(mixture, method="c-mwp")
    assert torch.allclose(cut, eb.explain(model, images, mixture, layer=layer, method="c-mwp").maps, atol=1e-12)
    assert float(cut.min()) == 0
    mixture = [{2: 0.5, 4: 0.25}, {1: 1.0, 3: -1.0}, torch.eye(CLASSES, dtype=torch.float64)[5]]
    expected = eb.explain(model, images, mixture, layer=layer, method="r-mwp").maps
    assert torch.allclose(found.maps(mixture, method="r-mwp"), expected, atol=1e-12)
    assert float(expected.max()) > 1e-3


@pytest.mark.parametrize("reading", ["response", "softmax", "posterior"])
def test_rivals_of_which_some_answer_nowhere(reading):
    model, images, layer = question(ScoreMap)
    with torch.no_grad():
        model[-1].bias[3:6] = -100.0
    found = eb.all_classes(model, images, layer=layer, dual=False, spatial=reading)
    every = list(range(CLASSES))
    expected = eb.explain(model, images, every, layer=layer, method="r-mwp", spatial=reading, signed=True).maps
    assert torch.allclose(found.maps(every, method="r-mwp", signed=True), expected, atol=1e-12)
    assert bool(found.masses[:, 3:6].eq(0).all()) == (reading == "response")


@pytest.mark.parametrize("kind", NETWORKS)
def test_any_chunks_and_policies(kind):
    model, images, layer = question(kind)
    policies = eb.Policies(normaliser="spread", residual="branch")
    for way in ways(kind):
        found = eb.all_classes(model, images, layer=layer, strategy=way, memory=200_000, policies=policies)
        expected = eb.explain(model, images, [0, 5], layer=layer, method="c-mwp", signed=True, policies=policies).maps
        assert torch.allclose(found.maps([0, 5], method="c-mwp", signed=True), expected, atol=1e-12)


@pytest.mark.parametrize("way", ["classes", "positions", "features"])
def test_single_precision_and_large_maps(way):
    model, images = question(Residual, torch.float32)[0], torch.randn(2, 3, 41, 43)
    found = eb.all_classes(model, images, layer="stem", strategy=way)
    for contrast in ({}, {"method": "c-mwp"}):
        expected = eb.explain(model, images, [0, 7], layer="stem", **contrast, signed=True).maps
        assert torch.allclose(found.maps([0, 7], **contrast, signed=True), expected, atol=1e-6)


def test_the_cheapest_way_is_taken():
    model, images, layer = question(Residual)
    assert eb.all_classes(model, images, layer=layer).strategy == "features"
    assert eb.all_classes(ScoreMap().eval(), torch.randn(1, 3, 9, 9), layer="3").strategy == "positions"
    assert eb.all_classes(*question(Spatial)[:2], layer="1").strategy == "classes"


def test_a_question_takes_less_than_a_millisecond():
    maps = torch.rand(1, 1000, 14, 14)
    found = eb.ClassMaps("layer", maps, maps - 0.5, torch.rand(1, 1000), "positions")
    found.maps([1])
    spent = []
    for _ in range(200):
        start = time.perf_counter()
        found.maps([{3: 0.5, 4: 0.5}], method="c-mwp")
        spent.append(time.perf_counter() - start)
    assert min(spent) < 1e-3


def test_what_cannot_be_asked_is_said():
    model, images, layer = question(Spatial)
    with pytest.raises(eb.ExcitationError, match="does not end in a linear layer"):
        eb.all_classes(model, images, layer=layer, strategy="features")
    with pytest.raises(eb.ExcitationError, match="one pass of this batch needs about"):
        eb.all_classes(model, images, layer=layer, memory=1000)
    found = eb.all_classes(model, images, layer=layer, dual=False)
    with pytest.raises(eb.ExcitationError, match="dual=False"):
        found.maps([1], method="c-mwp")
    with pytest.raises(eb.TargetError, match="does not fit 12 classes"):
        found.maps([torch.ones(3)])
    with pytest.raises(eb.TargetError, match="target 12 is not a class"):
        found.maps([12])


@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)])
@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}])
def test_averages_whose_lowered_neurons_nothing_excites(pool, contrast):
    """An average of ReLUs before a negative scale: lowered signals arrive at it and are lost."""
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(6)
    norm.weight.data = torch.tensor([1.0, -1, 1, -1, 1, -1])
    parts = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), pool, norm, nn.Conv2d(6, 6, 1), nn.ReLU()]
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).double().eval()
    images = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    found = eb.all_classes(model, images, layer="0", strategy="positions").maps([0, 1, 2, 3], **contrast)
    expected = eb.explain(model, images, [0, 1, 2, 3], layer="0", **contrast).maps
    assert torch.allclose(found, expected, atol=1e-12)
