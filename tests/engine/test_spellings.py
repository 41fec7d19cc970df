"""The same function written differently has the same map."""

from __future__ import annotations

import pytest
import torch
from expressions import FUNCTIONS, MEANS, Expression
from spellings import (
    CONVOLUTION,
    GATE,
    HEAD,
    POINTWISE,
    POOLING,
    RECTIFIER,
    SCALING,
    SIGMOID,
    SMOOTH,
    SUM,
    Network,
)
from torch import nn

import excitation as eb

EVERY = {
    "convolution": CONVOLUTION, "pointwise": POINTWISE, "rectifier": RECTIFIER, "gate": GATE,
    "head": HEAD, "sum": SUM, "sigmoid": SIGMOID, **SMOOTH, **POOLING, **SCALING,
}  # fmt: skip
SHAPES = {
    "convolution": [(6, 6, 3, 3), (6,)], "pointwise": [(6, 6), (6,)], "gate": [(6, 6)], "head": [(4, 6), (4,)],
    **{kind: [(6,), (6,)] for kind in SCALING},
}  # fmt: skip


def pictures():
    return torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


class One(nn.Module):
    """One operation between two others."""

    def __init__(self, kind, way):
        super().__init__()
        generator = torch.Generator().manual_seed(2)

        def weight(*shape):
            return nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64) / 2)

        self.below, self.above = weight(6, 3, 3, 3), weight(6, 6, 1, 1)
        self.own = nn.ParameterList([weight(*shape) for shape in SHAPES.get(kind, [])])
        self.top = weight(4, 6)
        self.kind, self.way = kind, way

    def forward(self, x):
        x = nn.functional.conv2d(x, self.below, padding=1)
        if self.kind not in {"rectifier", *SMOOTH}:
            x = x.relu()
        if self.kind == "head":
            return self.way(x, *self.own)
        if self.kind == "sum":
            x = self.way(x, nn.functional.conv2d(x, self.above), -x.roll(1, 3))
        else:
            x = self.way(x, *self.own)
        return nn.functional.conv2d(x, self.above).relu().mean((2, 3)) @ self.top.t()


CASES = [(kind, number) for kind, ways in EVERY.items() for number in range(1, len(ways))]


@pytest.mark.parametrize(("kind", "number"), CASES)
@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}])
def test_one_operation(kind, number, contrast):
    first, other = (One(kind, EVERY[kind][at]).double().eval() for at in (0, number))
    x = pictures()
    assert torch.allclose(first(x), other(x), atol=1e-12)
    a, b = (
        eb.explain(model, x, [0, 1, {2: 0.5, 3: 0.5}], layer="input", **contrast, signed=bool(contrast)).maps
        for model in (first, other)
    )
    assert float((a - b).abs().max()) < 1e-10 * float(a.abs().max())
    if not contrast:
        assert float(a.min()) >= 0


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed):
    """A network and two others that differ in the spelling of every operation."""
    x = pictures()
    first = Network(seed, None).eval()
    reference = eb.explain(first, x, [0, 3], layer="input").maps
    for spelling in (1000 + seed, 2000 + seed):
        other = Network(seed, spelling).eval()
        assert torch.allclose(first(x), other(x), atol=1e-10)
        found = eb.explain(other, x, [0, 3], layer="input").maps
        assert float((found - reference).abs().max()) < 1e-10 * max(1.0, float(reference.abs().max()))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("seed", range(40))
def test_random_expressions(seed, depth):
    """Bounded neurons, negations, sums, selections, writes, means and gates, each written in several ways."""
    x = pictures()[..., :6, :7]
    reference = None
    for spelling in range(3):
        model = Expression(seed, spelling, depth).eval()
        scores = model(x).detach()
        found = [eb.explain(model, x, [0, 3], layer="input", method=m).maps for m in ("mwp", "c-mwp")]
        assert float(found[0].min()) >= -1e-12
        if reference is None:
            reference = scores, found
        assert torch.allclose(scores, reference[0], atol=1e-9)
        scale = float(reference[1][0].abs().max())
        for own, other in zip(found, reference[1], strict=True):
            assert float((own - other).abs().max()) < 1e-9 * max(scale, 1e-6)


