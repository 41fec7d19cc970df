"""Bounds: every activation lies in its interval, and the intervals are no wider than they need be."""

from __future__ import annotations

import math
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb
from excitation.engine import Recorder
from excitation.engine._bounds import (
    UNBOUNDED,
    Bounds,
    added,
    affine,
    compact,
    inverse,
    magnitude,
    negated,
    rising,
    times,
)
from excitation.engine._monotone import course
from excitation.engine._selected_bounds import hull, maximum, minimum
from excitation.engine.rules._products import rectified


class Function(nn.Module):
    """A function of one tensor, with batch normalisations and constants at hand."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(3))
        for norm in self.norms:
            norm.weight.data.normal_()
            norm.bias.data.normal_()
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        self.register_buffer("constant", torch.randn(4, 1, 1))
        self.register_buffer("mask", torch.rand(4, 6, 6) > 0.5)

    def forward(self, x):
        return self.function(self, x)


def recorded(function, x, seed=0):
    """The function's result and what the record knows of it."""
    torch.manual_seed(seed)
    model = Function(function).double().eval()
    recorder, found = Recorder(model), []
    recorder.run(x, lambda result: found.append(recorder.final(result)))
    return found[0]


def bounds(function, x=None):
    return recorded(function, torch.zeros(1, 4, 6, 6).double() if x is None else x)[1].bounds


RISING = {
    "tanh": torch.tanh,
    "relu": F.relu,
    "relu6": F.relu6,
    "elu": lambda x: F.elu(x, 1.5),
    "celu": lambda x: F.celu(x, 0.5),
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "hardsigmoid": F.hardsigmoid,
    "softplus": lambda x: F.softplus(x, beta=2),
    "softplus below": lambda x: F.softplus(x, beta=-1.5),
    "logsigmoid": F.logsigmoid,
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 2),
    "clamp": lambda x: x.clamp(max=0.3),
    "threshold": lambda x: F.threshold(x, 0.5, -0.2),
    "leaky": lambda x: F.leaky_relu(x, 0.2),
    "softsign": F.softsign,
    "erf": torch.erf,
    "plus": lambda x: x + 0.7,
    "minus": lambda x: 0.4 * x - 1.5,
    "over": lambda x: x / 0.3,
}
FALLING = {"neg": lambda x: -x, "from": lambda x: 0.5 - x, "times": lambda x: x * -2.5, "over": lambda x: x / -0.2}


def chain(draw):
    """A function of one number, made of functions that rise or fall."""
    steps = [draw.choice([*RISING.values(), *FALLING.values()]) for _ in range(draw.randint(1, 5))]

    def function(_, x):
        for step in steps:
            x = step(x)
        return x

    return function


@pytest.mark.parametrize("seed", range(60))
def test_bounds_of_functions_that_rise_or_fall_are_attained(seed):
    function = chain(random.Random(seed))
    ends = torch.tensor([-1e12, 1e12], dtype=torch.float64)
    least, most = sorted(function(None, ends).tolist())
    found = bounds(function)
    for limit, end in zip(found, (least, most), strict=True):
        assert limit == pytest.approx(end, abs=1e-6) or (math.isinf(limit) and abs(end) > 1e8 and limit * end > 0)


