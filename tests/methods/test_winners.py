"""Selective Tuning by hand and against a plain search; sampled winners converge to MWP."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_networks import deep
from torch import nn

import excitation as eb
from excitation.methods import find_method

tuning, sampled = find_method("selective-tuning"), find_method("sampled-winners")


def row(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1)


def two_layers():
    """h = (2 a + b, b + 3 c), s = (h0 + h1, h1 - h0)."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    model = model.double().eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[2.0, 1, 0], [0, 1, 3]]))
        model[3].weight.copy_(torch.tensor([[1.0, 1], [-1, 1]]))
    return model


def test_selective_tuning_by_hand():
    model, image = two_layers(), row(4, 1, 2)
    # h = (9, 7): for s0 h0 wins, and below it a (8 against 1); for s1 h1 wins, and below it c (6 against 1).
    assert tuning(model, image, [0, 1], layer="input").flatten(1).tolist() == [[1, 0, 0, 0, 0, 1]]
    # Within 30 % of the winner: h1 (7 of 9) wins as well for s0, and each sends its own strongest input.
    assert tuning(model, image, [0, 1], layer="input", within=0.3).flatten(2).tolist() == [[[1, 0, 1], [0, 0, 1]]]
    assert tuning(model, image, [0], layer="input", within=0.9).flatten().tolist() == [1, 1, 1]


def test_a_winner_through_a_negative_weight_asks_what_lowered_it():
    """y = -h, h = -2 x0 + x1: what raises y is x0, which lowered h."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False)).double().eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-2.0, 1]]))
        model[2].weight.fill_(-1)
    for method in (tuning, sampled):
        assert method(model, row(1, 1), [0], layer="input").flatten().tolist() == [1, 0]


def path(layers, image, target):
    """The one winner of each layer from the class down, by search over explicit matrices of each layer."""
    inputs, x = [], image[None]
    for layer in layers:
        inputs.append(x)
        x = layer(x)
    unit = target
    for layer, a in zip(reversed(layers), reversed(inputs), strict=True):
        if isinstance(layer, (nn.ReLU, nn.Flatten)):
            continue
        if isinstance(layer, nn.MaxPool2d):
            _, indices = F.max_pool2d(a, layer.kernel_size, layer.stride, return_indices=True)
            channel = unit // indices[0, 0].numel()
            unit = channel * a[0, 0].numel() + int(indices.flatten()[unit])
            continue
        # A column of the layer's matrix of excitatory weights for each input.
        basis = torch.eye(a.numel(), dtype=a.dtype).reshape(a.numel(), *a.shape[1:])
        bare = type(layer)(*shape_of(layer)).double()
        with torch.no_grad():
            bare.weight.copy_(layer.weight.clamp(min=0))
            bare.bias.zero_()
            excitation = bare(basis).flatten(1)[:, unit] * a.flatten()
        if float(excitation.max()) <= 0:
            return None
        unit = int(excitation.argmax())
    return unit


def shape_of(layer):
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding


@pytest.mark.parametrize("seed", range(3))
def test_selective_tuning_against_a_search(seed, untouched):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 4),
    ).double().eval()  # fmt: skip
    images = torch.rand(3, 2, 8, 8, dtype=torch.float64)
    check = untouched(model)
    found = tuning(model, images, [0, 1, 2, 3], layer="input")
    check()
    assert found.shape == (3, 4, 8, 8)
    seen = 0
    for b in range(3):
        for t in range(4):
            truth = torch.zeros(8 * 8)
            unit = path(list(model), images[b], t)
            if unit is not None:
                truth[unit % 64] = 1
                seen += 1
            assert torch.equal(found[b, t].flatten(), truth.double()), (b, t)
    assert seen >= 6


class Branches(nn.Module):
    """A residual sum of both signs, averages, a concatenation and a shared maximum."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.stem, self.inner = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.top, self.head = nn.Conv2d(8, 4, 1), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.tanh(self.stem(x))
        y = self.inner(x) + x
        x = F.avg_pool2d(F.relu(self.top(torch.cat([F.relu(y), x], 1))), 3, 2, 1)
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))


@pytest.mark.parametrize("layer", ["input", "stem"])
def test_sampled_walks_converge_to_mwp(layer, untouched):
    model = Branches().double().eval()
    images = torch.rand(2, 2, 6, 6, dtype=torch.float64) * 2 - 0.5
    check = untouched(model)
    targets = [0, {1: 0.5, 2: 0.25}]
    found = sampled(model, images, targets, layer=layer, walks=20000, seed=1)
    check()
    truth = eb.explain(model, images, targets, layer=layer).maps
    # A share is known up to sqrt(p (1 - p) / n) < 0.0036 at one, less for the small shares of single places.
    deviation = (truth.clamp(0, 1) / 20000).sqrt() + 1e-4
    assert float(((found - truth).abs() / deviation).max()) < 5
    assert torch.allclose(found.sum((2, 3)), truth.sum((2, 3)), atol=0.02)
    few = sampled(model, images, [0], layer=layer, walks=4)
    assert torch.equal(few * 4, (few * 4).round())
    assert torch.equal(few, sampled(model, images, [0], layer=layer, walks=4))
    assert not torch.equal(few, sampled(model, images, [0], layer=layer, walks=4, seed=9))


def test_sampled_walks_through_a_deep_network(images):
    """No walk is made or lost but where MWP loses mass, and walks stand only where MWP has mass."""
    model = deep(0)
    images = images[:1]
    truth = eb.explain(model, images, [0, 2], layer="0").maps
    found = sampled(model, images, [0, 2], layer="0", walks=300)
    assert bool((truth[found > 0] > 0).all())
    assert torch.allclose(found.sum((2, 3)), truth.sum((2, 3)), atol=0.12)
    winner = tuning(model, images, [0, 2], layer="0")
    assert winner.sum((2, 3)).tolist() == [[1, 1]]
    assert bool((truth[winner > 0] > 0).all())


def test_score_maps_start_at_one_unit_or_at_many(images):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1)).double().eval()
    winner = tuning(model, images, [1], layer="1")
    scores = model(images)[:, 1]
    for b in range(3):
        assert int(winner[b].sum()) == 1
        assert int(winner[b, 0].flatten().argmax()) == int(scores[b].flatten().argmax())
    walks = sampled(model, images, [1], layer="1", walks=500)
    truth = eb.explain(model, images, [1], layer="1").maps
    assert torch.allclose(walks.sum((2, 3)), truth.sum((2, 3)), atol=0.08)
    assert int((walks[0] > 0).sum()) > 20


def test_refusals(images):
    with pytest.raises(eb.ExcitationError, match="negative weights"):
        sampled(deep(), images, [{0: 1.0, 1: -1.0}])
    with pytest.raises(eb.ExcitationError, match="walks is 0"):
        sampled(deep(), images, [0], walks=0)
    with pytest.raises(eb.ExcitationError, match="less than 1"):
        tuning(deep(), images, [0], within=1.0)
