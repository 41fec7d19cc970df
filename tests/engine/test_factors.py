"""Products: which factor takes the signal is known from where the factors come from, never from their sizes.

Each pair is one function written in two ways; their maps are equal.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb


class Net(nn.Module):
    """Convolution, a function under test, convolution, head; all on one seed."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.squeeze = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.norm = nn.BatchNorm2d(6, eps=0)
        self.second, self.head = nn.Conv2d(6, 5, 3, padding=1), nn.Linear(5, 3)
        self.a, self.b = nn.Linear(6, 3), nn.Linear(3, 6)
        self.register_buffer("ones", torch.ones(6, 1, 1))
        self.register_buffer("mask", (torch.arange(6) % 2 == 0)[:, None, None])
        self.function = function

    def forward(self, x):
        return self.head(F.relu(self.second(self.function(self, self.first(x)))).mean((2, 3)))


def answer(function, x, layer="input", **options):
    return eb.explain(Net(function).double().eval(), x, [0, 2], layer=layer, **options).maps


def assert_equal_maps(one, other, **options):
    """Two functions have equal values, and networks with one or the other equal maps."""
    torch.manual_seed(1)
    x = torch.randn(2, 3, 7, 6).double()
    nets = [Net(function).double().eval() for function in (one, other)]
    assert torch.allclose(nets[0](x), nets[1](x), atol=1e-12)
    found = [eb.explain(net, x, [0, 2], layer="input", **options).maps for net in nets]
    assert float(found[1].abs().max()) > 0
    assert torch.allclose(found[0], found[1], rtol=0, atol=1e-10)


