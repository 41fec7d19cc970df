"""Rules beyond the paper: gates, smooth rectifiers, normalisations of other kinds, interpolation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb
from engine.test_rules import dense, eq4, pixels, wrap


class SqueezeExcite(nn.Module):
    """A channel gate computed from the same tensor, and one computed from space."""

    def __init__(self, gate=torch.sigmoid):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)
        self.gate = gate

    def forward(self, x):
        y = F.relu(self.conv(x))
        gated = y * self.gate(self.squeeze(y.mean((2, 3), keepdim=True)))
        return self.head(gated.mean((2, 3)))


def softmax(z):
    return z.softmax(1)


@pytest.mark.parametrize("gate", [torch.sigmoid, F.hardsigmoid, softmax])
def test_the_gated_operand_takes_all(gate):
    model = SqueezeExcite(gate).double().eval()
    x = torch.rand(2, 3, 6, 7).double()
    y = F.relu(model.conv(x))
    g = gate(model.squeeze(y.mean((2, 3), keepdim=True)))
    weight = model.head.weight.clamp(min=0)
    gated = y * g
    expected = torch.stack([  # the head on the mean: Eq. 4 twice, by hand
        torch.stack([(gated[i] * weight[c][:, None, None]).sum(0) / (gated[i] * weight[c][:, None, None]).sum()
                     for c in (0, 3)]) for i in range(2)
    ])  # fmt: skip
    found = eb.explain(model, x, [0, 3], layer="conv").maps
    assert torch.allclose(found, expected, atol=1e-12)
    account = eb.balance(model, x, [0, 3], layer="conv")
    assert float(account.lost.abs().max()) < 1e-12
    assert float(account.bypassed.abs().max()) == 0


def test_a_gate_is_no_way_round_a_layer():
    """Its branch carries no signal: a layer below both is whole, one inside the gate has no map."""
    model = SqueezeExcite().double().eval()
    x = torch.rand(1, 3, 6, 7).double()
    layers = {layer.name: layer for layer in eb.list_layers(model, x)}
    assert layers["conv"].is_cut
    with pytest.raises(eb.LayerError):
        eb.explain(model, x, [0], layer="squeeze")


def test_size_makes_no_gate():
    """Neither operand came from a sigmoid: a product of two activations, be one of them ever so small."""

    def product(x):
        return x * F.relu(x.mean((2, 3), keepdim=True) + 1)

    x = torch.rand(1, 3, 4, 5)
    with pytest.raises(eb.UnsupportedOperationError, match="neither of them a gate"):
        pixels(wrap(product), x, torch.rand(3, 4, 5))


def test_a_negative_gate_asks_what_lowered_its_operand():
    """`y = g h` with `g < 0`: what raises y lowers h, so the inputs with negative weights win."""
    weight = torch.tensor([[1.0, -1.0, 2.0, -1.0], [1.0, 1.0, 1.0, 1.0]])[:, :, None, None]
    model = wrap(lambda x, w: (F.conv2d(x, w) * -x.mean((1, 2, 3), keepdim=True).sigmoid()).flatten(1), weight)
    x = torch.tensor([1.0, 3.0, 0.5, 1.0])[None, :, None, None]
    signal = eb.explain(model, x.double(), [0], layer=":conv2d", method="mwp").maps
    assert float(signal.sum()) == pytest.approx(1)
    assert float(pixels(model, x, 0).sum()) == pytest.approx(1)
    without = x * torch.tensor([1.0, 0.0, 1.0, 0.0])[None, :, None, None]
    assert float(pixels(model, without, 0).sum()) == 0  # no inhibitory input is active: nobody wins


class GlobalResponse(nn.Module):
    """ConvNeXt-V2's normalisation: `x + b + g x n`, with `n` from norms and a quotient that have no rule."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0, 0.5, 1.0])[:, None, None])
        self.bias = nn.Parameter(torch.rand(4, 1, 1))

    def forward(self, x):
        y = F.relu(self.conv(x))
        norm = y.norm(p=2, dim=(2, 3), keepdim=True)
        share = norm / (norm.mean(1, keepdim=True) + 1e-6)
        return self.head((y + torch.addcmul(self.bias, self.scale, y * share)).mean((2, 3)))