def expression(draw, depth):
    """A random expression over `(image, 4, 6, 6)`."""
    if depth == 0:
        return lambda m, x: x
    inner = expression(draw, depth - 1)
    kind = draw.randint(0, 11)
    if kind < 3:
        step = draw.choice([*RISING.values(), *FALLING.values()])
        return lambda m, x: step(inner(m, x))
    if kind < 5:
        other, operation = expression(draw, depth - 1), draw.choice([torch.add, torch.sub, torch.mul])
        return lambda m, x: operation(inner(m, x), other(m, x))
    if kind == 5:
        number = draw.randint(0, 2)
        return lambda m, x: m.norms[number](inner(m, x))
    if kind == 6:
        operation = draw.choice([torch.add, torch.sub, torch.mul, lambda a, b: b - a])
        return lambda m, x: operation(inner(m, x), m.constant)
    if kind == 7:
        return lambda m, x: inner(m, x) * m.mask
    pools = [
        lambda y: F.avg_pool2d(y, 3, 1, 1),
        lambda y: F.avg_pool2d(y, 3, 1, 1, count_include_pad=False),
        lambda y: F.avg_pool2d(F.pad(y, (1, 1, 1, 1)), 3, 1, divisor_override=4),
        lambda y: F.max_pool2d(y, 3, 1, 1),
        lambda y: F.max_pool2d(F.pad(y, (1, 1, 1, 1)), 3, 1),
        lambda y: y - y.mean((2, 3), keepdim=True),
        lambda y: y + y.sum((2, 3), keepdim=True),
        lambda y: y * y.amax(1, keepdim=True),
        lambda y: F.interpolate(F.avg_pool2d(y, 2), 6, mode="bilinear"),
    ]
    if kind < 10:
        pool = draw.choice(pools)
        return lambda m, x: pool(inner(m, x))
    moves = [
        lambda y: torch.cat([y[:, 2:], torch.tanh(y[:, :2])], 1),
        lambda y: y.flatten(2).transpose(1, 2).reshape(y.shape),
        lambda y: torch.stack([y, F.relu(y)], 1)[:, 1].flip(2),
        lambda y: F.glu(torch.cat([y, y], 1), 1),
        lambda y: y.abs(),
        lambda y: F.silu(y),
        lambda y: y * torch.sigmoid(y),
        lambda y: y * (y > 0.2),
        lambda y: y / (y.abs() + 0.5),
        lambda y: F.normalize(y),
        lambda y: y * y * y,
        lambda y: y**3,
    ]
    move = draw.choice(moves)
    return lambda m, x: move(inner(m, x))


@pytest.mark.parametrize("seed", range(120))
def test_activations_lie_within_their_bounds(seed):
    draw = random.Random(seed)
    function = expression(draw, draw.randint(2, 6))
    torch.manual_seed(seed)
    x = torch.randn(12, 4, 6, 6).double() * torch.logspace(-2, 3, 12)[:, None, None, None]
    y, value = recorded(function, x, seed)
    assert (value.valid is None) or value.valid.shape == y.shape
    holds = torch.ones_like(y).bool() if value.valid is None else value.valid
    slack = 1e-9 * (1 + y.abs())
    assert bool(((y >= value.bounds.lower - slack) | ~holds).all())
    assert bool(((y <= value.bounds.upper + slack) | ~holds).all())


def test_arithmetic_of_intervals():
    inf = math.inf
    assert affine(Bounds(-1.0, 2.0), -2.0, 1.0) == Bounds(-3.0, 3.0)
    assert affine(Bounds(0.0, inf), 0.0, 1.0) == Bounds(1.0, 1.0)
    assert times(Bounds(-1.0, 2.0), Bounds(-3.0, 1.0)) == Bounds(-6.0, 3.0)
    assert times(Bounds(0.0, inf), Bounds(0.0, inf)) == Bounds(0.0, inf)
    assert times(Bounds(-1.0, inf), Bounds(0.0, 1.0)) == Bounds(-1.0, inf)
    assert inverse(Bounds(0.0, 4.0)) == Bounds(0.25, inf)
    assert magnitude(Bounds(-3.0, 2.0)) == Bounds(0.0, 3.0)
    assert magnitude(Bounds(-3.0, -2.0)) == Bounds(2.0, 3.0)
    assert minimum([Bounds(0.0, 2.0), Bounds(-1.0, 5.0)]) == Bounds(-1.0, 2.0)
    assert rising(Bounds(0.0, inf), F.softsign) == Bounds(0.0, 1.0)
    by_channel = affine(Bounds(0.0, inf), torch.tensor([1.0, -1.0, 0.0]), torch.tensor([1.0, 2.0, 3.0]))
    assert by_channel.lower.tolist() == [1.0, -inf, 3.0]
    assert by_channel.upper.tolist() == [inf, 2.0, 3.0]


def test_silent_values():
    """Eq. 5 counts from the silent value, which linear operations move as they move the activation."""
    tanh, six = Bounds(-1.0, 1.0), Bounds(0.0, 6.0)
    assert negated(tanh).silent == 1.0
    assert negated(negated(tanh)).silent is None
    assert affine(tanh, -2.0, 1.0).silent == 3.0
    assert added([tanh, negated(tanh)]).silent == 0.0
    assert added([six, negated(tanh)]).silent == 1.0
    assert maximum([negated(tanh), negated(six)]).silent == 1.0
    assert maximum([tanh, negated(tanh)]).silent == 0.0
    assert minimum([negated(six), tanh]).silent == negated(maximum([six, negated(tanh)])).silent
    assert hull([negated(tanh), Bounds(0.3, 0.3)]).silent == 1.0
    assert times(negated(six), Bounds(0.0, 1.0)).silent == 0.0
    assert times(tanh, Bounds(0.0, 1.0)).silent == 0.0
    assert rising(negated(tanh), torch.sigmoid).silent is None
    assert rising(negated(tanh), F.softplus).silent is None
    assert rising(negated(six), lambda x: x + 7).silent == 7.0
    assert negated(UNBOUNDED).origin == 0.0
    by_channel = affine(six, torch.tensor([1.0, -1.0]), 0.0)
    assert by_channel.silent.tolist() == [0.0, 0.0]
    assert maximum([by_channel, by_channel]).silent == 0.0