R = F.relu
BOUNDED = {
    "elu of a ReLU": (lambda m, x: F.elu(R(x)), lambda m, x: R(x)),
    "celu of a ReLU": (lambda m, x: F.celu(R(x), 0.5), lambda m, x: R(x)),
    "selu of a ReLU": (lambda m, x: F.selu(R(x)), lambda m, x: R(x) * 1.0507009873554805),
    "threshold of a ReLU": (lambda m, x: F.threshold(R(x), -1, -5), lambda m, x: R(x)),
    "two negations": (lambda m, x: torch.tanh(x).neg().neg(), lambda m, x: torch.tanh(x)),
    "from one, twice": (lambda m, x: 1 - (1 - torch.tanh(x)), lambda m, x: torch.tanh(x)),
    "times a tensor": (lambda m, x: torch.tanh(x) * m.ones, lambda m, x: torch.tanh(x)),
    "over a tensor": (lambda m, x: torch.tanh(x) / (4 * m.ones), lambda m, x: torch.tanh(x) * 0.25),
    "over a number": (lambda m, x: torch.tanh(4 * x) / 0.1, lambda m, x: torch.tanh(4 * x) * 10),
    "an identity batch norm": (lambda m, x: m.norm(torch.tanh(x)), lambda m, x: torch.tanh(x)),
    "minus a buffer": (lambda m, x: R(x) - m.ones, lambda m, x: R(x) - 1),
    "plus a buffer": (lambda m, x: m.ones + R(x), lambda m, x: R(x) + 1),
    "softplus with beta below zero": (lambda m, x: F.softplus(x, beta=-1), lambda m, x: -F.softplus(-x)),
    "log-sigmoid": (lambda m, x: F.softplus(x, beta=-1, threshold=99), lambda m, x: F.logsigmoid(x)),
    "tanh by sigmoid": (lambda m, x: 2 * torch.sigmoid(2 * x) - 1, lambda m, x: torch.tanh(x)),
    "sums as averages": (
        lambda m, x: F.avg_pool2d(torch.tanh(x), 3, 1, 1, divisor_override=1),
        lambda m, x: F.avg_pool2d(torch.tanh(x), 3, 1, 1) * 9,
    ),
    "padding apart": (
        lambda m, x: F.avg_pool2d(F.pad(torch.tanh(x), (1, 1, 1, 1)), 3, 1),
        lambda m, x: F.avg_pool2d(torch.tanh(x), 3, 1, 1),
    ),
    "relu6 by two ReLUs": (lambda m, x: R(x) - R(x - 6), lambda m, x: F.relu6(x)),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_do_not_depend_on_how_a_function_is_written(name):
    assert_equal_maps(*BOUNDED[name])


def swished(y):
    return y * torch.sigmoid(y)


def gelu(y):
    return 0.5 * y * (1 + torch.erf(y / 2**0.5))


ONE_NEURON = {
    "silu": (lambda m, x: swished(x), lambda m, x: F.silu(x)),
    "silu as a quotient": (lambda m, x: x / (1 + torch.exp(-x)), lambda m, x: F.silu(x)),
    "silu by an inverse": (lambda m, x: x * (1 / (1 + torch.exp(-x))), lambda m, x: F.silu(x)),
    "silu by tanh": (lambda m, x: x * (0.5 * torch.tanh(x / 2) + 0.5), lambda m, x: F.silu(x)),
    "silu above zero": (lambda m, x: swished(R(x) + 1), lambda m, x: F.silu(R(x) + 1)),
    "silu of tanh": (lambda m, x: swished(torch.tanh(x)), lambda m, x: F.silu(torch.tanh(x))),
    "silu of a negative": (lambda m, x: swished(-R(x)), lambda m, x: F.silu(-R(x))),
    "hardswish": (lambda m, x: x * F.relu6(x + 3) / 6, lambda m, x: F.hardswish(x)),
    "hardswish by clamp": (lambda m, x: x * ((x + 3) / 6).clamp(0, 1), lambda m, x: F.hardswish(x)),
    "gelu": (lambda m, x: gelu(x), lambda m, x: F.gelu(x)),
    "gelu above zero": (lambda m, x: gelu(R(x) + 1), lambda m, x: F.gelu(R(x) + 1)),
    "gelu by tanh": (
        lambda m, x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        lambda m, x: F.gelu(x, approximate="tanh"),
    ),
    "gelu by tanh and products": (
        lambda m, x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))),
        lambda m, x: F.gelu(x, approximate="tanh"),
    ),
    "mish": (lambda m, x: x * torch.tanh(F.softplus(x)), lambda m, x: F.mish(x)),
    "square": (lambda m, x: (lambda y: y * y)(R(x)), lambda m, x: R(x) ** 2),
    "square of two ReLUs": (lambda m, x: R(x) * R(x), lambda m, x: R(x).square()),
    "cube": (lambda m, x: (lambda y: y * y * y)(R(x)), lambda m, x: R(x) ** 3),
    "cube of both signs": (lambda m, x: x * x * x, lambda m, x: x**3),
    "rectifier by its mask": (lambda m, x: x * (x > 0), lambda m, x: R(x)),
    "rectifier by its mask as numbers": (lambda m, x: x * (x > 0).to(x.dtype), lambda m, x: R(x)),
    "magnitude": (lambda m, x: x.abs(), lambda m, x: R(x) + R(-x)),
    "magnitude of a ReLU": (lambda m, x: R(x).abs(), lambda m, x: R(x)),
    "root": (lambda m, x: torch.sqrt(x.abs()), lambda m, x: x.abs() ** 0.5),
    "constant mask": (lambda m, x: torch.tanh(x) * m.mask, lambda m, x: torch.tanh(x) * m.mask.double()),
}


@pytest.mark.parametrize("name", ONE_NEURON)
def test_a_function_of_one_neuron_passes_its_signal_however_it_is_written(name):
    assert_equal_maps(*ONE_NEURON[name])


def test_a_square_of_both_signs_is_refused_in_both_spellings():
    x = torch.randn(1, 3, 7, 6).double()
    for function in (lambda m, x: x * x, lambda m, x: x**2):
        with pytest.raises(eb.UnsupportedOperationError, match=r"it is ambiguous which one wins|does not rise"):
            answer(function, x)