def test_what_only_decides_a_gate_needs_no_rule():
    """Both terms are the neuron times something that is not negative: it keeps all its signal; the bias has none."""
    model = GlobalResponse().double().eval()
    x = torch.rand(1, 3, 5, 4).double()
    y = F.relu(model.conv(x)).detach()
    norm = y.norm(p=2, dim=(2, 3), keepdim=True)
    out = y + model.scale * y * norm / (norm.mean(1, keepdim=True) + 1e-6)
    parts = out.detach()[0] * model.head.weight.detach()[1].clamp(min=0)[:, None, None]
    found = eb.explain(model, x, [1], layer="conv").maps
    assert torch.allclose(found[0, 0], parts.sum(0) / parts.sum(), atol=1e-12)
    account = eb.balance(model, x, [1], layer="conv")
    assert float(account.lost.abs().max()) < 1e-12
    assert float(account.bypassed.abs().max()) == 0


def test_what_also_carries_still_needs_one():
    """The same statistic as a gate and as a summand: refused, by the first operation without a rule."""
    model = wrap(lambda x: (x * x.norm(dim=1, keepdim=True) + x.norm(dim=1, keepdim=True)).flatten(1))
    with pytest.raises(eb.UnsupportedOperationError, match=r"^'norm' in the model's own forward carries"):
        pixels(model, torch.rand(1, 2, 3, 3), 0)


@pytest.mark.parametrize(
    "method", ["mwp", "c-mwp", "r-mwp", "eb-post-norm", "lrp", "lrp-z-plus", "c-lrp", "sampled-winners"]
)
def test_methods_with_rules_of_their_own_refuse_it_too(method):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Norms(), nn.Flatten(), nn.Linear(4 * 9, 2)).eval()
    with pytest.raises(eb.UnsupportedOperationError, match=r"^'norm' in layer '1' carries"):
        eb.explain(model, torch.rand(1, 3, 3, 3), [0], layer="0", method=method)


class Norms(nn.Module):
    def forward(self, x):
        return x + x.norm(dim=1, keepdim=True)


def test_the_mean_of_gates_is_a_gate_and_their_sum_is_none():
    def gated(reduce):
        # Expanded to the other operand's size, so that its size does not tell.
        return wrap(lambda x: reduce(torch.sigmoid(x)).expand_as(x) * x)

    x, signal = torch.rand(1, 2, 3, 3), torch.rand(2, 3, 3)
    assert torch.allclose(pixels(gated(lambda g: F.avg_pool2d(g, 3)), x, signal)[0], signal.double().sum(0))
    with pytest.raises(eb.UnsupportedOperationError, match="neither of them a gate"):
        pixels(gated(lambda g: g.sum((2, 3), keepdim=True)), x, signal)


HALVES = eb.Policies(product="halves")


def test_a_product_of_two_activations_is_halved_if_asked_and_refused_if_not():
    """Each factor's own chain, by Eq. 4, carries half; below a negative other factor it starts lowered."""
    torch.manual_seed(0)
    first, second = torch.randn(2, 4, 3, dtype=torch.float64)
    x = torch.rand(1, 3, 2, 2).double()

    def factors(x):
        return [torch.einsum("oi,nihw->nohw", w, x) for w in (first, second)]

    model = wrap(lambda x, v, w: F.conv2d(x, v) * F.conv2d(x, w), *(w[:, :, None, None] for w in (first, second)))
    signal = torch.rand(4, 2, 2).double()
    expected = torch.zeros(1, 2, 2).double()
    for weight, other in zip((first, second), factors(x)[::-1], strict=True):
        for y in range(2):
            for z in range(2):
                at = x[0, :, y, z]
                signed = weight * other[0, :, y, z].sign()[:, None]  # what raised the product through this factor
                expected[0, y, z] += 0.5 * (eq4(signed, at, signal[:, y, z])).sum()
    assert torch.allclose(pixels(model, x, signal, policies=HALVES), expected)
    with pytest.raises(eb.UnsupportedOperationError, match=r"Policies\(product='halves'\)"):
        pixels(model, x, signal)