class Between(nn.Module):
    """A function between a convolution and the rest of a network."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(1)
        self.below, self.above, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.Linear(6, 4)
        self.function = function
        self.register_buffer("sign", torch.tensor([1.0, -1, 1, 1, -1, -1]).reshape(6, 1, 1))

    def forward(self, x):
        y = self.function(self.below(x))
        return self.head(self.above(y).relu().mean((2, 3)))


def maps_of(function, normaliser="lose", method="mwp"):
    model = Between(function).double().eval()
    policies = eb.Policies(normaliser=normaliser)
    return eb.explain(model, pictures(), [0, 3], layer="input", method=method, policies=policies).maps


WAYS = [(name, way) for name, ways in FUNCTIONS.items() for way in range(1, len(ways))]


@pytest.mark.parametrize("normaliser", ["lose", "spread"])
@pytest.mark.parametrize(("name", "way"), WAYS)
def test_a_function_written_out(name, way, normaliser):
    first, other = (maps_of(FUNCTIONS[name][place], normaliser) for place in (0, way))
    assert float(first.sum()) > 0.1
    assert float((first - other).abs().max()) < 1e-10


@pytest.mark.parametrize("way", range(1, len(MEANS)))
@pytest.mark.parametrize("term", [lambda y, m: y - m, lambda y, m: -(m - y), lambda y, m: torch.add(y, m, alpha=-1)])
def test_a_mean_is_recognised_however_it_is_written(way, term):
    first = maps_of(lambda y: y - y.mean((2, 3), keepdim=True))
    other = maps_of(lambda y: term(y, MEANS[way](y)))
    assert float((first - other).abs().max()) < 1e-10


def test_what_is_no_mean_is_none():
    """Half the mean, or the mean of another tensor, is a branch."""
    first = maps_of(lambda y: y - y.mean((2, 3), keepdim=True))
    for mean in (lambda y: y.mean((2, 3), keepdim=True) / 2, lambda y: y.flip(1).mean((2, 3), keepdim=True)):
        other = maps_of(lambda y, mean=mean: y - mean(y))
        assert float((first - other).abs().max()) > 1e-4


MOVES = {
    "pooled": lambda y: nn.functional.avg_pool2d(y, 2, 1).flatten(2).mT.mT.unflatten(2, (5, 7)),
    "across": lambda y: y.amax(1, keepdim=True).expand_as(y),
    "sorted": lambda y: y.sort(1).values,
    "halves": lambda y: torch.cat([y[:, :3], -y[:, 3:]], 1),
    "mask": lambda y: y.masked_fill(torch.arange(6).reshape(6, 1, 1) > 3, 0.0),
}


@pytest.mark.parametrize("normaliser", ["lose", "spread"])
@pytest.mark.parametrize("move", MOVES)
def test_silent_values_of_channels_with_both_signs(move, normaliser):
    """Channels that were multiplied by -1 count from their upper limit, wherever they go."""
    signs = torch.tensor([1.0, -1, 1, 1, -1, -1]).reshape(6, 1, 1).double()
    first = maps_of(lambda y: MOVES[move](torch.tanh(y) * signs), normaliser)
    other = maps_of(lambda y: MOVES[move](torch.where(signs > 0, y.tanh(), -y.tanh())).neg().neg(), normaliser)
    assert float(first.sum()) > 0.1
    assert float((first - other).abs().max()) < 1e-10


@pytest.mark.parametrize("normaliser", ["lose", "spread"])
def test_a_mixture_and_its_negation(normaliser):
    tanh = torch.tanh

    def both(function, negated):
        first, other = (maps_of(way, normaliser) for way in (function, negated))
        assert float(first.sum()) > 0.1
        assert float((first - other).abs().max()) < 1e-10

    both(lambda y: tanh(y) - tanh(y.roll(1, 1)), lambda y: -(tanh(y.roll(1, 1)) - tanh(y)))
    both(
        lambda y: torch.minimum(tanh(y), -tanh(y.roll(1, 1))),
        lambda y: -torch.maximum(-tanh(y), tanh(y.roll(1, 1))),
    )
    both(lambda y: -nn.functional.relu6(y) * torch.sigmoid(y.roll(1, 1)),
         lambda y: -(nn.functional.relu6(y) * torch.sigmoid(y.roll(1, 1))))  # fmt: skip
