"""Sums and averages whose terms are all silent, and what has its bounds from weights of one sign."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb
from excitation.engine import _refusals
from excitation.markov import chain


def weights(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))


class Net(nn.Module):
    """`body(self, pixels)` below a class score."""

    def __init__(self, body, **made):
        super().__init__()
        for name, item in made.items():
            setattr(self, name, item)
        self.body = body

    def forward(self, x):
        return self.body(self, x)


def pictures(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def mass(body, x, **made):
    return eb.balance(Net(body, **made).eval(), x, [0], layer="input")


@pytest.mark.parametrize("way", [lambda a, b: a + b, lambda a, b: a.add(b), lambda a, b: torch.stack([a, b]).sum(0)])
def test_a_sum_below_zero_that_a_shift_makes_active(way):
    """By hand: `x = (1, 2)`, `a = x0 - 2 x1`, `b = 3 x0 - 4 x1`, `y = relu(a + b + 20)`.

    Folded, `y = 4 x0 - 6 x1 + 20`: `x0` alone excites it. The two terms are raised by 1 and 3 parts of `x0`.
    """
    x = torch.tensor([1.0, 2.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    one = nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64)[..., None, None])
    two = nn.Parameter(torch.tensor([[3.0, -4.0]], dtype=torch.float64)[..., None, None])

    def body(m, x):
        y = way(F.conv2d(x, m.one), F.conv2d(x, m.two))
        return F.relu(y + 20).flatten(1) @ m.top

    top = nn.Parameter(torch.ones(1, 1, dtype=torch.float64))
    found = eb.explain(Net(body, one=one, two=two, top=top), x, [0], layer="input").maps
    assert float(found) == pytest.approx(1)
    model = Net(body, one=one, two=two, top=top)
    with pytest.warns(eb.BypassWarning):
        left = [eb.explain(model, x, [0], layer=name).maps for name in (":conv2d", ":conv2d#2")]
    assert [float(share) for share in left] == pytest.approx([0.25, 0.75])


def test_silent_neurons_that_several_read_take_no_part():
    """A ReLU at zero and a stream below zero are neurons of their own: nothing raises them."""
    x = torch.tensor([1.0, 2.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    down = nn.Parameter(torch.tensor([[0.0, -1.0]], dtype=torch.float64)[..., None, None])
    top = nn.Parameter(torch.ones(1, 1, dtype=torch.float64))

    def rectified(m, x):
        y = F.conv2d(x, m.down).relu()
        return F.relu(y + y.roll(1, 3) + 20).flatten(1) @ m.top

    found = mass(rectified, x, down=down, top=top)
    assert float(found.arrived) == 0
    assert float(found.lost) == 1


@pytest.mark.parametrize(
    "pool", [lambda y: F.avg_pool2d(y, 2), lambda y: y.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))]
)
def test_windows_below_zero_that_a_batch_norm_makes_active(pool):
    """DenseNet's transitions: a 1x1 convolution, average pooling, a shift. Pooled first, the function is the same."""
    x, w, top = pictures(2, 3, 4, 4), weights(5, 3), weights(2, 5)
    with torch.no_grad():
        w[:, 0].abs_()
        w[:, 1:] -= 4
        top.abs_()

    def first(m, x):
        return F.relu(pool(F.conv2d(x, m.w[..., None, None])) + 20).mean((2, 3)) @ m.top.t()

    def last(m, x):
        return F.relu(F.conv2d(pool(x), m.w[..., None, None]) + 20).mean((2, 3)) @ m.top.t()

    one, other = (eb.explain(Net(body, w=w, top=top), x, [0, 1], layer="input").maps for body in (first, last))
    assert torch.allclose(one, other, atol=1e-12)
    found = mass(first, x, w=w, top=top)
    assert float(found.lost.abs().max()) < 1e-12