COURSES = {
    "softsign": (lambda x: x / (1 + x.abs()), UNBOUNDED, True, (-1.0, 1.0)),
    "softplus": (lambda x: x + torch.log1p((-x).exp()), UNBOUNDED, True, (0.0, math.inf)),
    "sigmoid": (lambda x: x.exp() / (1 + x.exp()), Bounds(0.0, math.inf), True, (0.5, 1.0)),
    "falls": (lambda x: torch.where(x > 0, -x, 1 - x.exp()), UNBOUNDED, False, (-math.inf, 1.0)),
    "cube": (lambda x: x * x * x, Bounds(-2.0, 1.0), True, (-8.0, 1.0)),
}


@pytest.mark.parametrize("name", COURSES)
def test_the_course_of_a_function(name):
    function, argument, rises, limits = COURSES[name]
    found = course(function, argument)
    assert found.rises is rises
    assert found.bounds == pytest.approx(limits, abs=1e-9)


def test_functions_that_neither_rise_nor_fall():
    for function in (F.silu, torch.abs, torch.sin, lambda x: x * 0 + 1, lambda x: 1 / x, lambda x: x * x):
        assert course(function, UNBOUNDED) is None
    assert course(F.silu, Bounds(-1.0, math.inf)).rises


def test_limits_stay_small():
    """One number per channel, whatever the size of the pictures; one number where all channels agree."""
    x = torch.zeros(3, 4, 6, 6).double()
    for function in [
        lambda m, x: m.norms[0](F.relu(x)),
        lambda m, x: F.avg_pool2d(m.norms[0](F.relu(x)), 2),
        lambda m, x: torch.cat([torch.tanh(x), F.elu(x, 2.0)], 1),
    ]:
        lower = bounds(function, x).lower
        assert isinstance(lower, torch.Tensor)
        assert lower.numel() <= 8
    assert bounds(lambda m, x: torch.cat([torch.tanh(x), F.elu(x)], 1), x).lower == -1
    assert compact(torch.full((2, 3), 0.5)) == 0.5
    assert bounds(lambda m, x: F.relu(m.norms[0](x)), x) == Bounds(0.0, math.inf)
    assert bounds(lambda m, x: m.norms[0](x), x) is UNBOUNDED


def test_rounding_leaves_no_neuron_below_its_bound():
    x = torch.randn(1, 4, 6, 6) * 100
    y, value = recorded(lambda m, x: torch.tanh(x.float()) / 0.3 - 0.1, x)
    up, down = rectified(y.float(), value, eb.Policies())
    assert down is None
    assert float(up.min()) >= 0
    assert float(up.min()) < 1e-5


@pytest.mark.parametrize("normaliser", ["lose", "spread"])
def test_a_batch_norm_after_a_relu_gives_what_folding_it_gives(normaliser):
    """Channels with a positive scale have a least activation, those with a negative one a greatest."""
    torch.manual_seed(0)
    first, norm, second, head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 3), nn.Linear(6, 3)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    apart = nn.Sequential(first, nn.ReLU(), norm, second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    apart = apart.double().eval()
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    assert bool((scale < 0).any())
    assert bool((scale > 0).any())
    shift = norm.bias - norm.running_mean * scale
    folded = nn.Conv2d(8, 6, 3).double()
    folded.weight.data = second.weight * scale[:, None, None]
    folded.bias.data = second.bias + (second.weight * shift[:, None, None]).sum((1, 2, 3))
    together = nn.Sequential(first, nn.ReLU(), folded, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    x = torch.randn(2, 3, 9, 8).double()
    assert torch.allclose(apart(x), together(x))
    policies = eb.Policies(normaliser=normaliser)
    for method in ("mwp", "c-mwp"):
        a, b = (
            eb.explain(m, x, [0, 2], layer="input", method=method, policies=policies).maps for m in (apart, together)
        )
        assert torch.allclose(a, b, atol=1e-12)