def test_a_square_by_itself_is_the_neuron_and_keeps_its_polarity():
    x = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1).double()
    weight = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 0.0, -1.0]])[:, :, None, None]

    def square(x, w):
        y = F.conv2d(x, w)  # below zero in both channels: x1 and x0 with x2 lowered them
        return y * y

    found = eb.explain(wrap(square, weight), x, [0, 1], layer="input", policies=HALVES).maps
    assert found.shape == (1, 2, 1, 1)
    assert torch.allclose(found.flatten(), torch.ones(2).double())


def test_walks_do_not_halve():
    x = torch.rand(1, 2, 3, 3).double()
    with pytest.raises(eb.ExcitationError, match="product='refuse'"):
        eb.explain(wrap(lambda x: x * x), x, [0], layer="input", method="sampled-winners", policies=HALVES)


@pytest.mark.parametrize("exponent", [0.5, 1, 2, 3, 2.5])
def test_powers_of_neurons_that_are_never_negative_pass_signals(exponent):
    x = torch.rand(1, 3, 2, 2)
    signal = torch.rand(3, 2, 2)
    model = wrap(lambda x: F.relu(x).pow(exponent))
    assert torch.allclose(pixels(model, x, signal)[0], signal.double().sum(0))
    # Their results are never negative either: Eq. 4 above them needs no polarity.
    weight = torch.randn(2, 3).double()
    model = wrap(lambda x, w: (F.relu(x) ** exponent).mean((2, 3)) @ w.T, weight)
    a = x[0].double() ** exponent
    parts = weight[0].clamp(min=0)[:, None, None] * a
    assert torch.allclose(pixels(model, x.double(), 0)[0], (parts / parts.sum()).sum(0))


def test_powers_of_signed_neurons_rise_only_if_odd():
    x = torch.randn(1, 3, 2, 2)
    signal = torch.rand(3, 2, 2)
    for rising in (lambda x: x**3, lambda x: 2**x):
        assert torch.allclose(pixels(wrap(rising), x, signal)[0], signal.double().sum(0))
    for power, word in [
        (lambda x: x**2, "exponent is 2 and its input can be negative"),
        (lambda x: x.square(), "exponent is 2 and its input can be negative"),
        (lambda x: x**0.5, "exponent is 0.5 and its input can be negative"),
        (lambda x: F.relu(x) ** -1, "exponent -1 makes it fall"),
        (lambda x: F.relu(x) ** 0, "exponent 0 makes it fall or constant"),
        (lambda x: F.relu(x) ** F.relu(x), "exponent is computed from the images"),
    ]:
        with pytest.raises(eb.UnsupportedOperationError, match=word):
            pixels(wrap(power), x, signal)


def test_padding_with_minus_infinity_never_wins():
    x = torch.randn(1, 2, 4, 4) - 3  # all below zero: padding with zero would win
    model = wrap(lambda x: F.max_pool2d(F.pad(x, (1, 0, 1, 0), value=float("-inf")), 3, 2))
    same = wrap(lambda x: F.max_pool2d(x, 3, 2, padding=1))
    signal = torch.rand(2, 2, 2)
    assert torch.equal(pixels(model, x, signal), pixels(same, x, signal))
    assert float(pixels(model, x, signal).sum()) == pytest.approx(float(signal.double().sum()))