class Bottleneck(nn.Module):
    """A residual stream before activation, readable by `torch.fx`."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.stem, self.one = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.two, self.down, self.top = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4) for _ in range(4)])
        for norm in self.norms:
            nn.init.uniform_(norm.weight, -1, 1.5)
            nn.init.uniform_(norm.bias, 0, 2)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.one(torch.relu(self.norms[0](x)))
        x = x + self.two(torch.relu(self.norms[1](x)))
        x = self.pool(self.down(torch.relu(self.norms[2](x))))
        return self.top(torch.relu(self.norms[3](x)).mean((2, 3)))


@pytest.mark.parametrize("normaliser", ["lose", "spread"])
def test_equal_to_the_chain(normaliser):
    model, x = Bottleneck().double().eval(), pictures(1, 2, 6, 6)
    signal = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    truth = chain(model, x, normaliser=normaliser).mwp(signal)
    found = eb.explain(model, x, [signal], layer="input", policies=eb.Policies(normaliser=normaliser)).maps
    assert torch.allclose(found[0, 0], truth["input"][0].sum(0), atol=1e-12)


def test_all_classes_at_once():
    """The transposed sweep has the same shares."""
    model, x = Bottleneck().double().eval(), pictures(1, 2, 6, 6)
    found = eb.all_classes(model, x, layer="stem")
    down = eb.explain(model, x, [0, 1, 2], layer="stem").maps
    assert torch.allclose(found.maps([0, 1, 2]), down, atol=1e-10)


def test_a_batch_norm_after_a_rectifier_loses_what_its_folded_form_loses():
    """ConvMixer: `conv(bn(relu(x)))`. A channel at its least activation is silent, whatever the batch norm's shift."""
    x, below, above, top = pictures(2, 3, 6, 6) - 0.5, weights(4, 3, 1, 1), weights(4, 1, 3, 3, seed=2), weights(3, 4)
    scale, shift = torch.tensor([0.5, 1.5, 2.0, -1.0]).double(), torch.tensor([-3.0, -2.0, 1.0, 2.0]).double()

    def apart(m, x):
        y = F.conv2d(x, m.below).relu() * m.scale[:, None, None] + m.shift[:, None, None]
        return (F.conv2d(y, m.above, groups=4) + 9).relu().mean((2, 3)) @ m.top.t()

    def folded(m, x):
        y = F.conv2d(F.conv2d(x, m.below).relu(), m.above * m.scale[:, None, None, None], groups=4)
        y = y + (m.above.sum((1, 2, 3)) * m.shift)[:, None, None]
        return (y + 9).relu().mean((2, 3)) @ m.top.t()

    made = {"below": below, "above": above, "top": top, "scale": nn.Parameter(scale), "shift": nn.Parameter(shift)}
    assert torch.allclose(Net(apart, **made)(x), Net(folded, **made)(x))
    one, other = (mass(body, x, **made) for body in (apart, folded))
    assert torch.allclose(one.arrived, other.arrived, atol=1e-12)
    assert float(one.lost.min()) > 0.01


ONE_SIGNED = {
    "depthwise 1x1": lambda x, s, t: F.conv2d(x, s[:, None, None, None], t, groups=len(s)),
    "matrix": lambda x, s, t: F.linear(x.movedim(1, -1), torch.diag(s), t).movedim(-1, 1),
    "einsum": lambda x, s, t: torch.einsum("bchw,oc->bohw", x, torch.diag(s)) + t[:, None, None],
    "transposed": lambda x, s, t: F.conv_transpose2d(x, s[:, None, None, None], t, groups=len(s)),
    "padded": lambda x, s, t: F.conv2d(x, F.pad(s[:, None, None, None], (1, 1, 1, 1)), t, padding=1, groups=len(s)),
}
"""A scale and a shift for each channel, as weighted operations."""


@pytest.mark.parametrize("way", ONE_SIGNED)
@pytest.mark.parametrize("rectifier", [F.relu, F.relu6, torch.tanh, torch.sigmoid, F.elu])
def test_weights_of_one_sign_count_as_scales_do(way, rectifier):
    """In a sum, a channel counts from the number its inputs count from, not from zero: its bias is no evidence."""
    x, below, top = 3 * pictures(2, 3, 5, 5) - 1, weights(4, 3, 1, 1), weights(3, 4)
    s, t = torch.tensor([0.5, -1.5, 2.0, -1.0]).double(), torch.tensor([-3.0, 2.0, 1.0, 2.0]).double()

    def body(scaled):
        def run(m, x):
            y = rectifier(F.conv2d(x, m.below))
            return (scaled(y, m.s, m.t) + 2 * y).relu().mean((2, 3)) @ m.top.t()

        return run

    made = {"below": below, "top": top, "s": nn.Parameter(s), "t": nn.Parameter(t)}
    plain = Net(body(lambda x, s, t: x * s[:, None, None] + t[:, None, None]), **made)
    other = Net(body(ONE_SIGNED[way]), **made)
    assert torch.allclose(plain(x), other(x))
    one, two = (eb.explain(model, x, [0, 1, 2], layer=":conv2d").maps for model in (plain, other))
    assert torch.allclose(one, two, atol=1e-12)


@pytest.mark.parametrize("rectifier", [F.relu, F.relu6, torch.sigmoid, torch.tanh, F.hardsigmoid, F.elu])
def test_a_batch_norm_of_either_sign_is_folded(rectifier):
    """A neuron that a negative scale turned round is silent where it was: at its greatest activation."""
    x, below, above, top = 3 * pictures(2, 3, 5, 5) - 1, weights(4, 3, 1, 1), weights(5, 4, 3, 3), weights(3, 5)
    s, t = torch.tensor([0.5, -1.5, 2.0, -1.0]).double(), torch.tensor([-3.0, 2.0, 1.0, 2.0]).double()

    def apart(m, x):
        y = F.batch_norm(rectifier(F.conv2d(x, m.below)), torch.zeros_like(m.t), torch.ones_like(m.t), m.s, m.t, eps=0)
        return F.conv2d(y, m.above).relu().mean((2, 3)) @ m.top.t()

    def folded(m, x):
        y = F.conv2d(rectifier(F.conv2d(x, m.below)), m.above * m.s[:, None, None])
        y = y + (m.above.sum((2, 3)) @ m.t)[:, None, None]
        return y.relu().mean((2, 3)) @ m.top.t()

    made = {"below": below, "above": above, "top": top, "s": nn.Parameter(s), "t": nn.Parameter(t)}
    assert torch.allclose(Net(apart, **made)(x), Net(folded, **made)(x))
    for policies in (eb.Policies(), eb.Policies(normaliser="spread")):
        one, two = (
            eb.explain(Net(body, **made), x, [0, 1, 2], layer="input", policies=policies).maps
            for body in (apart, folded)
        )
        assert torch.allclose(one, two, atol=1e-12)