NORMS = {
    "normalize": (lambda m, x: F.normalize(x), lambda m, x: x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)),
    "normalize after a ReLU": (
        lambda m, x: F.normalize(R(x)),
        lambda m, x: R(x) / torch.linalg.vector_norm(R(x), dim=1, keepdim=True).clamp_min(1e-12),
    ),
    "rms by rsqrt": (
        lambda m, x: F.rms_norm(x, x.shape[1:], eps=1e-5),
        lambda m, x: x * torch.rsqrt(x.pow(2).mean((1, 2, 3), keepdim=True) + 1e-5),
    ),
    "rms by a quotient": (
        lambda m, x: F.rms_norm(x, x.shape[1:], eps=1e-5),
        lambda m, x: x / torch.sqrt((x * x).mean((1, 2, 3), keepdim=True) + 1e-5),
    ),
    "rms by a power": (
        lambda m, x: F.rms_norm(x, x.shape[1:], eps=1e-5),
        lambda m, x: x * ((x * x).mean((1, 2, 3), keepdim=True) + 1e-5) ** -0.5,
    ),
    "share of a sum": (
        lambda m, x: R(x) / (R(x).sum(1, keepdim=True) + 1),
        lambda m, x: R(x) / (1 + torch.linalg.vector_norm(x.relu(), 1, 1, keepdim=True)),
    ),
    "p-norm pooling": (lambda m, x: F.lp_pool2d(R(x), 2, 2), lambda m, x: (F.avg_pool2d(R(x) ** 2, 2) * 4) ** 0.5),
    "p-norm pooling above zero": (
        lambda m, x: F.lp_pool2d(R(x) + 0.5, 3, 2),
        lambda m, x: (F.avg_pool2d((R(x) + 0.5) ** 3, 2) * 4) ** (1 / 3),
    ),
    "glu": (
        lambda m, x: F.glu(torch.cat([torch.tanh(x), -x.flip(1)], 1), 1),
        lambda m, x: torch.tanh(x) * torch.sigmoid(-x.flip(1)),
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_division_by_a_statistic_passes_the_signal_to_what_is_divided(name):
    assert_equal_maps(*NORMS[name])


def test_cosine_heads():
    class Cosine(nn.Module):
        def __init__(self, head):
            super().__init__()
            torch.manual_seed(1)
            self.conv, self.weight, self.head = nn.Conv2d(3, 6, 3), nn.Parameter(torch.randn(4, 6)), head

        def forward(self, x):
            return self.head(F.relu(self.conv(x)).mean((2, 3)), self.weight)

    x = torch.randn(2, 3, 7, 6).double()
    heads = [
        lambda y, w: F.linear(F.normalize(y), F.normalize(w)),
        lambda y, w: F.linear(y, F.normalize(w)) / y.norm(dim=1, keepdim=True),
        lambda y, w: F.cosine_similarity(y[:, None], w[None], dim=-1),
        lambda y, w: F.cosine_similarity(y[:, :, None], w.t()[None]),
    ]
    for method in ("mwp", "c-mwp"):
        found = [eb.explain(Cosine(h).double().eval(), x, [0, 3], layer="input", method=method).maps for h in heads]
        for other in found[1:]:
            assert torch.allclose(found[0], other, rtol=0, atol=1e-10)


def excited(change):
    """Features times a channel gate that went through `change`."""

    def function(m, x):
        return R(x) * change(torch.sigmoid(m.squeeze(F.adaptive_avg_pool2d(x, 1))))

    return function


SAME_GATE = {
    "clone": lambda g: g.clone(),
    "detach": lambda g: g.detach(),
    "times one": lambda g: g * 1,
    "clamp": lambda g: g.clamp(0, 1),
    "relu": F.relu,
    "max pooling": lambda g: F.max_pool2d(g, 1),
    "average pooling": lambda g: F.avg_pool2d(g, 1),
    "mean": lambda g: g.mean((2, 3), keepdim=True),
    "amax": lambda g: g.amax((2, 3), keepdim=True),
    "shift": lambda g: 1 - (1 - g),
    "doubled and halved": lambda g: g * 2 * 0.5,
    "doubled, rectified and halved": lambda g: F.relu((g * 4).clone()) * 0.25,
    "expand": lambda g: g.expand(-1, -1, 7, 6),
    "reshape": lambda g: g.flatten(1)[:, :, None, None],
    "concatenation": lambda g: torch.cat([g[:, :2], g[:, 2:]], 1),
    "cast": lambda g: g.to(torch.float64),
    "product of gates": lambda g: g.sqrt() * g.sqrt(),
    "by its interval": lambda g: F.relu6(6 * g) / 6,
}


@pytest.mark.parametrize("name", SAME_GATE)
def test_what_is_done_to_a_gate_leaves_it_one(name):
    assert_equal_maps(excited(SAME_GATE[name]), excited(lambda g: g))


GATES = {
    "hard sigmoid": lambda m, s: F.hardsigmoid(s),
    "hard sigmoid by relu6": lambda m, s: F.relu6(s + 3) / 6,
    "hard sigmoid by clamp": lambda m, s: ((s + 3) / 6).clamp(0, 1),
    "tanh between zero and one": lambda m, s: 0.5 * torch.tanh(s) + 0.5,
    "logistic": lambda m, s: 1 / (1 + torch.exp(-s)),
    "softmax": lambda m, s: s.softmax(1),
    "mask": lambda m, s: s > 0,
    "mask as numbers": lambda m, s: (s > 0).double(),
    "beyond one, by its origin": lambda m, s: F.relu(2 * torch.sigmoid(s)).clone(),
    "inverse": lambda m, s: 1 / (s * s + 1),
    "inverse root": lambda m, s: torch.rsqrt(s.abs() + 1),
    "linear layers": lambda m, s: torch.sigmoid(m.b(m.a(s.flatten(1))))[:, :, None, None],
}


@pytest.mark.parametrize("name", GATES)
def test_gates_take_no_signal(name):
    """The map is that of the same network with the gate's values as constants."""
    x = torch.randn(1, 3, 7, 6).double()

    def gate(m, y):
        return GATES[name](m, m.squeeze(F.adaptive_avg_pool2d(y, 1)))

    net = Net(lambda m, y: R(y) * gate(m, y)).double().eval()
    with torch.no_grad():
        net.register_buffer("fixed", gate(net, net.first(x)).double())
    found = eb.explain(net, x, [0, 2], layer="input").maps
    net.function = lambda m, y: R(y) * m.fixed
    assert torch.allclose(found, eb.explain(net, x, [0, 2], layer="input").maps, rtol=0, atol=1e-12)


def test_linear_layers_and_convolutions_gate_alike():
    assert_equal_maps(
        lambda m, x: R(x) * torch.sigmoid(m.b(m.a(x.mean((2, 3)))))[:, :, None, None],
        lambda m, x: R(x) * torch.sigmoid(F.conv2d(
            F.conv2d(F.adaptive_avg_pool2d(x, 1), m.a.weight[:, :, None, None], m.a.bias),
            m.b.weight[:, :, None, None], m.b.bias)),
    )  # fmt: skip


def test_a_gate_beyond_one_is_a_gate_by_its_origin():
    """Twice a sigmoid reaches two: no interval says that it is a gate."""
    x = torch.randn(1, 3, 7, 6).double()
    found = answer(excited(lambda g: F.relu(2 * g).clone()), x)
    assert found.shape == (1, 2, 7, 6)


@pytest.mark.parametrize("size", [(1, 1), (7, 6)])
def test_two_gates_or_none_are_a_product(size):
    x = torch.randn(1, 3, 7, 6).double()
    for word, pair in {
        "both of them gates": (torch.sigmoid, torch.sigmoid),
        "neither of them a gate": (F.relu, F.relu),
    }.items():

        def product(m, y, pair=pair):
            return pair[0](y) * pair[1](m.squeeze(F.adaptive_avg_pool2d(y, size)))

        with pytest.raises(eb.UnsupportedOperationError, match=word):
            answer(product, x)
        assert answer(product, x, policies=eb.Policies(product="halves")).shape == (1, 2, 7, 6)


REFUSED = {
    "falls where its input rises": lambda m, x: 1 / R(x),
    "divides by an activation that can be negative": lambda m, x: x / m.squeeze(x),
    "a statistic of several neurons": lambda m, x: x + torch.linalg.vector_norm(x, dim=1, keepdim=True),
    "complex numbers": lambda m, x: torch.fft.rfft2(x).abs(),
    "its inputs can be negative": lambda m, x: F.lp_pool2d(x, 2, 2),
    "computes integers or a mask": lambda m, x: x + (x.roll(1, 1) > 0),
    "compares two activations": lambda m, x: (
        x * F.cosine_similarity(x, R(x))[:, None] + F.cosine_similarity(x, R(x))[:, None]
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_has_no_rule_is_refused_with_the_reason(reason):
    with pytest.raises(eb.UnsupportedOperationError, match=reason):
        answer(REFUSED[reason], torch.randn(1, 3, 7, 6).double())


def test_dropout_that_the_code_turns_on_is_told_from_a_model_in_training_mode():
    x = torch.randn(1, 3, 7, 6).double()
    with pytest.raises(eb.TrainingModeError, match=r"pass `training=self.training`"):
        answer(lambda m, y: F.dropout(y), x)
    net = Net(lambda m, y: m.drop(y)).double()
    net.drop = nn.Dropout(0.5)
    with pytest.raises(eb.TrainingModeError, match=r"call model\.eval\(\) first"):
        eb.explain(net.train(), x, [0], layer="input")