@pytest.mark.parametrize("function", [F.silu, F.gelu, F.hardswish, F.mish])
def test_smooth_rectifiers_pass_signals_and_keep_signs(function):
    """Above one, Eq. 4 runs over rectified neurons: those raised, and, through negative weights, those lowered."""
    x = torch.randn(1, 6, 1, 1).double()
    weight = torch.randn(3, 6)
    model = wrap(lambda x, w: function(x).flatten(1) @ w.T, weight)
    a = function(x).flatten()
    pairs = torch.cat([a.clamp(min=0), (-a).clamp(min=0)])
    matrix = torch.cat([weight, -weight], 1).double()
    for unit in range(3):
        p = torch.zeros(3).double()
        p[unit] = 1
        both = eq4(matrix, pairs, p)
        full = eb.explain(model, x, [unit], layer="input")
        assert float(full["input"].sum()) == pytest.approx(float(both.sum()), abs=1e-12)
        assert float((torch.sign(a) * torch.sign(x.flatten())).min()) >= 0


def test_prelu_passes_signals_unless_it_falls():
    x = torch.randn(1, 2, 3, 3)
    signal = torch.rand(2, 3, 3)
    rising = wrap(lambda x, s: F.prelu(x, s), torch.tensor([0.25, 0.0]))
    assert torch.allclose(pixels(rising, x, signal)[0], signal.double().sum(0))
    with pytest.raises(eb.UnsupportedOperationError, match="makes it fall"):
        pixels(wrap(lambda x, s: F.prelu(x, s), torch.tensor([0.25, -0.1])), x, signal)


NORMALISATIONS = {
    "layer_norm": lambda x, g: F.layer_norm(x, x.shape[1:], g.expand(x.shape[1:])),
    "rms_norm": lambda x, g: F.rms_norm(x, x.shape[1:], g.expand(x.shape[1:])),
    "group_norm": lambda x, g: F.group_norm(x, 2, g.flatten()),
    "instance_norm": lambda x, g: F.instance_norm(x, weight=g.flatten()),
}


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_normalisations_keep_each_neurons_signal_and_a_negative_scale_swaps_it(name):
    """Below the norm a convolution on one positive input: raised by positive weights, lowered by negative ones."""
    kernel = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])[:, :, None, None]
    scale = torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None, None]
    model = wrap(lambda x, w, g: NORMALISATIONS[name](F.conv2d(x, w), g), kernel, scale)
    x = torch.rand(1, 1, 3, 4) + 0.5
    for channel, won in enumerate((1, 0, 0, 1)):
        signal = torch.zeros(4, 3, 4)
        signal[channel] = 1 / 12
        assert float(pixels(model, x, signal).sum()) == pytest.approx(won)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "nearest-exact", "area"])
def test_interpolation_is_affine_with_its_own_weights(mode):
    x = torch.rand(1, 2, 4, 5).double()

    def resize(x):
        return F.interpolate(x, (7, 6), mode=mode)

    signal = torch.rand(2, 7, 6).double()
    expected = eq4(dense(resize, x), x.flatten(), signal.flatten()).reshape(x.shape).sum(1)
    assert torch.allclose(pixels(wrap(resize), x, signal), expected)


def test_mobile_networks_keep_their_account():
    """Linear bottlenecks, squeeze-and-excitation, SiLU: nothing negative, all mass accounted for, one with `spread`."""
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed", exc_type=ImportError)
    for name in ("mobilenet_v2", "efficientnet_b0", "mobilenet_v3_small", "convnext_tiny"):
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None, num_classes=10).eval()
        images = torch.randn(1, 3, 64, 96)
        for normaliser in ("lose", "spread"):
            account = eb.balance(model, images, [3], layer="input", policies=eb.Policies(normaliser=normaliser))
            assert float(account.arrived.min()) >= 0, name
            assert float(account.arrived + account.lost) == pytest.approx(1, abs=1e-4), name
        assert float(account.arrived) == pytest.approx(1, abs=1e-4), name