def test_a_fault_of_a_reader_is_no_other_form():
    def reader(reading, input, *, dim):
        return input.shape + dim  # a fault: a size plus a number

    told = _refusals.unread("'f'", reader, (None, torch.zeros(2)), {"dim": 1}, TypeError("a fault"))
    assert "bug in the engine" in str(told)
    assert "a fault" in str(told)
    other = _refusals.unread("'f'", reader, (None, torch.zeros(2)), {"dims": 1}, TypeError("a form"))
    assert "called in a form without a rule: (Tensor, dims=)" in str(other)


@pytest.mark.parametrize("dims", [(2, 3), (3,), (1,)])
@pytest.mark.parametrize("kind", [torch.amax, torch.amin, torch.logsumexp, torch.sum])
def test_reductions_leave_the_same_axes(dims, kind):
    x, w, top = pictures(2, 3, 5, 5), weights(4, 3, 1, 1), weights(3, 1)

    def body(reduce):
        def run(m, x):
            y = m.place(reduce(F.conv2d(x, m.w).relu()))
            return y.flatten(1).sum(1, keepdim=True) @ m.top.t()

        return run

    axes = []
    for reduce in (lambda y: kind(y, dims, keepdim=True), lambda y: y.mean(dims, keepdim=True)):
        layers = eb.list_layers(Net(body(reduce), w=w, top=top, place=nn.Identity()), x)
        axes.append(next(layer.axes for layer in layers if layer.name == "place"))
    assert axes[0] == axes[1]


def test_pictures_taken_apart_are_explained_one_by_one():
    w, top = weights(4, 3, 1, 1), weights(3, 4)

    def together(m, x):
        return F.conv2d(x, m.w).relu().mean((2, 3)) @ m.top.t()

    def apart(m, x):
        y = F.conv2d(x, m.w).relu().mean((2, 3))
        return torch.stack([torch.stack([torch.dot(v, row) for row in m.top]) for v in y.unbind(0)])

    x = pictures(2, 3, 5, 5)
    with pytest.raises(eb.UnsupportedOperationError, match="Explain the images one by one"):
        eb.explain(Net(apart, w=w, top=top), x, [0], layer="input")
    whole = eb.explain(Net(together, w=w, top=top), x, [0, 2], layer="input").maps
    for number in range(2):
        alone = eb.explain(Net(apart, w=w, top=top), x[number : number + 1], [0, 2], layer="input").maps
        assert torch.allclose(alone[0], whole[number], atol=1e-12)


@pytest.mark.parametrize(
    "way",
    [
        lambda y: y.mean((2, 3), keepdim=True).flatten(2),
        lambda y: y.flatten(2),
        lambda y: F.avg_pool2d(y, 3, 1, 1, count_include_pad=False).flatten(2),
    ],
)
def test_flags_by_channel_follow_the_shape(way):
    """`tanh` times 1 or -1 by channel: both limits are numbers, and which one is silent is one truth per channel."""
    sign, below, top = torch.tensor([1.0, -1, 1, -1]).double(), weights(4, 3, 1, 1), weights(3, 4)

    def scaled(m, x):
        return (way(torch.tanh(F.conv2d(x, m.below)) * m.sign[:, None, None])).mean(2) @ m.top.t()

    def folded(m, x):
        return (way(torch.tanh(F.conv2d(x, m.below)))).mean(2) @ (m.top * m.sign).t()

    x, made = pictures(2, 3, 6, 6), {"below": below, "top": top, "sign": nn.Parameter(sign)}
    one, two = (eb.explain(Net(body, **made).eval(), x, [0, 1], layer="input").maps for body in (scaled, folded))
    assert torch.allclose(one, two, atol=1e-12)


def test_an_inverse_swaps_under_every_policy():
    below, top = weights(4, 3, 1, 1), weights(3, 4)

    def number(m, x):
        return (1 / (1 + torch.exp(-F.conv2d(x, m.below)))).mean((2, 3)) @ m.top.t()

    def tensor(m, x):
        return (torch.ones(1).double() / (1 + torch.exp(-F.conv2d(x, m.below)))).mean((2, 3)) @ m.top.t()

    x, policies = pictures(2, 3, 5, 5), eb.Policies(batch_norm="copy")
    nets = (Net(body, below=below, top=top).eval() for body in (number, tensor))
    one, two = (eb.explain(net, x, [0, 1], layer="input", policies=policies).maps for net in nets)
    assert torch.allclose(one, two, atol=1e-12)
