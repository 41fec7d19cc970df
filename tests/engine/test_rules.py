"""Each rule by hand on small numbers, and against a dense matrix written out here."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tests.conftest import document
from torch import nn

import excitation as eb
from excitation.engine.operations import Affine, Average, Operation, PowerAverage
from excitation.engine.rules import ExcitationRules, rule_for


def wrap(function, *parameters):
    """A function as a network."""

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            for i, parameter in enumerate(parameters):
                self.register_buffer(f"w{i}", parameter.double())

        def forward(self, x):
            return function(x, *(getattr(self, f"w{i}") for i in range(len(parameters))))

    return Wrapped().eval()


def pixels(model, x, target, **options):
    """Signal on the inputs, summed over channels."""
    return eb.explain(model, x.double(), [target], layer="input", **options).maps[:, 0]


def dense(function, x):
    """The matrix of the linear part of a function of one image: `(outputs, inputs)`."""
    zero = torch.zeros_like(x)
    base = function(zero).flatten()
    columns = []
    for j in range(x.numel()):
        unit = zero.flatten().clone()
        unit[j] = 1
        columns.append(function(unit.reshape(x.shape)).flatten() - base)
    return torch.stack(columns, 1)


def eq4(matrix, a, p):
    """Eq. 4 and 10 with a dense matrix."""
    excite = matrix.clamp(min=0)
    z = excite @ a
    q = torch.where(z > 0, p / torch.where(z > 0, z, 1), 0)
    return a * (excite.T @ q)


def test_eq4_by_hand():
    """Two inputs, one excitatory weight each way: only excitatory inputs win, in proportion to a * w."""
    model = wrap(lambda x, w: x.flatten(1) @ w.T, torch.tensor([[2.0, 1.0, -5.0], [0.0, 0.0, 1.0]]))
    x = torch.tensor([[[[1.0, 3.0, 7.0]]]])
    assert torch.allclose(pixels(model, x, 0), torch.tensor([[[0.4, 0.6, 0.0]]]).double())
    assert torch.allclose(pixels(model, x, 1), torch.tensor([[[0.0, 0.0, 1.0]]]).double())
    assert torch.allclose(pixels(model, x, {0: 0.5, 1: 0.5}), torch.tensor([[[0.2, 0.3, 0.5]]]).double())


def test_dual_by_hand():
    """c-MWP: the unit's winners minus those of the unit with negated weights, cut at zero (Eq. 8)."""
    model = wrap(lambda x, w: x.flatten(1) @ w.T, torch.tensor([[2.0, 1.0, -1.0, -0.5]]))
    x = torch.tensor([[[[1.0, 1.0, 1.0, 2.0]]]])
    signed = torch.tensor([[[2 / 3, 1 / 3, -0.5, -0.5]]]).double()
    assert torch.allclose(pixels(model, x, 0, method="c-mwp", signed=True), signed)
    assert torch.allclose(pixels(model, x, 0, method="c-mwp"), signed.clamp(min=0))


def test_bias_takes_no_part():
    w = torch.tensor([[2.0, 1.0]])
    plain = wrap(lambda x, w: F.linear(x.flatten(1), w), w)
    biased = wrap(lambda x, w: F.linear(x.flatten(1), w, torch.full((1,), 9.0).double()), w)
    x = torch.tensor([[[[1.0, 3.0]]]])
    assert torch.equal(pixels(plain, x, 0), pixels(biased, x, 0))


def test_eq5_counts_from_the_minimum():
    """tanh: winners by a + 1; ELU: by a + alpha; sigmoid: by a."""
    x = torch.tensor([[[[-1.0, 0.5, 2.0]]]]).double()
    w = torch.tensor([[1.0, 2.0, -1.0]])
    for function, minimum in ((torch.tanh, -1.0), (F.elu, -1.0), (torch.sigmoid, 0.0), (F.selu, -1.7580993408473766)):
        model = wrap(lambda x, w, f=function: f(x).flatten(1) @ w.T, w)
        a = function(x).flatten() - minimum
        expected = eq4(w.double(), a, torch.ones(1).double())
        assert torch.allclose(pixels(model, x, 0).flatten(), expected), function
    model = wrap(lambda x, w: F.elu(x, 0.5).flatten(1) @ w.T, w)
    expected = eq4(w.double(), F.elu(x, 0.5).flatten() + 0.5, torch.ones(1).double())
    assert torch.allclose(pixels(model, x, 0).flatten(), expected)


def test_eq5_bounds_survive_pooling_concatenation_and_reshaping():
    x = torch.linspace(-2, 2, 32).reshape(1, 2, 4, 4).double()
    w = torch.linspace(-1, 1, 8)[None]

    def after(x):
        return torch.cat([F.max_pool2d(torch.tanh(x[:, :1]), 2), F.avg_pool2d(torch.relu(x[:, 1:]), 2)], 1).flatten(1)

    model = wrap(lambda x, w: after(x) @ w.T, w)
    a = after(x).flatten()
    a = a + torch.tensor([1.0] * 4 + [0.0] * 4)  # tanh's half is counted from -1, ReLU's from 0
    expected = eq4(w.double(), a, torch.ones(1).double())
    found = pixels(model, x, 0)
    assert float(found.sum()) == pytest.approx(1)
    winners = F.max_pool2d(torch.tanh(x[:, :1]), 2, return_indices=True)[1].flatten()
    top = torch.zeros(16).double()
    top[winners] = expected[:4]
    average = a[4:].reshape(1, 1, 2, 2)
    inner = (
        torch.relu(x[:, 1:]) / 4 / torch.where(average > 0, average, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    below = (inner * expected[4:].reshape(1, 1, 2, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)).flatten()
    assert torch.allclose(found.flatten(), top + below)


def test_padding_is_no_neuron():
    """Zero padding takes no mass and no shift, whether a convolution's own or a layer before it."""
    w = torch.rand(3, 2, 3, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    x = torch.randn(2, 2, 5, 6, generator=torch.Generator().manual_seed(1)).double()
    own = wrap(lambda x, w: F.conv2d(torch.tanh(x), w, padding=1).mean((2, 3)), w)
    before = wrap(lambda x, w: F.conv2d(F.pad(torch.tanh(x), (1, 1, 1, 1)), w).mean((2, 3)), w)
    same = wrap(lambda x, w: F.conv2d(torch.tanh(x), w, padding="same").mean((2, 3)), w)
    for target in range(3):
        expected = pixels(own, x, target)
        assert torch.allclose(pixels(before, x, target), expected)
        assert torch.allclose(pixels(same, x, target), expected)
    arrived = [eb.balance(model, x, [0], layer="input").arrived for model in (before, own)]
    assert torch.allclose(*arrived)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_even_kernels_with_same_padding():
    w = torch.rand(1, 1, 2, 4, generator=torch.Generator().manual_seed(0))
    x = torch.rand(1, 1, 5, 6).double()
    model = wrap(lambda x, w: F.conv2d(x, w, padding="same").mean((2, 3)), w)
    matrix = dense(lambda x: F.conv2d(x, w.double(), padding="same"), x)
    p = F.conv2d(x, w.double(), padding="same").flatten()
    assert torch.allclose(pixels(model, x, 0).flatten(), eq4(matrix, x.flatten(), p / p.sum()))


CONVOLUTIONS = {
    "plain": (2, {}, (4, 3, 3, 3)),
    "strided": (2, {"stride": (2, 3)}, (4, 3, 3, 2)),
    "padded": (2, {"padding": (2, 1)}, (4, 3, 3, 3)),
    "dilated": (2, {"dilation": (2, 1), "padding": 2}, (4, 3, 3, 3)),
    "grouped": (2, {"groups": 3, "padding": 1}, (6, 1, 3, 3)),
    "all": (2, {"groups": 3, "padding": 1, "stride": 2, "dilation": 2}, (6, 1, 2, 3)),
    "1-d": (1, {"stride": 2, "padding": 1}, (4, 3, 3)),
    "3-d": (3, {"stride": 2, "padding": 1}, (4, 3, 2, 3, 2)),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}])
def test_convolutions_against_a_dense_matrix(case, contrast):
    n, options, shape = CONVOLUTIONS[case]
    generator = torch.Generator().manual_seed(n)
    w = torch.randn(shape, generator=generator).double()
    x = torch.rand(1, 3, *(7, 6, 5)[:n], generator=generator).double()
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[n]
    model = wrap(lambda x, w: convolve(x, w, **options), w)
    matrix = dense(lambda x: convolve(x, w, **options), x)
    signal = torch.rand(convolve(x, w, **options).shape[1:], generator=generator).double()
    expected = eq4(matrix, x.flatten(), signal.flatten())
    if contrast:
        expected = expected - eq4(-matrix, x.flatten(), signal.flatten())
    found = pixels(model, x, signal, **contrast, signed=True)
    assert torch.allclose(found, expected.reshape(x.shape).sum(1), atol=1e-12)


@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": 2, "padding": 1, "output_padding": 1}, {"groups": 2}])
def test_transposed_convolution_against_a_dense_matrix(options):
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(4, 2, 3, 3, generator=generator).double()
    x = torch.rand(1, 4, 4, 5, generator=generator).double()
    model = wrap(lambda x, w: F.conv_transpose2d(x, w, **options), w)
    matrix = dense(lambda x: F.conv_transpose2d(x, w, **options), x)
    signal = torch.rand(F.conv_transpose2d(x, w, **options).shape[1:], generator=generator).double()
    expected = eq4(matrix, x.flatten(), signal.flatten())
    assert torch.allclose(pixels(model, x, signal), expected.reshape(x.shape).sum(1), atol=1e-12)


AVERAGES = {
    "padded": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "padding not counted": lambda x: F.avg_pool2d(x, 3, 2, 1, False, False),
    "ceil": lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True),
    "divisor": lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
    "global": lambda x: F.adaptive_avg_pool2d(x, 1),
    "mean": lambda x: x.mean((2, 3)),
    "mean over channels": lambda x: x.mean(1, keepdim=True),
    "sum": lambda x: x.sum(-1),
}


@pytest.mark.parametrize("case", AVERAGES)
def test_averages_against_a_dense_matrix(case):
    function = AVERAGES[case]
    x = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0)).double()
    model = wrap(lambda x: function(x).flatten(1))
    signal = torch.rand(function(x).numel(), generator=torch.Generator().manual_seed(1)).double()
    expected = eq4(dense(function, x), x.flatten(), signal)
    assert torch.allclose(pixels(model, x, signal), expected.reshape(x.shape).sum(1), atol=1e-12)


def test_max_pooling_goes_to_the_first_of_equals():
    x = torch.tensor([[[[1.0, 5.0, 5.0, 0.0], [5.0, 5.0, 1.0, 2.0]]]])
    model = wrap(lambda x: F.max_pool2d(x, 2).flatten(1))
    assert pixels(model, x, {0: 1.0, 1: 1.0}).tolist() == [[[0, 1, 1, 0], [0, 0, 0, 0]]]
    overlapping = wrap(lambda x: F.max_pool2d(x, 3, 1, 1).flatten(1))
    assert float(pixels(overlapping, x, torch.ones(8)).sum()) == 8
    over_channels = wrap(lambda x: x.max(3).values.flatten(1))
    assert pixels(over_channels, x, {0: 1.0, 1: 2.0}).tolist() == [[[0, 1, 0, 0], [2, 0, 0, 0]]]
    shared = wrap(lambda x: x.amax(3).flatten(1))
    assert pixels(shared, x, {0: 1.0, 1: 2.0}).tolist() == [[[0, 1, 0, 0], [2, 0, 0, 0]]]
    adaptive = wrap(lambda x: F.adaptive_max_pool2d(x, 1).flatten(1))
    assert pixels(adaptive, x, 0).tolist() == [[[0, 1, 0, 0], [0, 0, 0, 0]]]


def test_polarity_asks_what_lowered_a_neuron():
    """Below h = -2 x0 + x1, y = -h all evidence is x0's, although the only positive weight on the way is x1's."""
    model = wrap(lambda x, w, v: (x.flatten(1) @ w.T) @ v.T, torch.tensor([[-2.0, 1.0]]), torch.tensor([[-1.0]]))
    x = torch.tensor([[[[1.0, 1.0]]]])
    assert pixels(model, x, 0).tolist() == [[[1.0, 0.0]]]
    raw = pixels(model, x, 0, policies=eb.Policies.original())
    assert raw.tolist() == [[[0.0, 0.0]]]
    negated = wrap(lambda x, w: -(x.flatten(1) @ w.T), torch.tensor([[-2.0, 1.0]]))
    assert pixels(negated, x, 0).tolist() == [[[1.0, 0.0]]]
    reversed_ = wrap(lambda x, w: 1 - (x.flatten(1) @ w.T), torch.tensor([[-2.0, 1.0]]))
    assert pixels(reversed_, x, 0).tolist() == [[[1.0, 0.0]]]


def test_signed_inputs_keep_all_mass_in_two_polarities():
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(4, 3, 3, 3, generator=generator)
    x = torch.randn(2, 3, 6, 6, generator=generator).double()
    model = wrap(lambda x, w: F.relu(F.conv2d(x, w)).mean((2, 3)), w)
    account = eb.balance(model, x, [0, 1, 2, 3], layer="input")
    assert torch.allclose(account.arrived, torch.ones(2, 4).double())
    assert float(account.negative.min()) == 0
    raw = eb.balance(model, x, [0], layer="input", policies=eb.Policies.original())
    assert float(raw.negative.min()) < 0


def test_batch_norm_is_folded():
    """Folding it into the convolution by hand gives the same maps; copying does not where gammas are negative."""
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -0.5, 2.0, -1.0, 0.3, 0.0]))
        norm.bias.normal_()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    head = nn.Conv2d(6, 4, 3)
    model = nn.Sequential(conv, norm, nn.ReLU(), head, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    folded = nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
    fused = nn.Sequential(folded, nn.ReLU(), head, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    x = torch.randn(2, 3, 8, 8).double()
    assert torch.allclose(model(x), fused(x))
    for contrast in ({}, {"method": "c-mwp"}):
        options = {"layer": "input", **contrast, "signed": True}
        found = eb.explain(model, x, [0, 3], **options).maps
        assert torch.allclose(found, eb.explain(fused, x, [0, 3], **options).maps, atol=1e-12)
        copied = eb.explain(model, x, [0, 3], policies=eb.Policies(batch_norm="copy"), **options).maps
        assert not torch.allclose(found, copied, atol=1e-6)


def residual(policy, x=((1.0, 3.0),), scale=2.0):
    model = wrap(lambda x, w: (x + (x @ w.T)).flatten(2).amax(2), torch.eye(2) * scale)
    return eb.explain(
        model, torch.tensor([[x]]).double(), [0], layer="input", policies=eb.Policies(residual=policy)
    ).maps


def test_residual_policies_by_hand():
    class Block(nn.Module):
        def __init__(self, swap):
            super().__init__()
            self.skip, self.conv = nn.Identity(), nn.Conv2d(1, 1, 1, bias=False)
            self.swap = swap
            nn.init.constant_(self.conv.weight, 2.0)

        def forward(self, x):
            x = F.relu(x)
            branch = self.conv(x)
            y = branch + x if self.swap else x + branch
            return y.sum((2, 3))

    x = torch.tensor([[[[1.0, 3.0]]]]).double()
    for swap in (False, True):
        model = Block(swap).double().eval()
        for policy, share in (("proportional", 2 / 3), ("branch", 1.0), ("original", 2 / 3)):
            policies = eb.Policies(residual=policy)
            with pytest.warns(eb.BypassWarning, match="in one branch") as caught:
                maps = eb.explain(model, x, [0], layer="conv", policies=policies).maps
            assert float(maps.sum()) == pytest.approx(share)
            assert f"{share:.1%}" in str(caught[0].message)
            account = eb.balance(model, x, [0], layer="input", policies=policies)
            assert float(account.arrived) == pytest.approx(1)


def test_residual_sum_of_opposite_signs():
    """A positive sum is the work of its positive term; a sum of zeros has no winner (Eq. 4: Z = 0)."""
    model = wrap(lambda x: (x[:, :1] + x[:, 1:]).flatten(1))
    x = torch.tensor([[[[3.0, -1.0, 0.0]], [[-1.0, 3.0, 0.0]]]])
    for place in range(2):
        found = eb.explain(model, x.double(), [place], layer="input", signed=True).maps
        assert float(found.sum()) == pytest.approx(1)
    assert float(eb.explain(model, x.double(), [2], layer="input").maps.sum()) == 0
    spread = eb.explain(model, x.double(), [2], layer="input", policies=eb.Policies(normaliser="spread")).maps
    assert float(spread.sum()) == pytest.approx(1)
    both = wrap(lambda x: torch.cat([x[:, :1] + x[:, 1:], x * 0], 1).flatten(1))
    assert float(eb.explain(both, x.double(), [0], layer="input").maps.sum()) == pytest.approx(1)
    difference = wrap(
        lambda x, w: (F.relu(x[:, :1]) - F.relu(x[:, 1:])).flatten(1) @ w.T, torch.tensor([[-1.0, -1, -1]])
    )
    found = eb.explain(difference, x.double(), [0], layer="input").maps
    assert torch.allclose(found.flatten(), torch.tensor([0.0, 1.0, 0.0]).double())


def test_branches_that_tie_are_asked_about():
    model = wrap(lambda x: F.relu(x).flatten(1) + F.relu(2 * x).flatten(1))
    with pytest.raises(eb.UnsupportedOperationError, match="proportional"):
        eb.explain(model, torch.rand(1, 1, 2, 2).double(), [0], layer="input", policies=eb.Policies(residual="branch"))


def test_zero_normalisers_lose_or_spread():
    w = torch.tensor([[-1.0, -1.0, -1.0, -1.0], [0.0, 0.0, 1.0, 3.0], [1.0, 0, 0, 0]])
    model = wrap(lambda x, w: x.flatten(1) @ w.T, w)
    x = torch.tensor([[[[2.0, 1.0, 0.0, 0.0]]]])
    lost = eb.balance(model, x.double(), [0, 1, 2], layer="input")
    assert lost.lost.tolist() == [[1, 1, 0]]
    assert lost.arrived.tolist() == [[0, 0, 1]]
    spread = eb.explain(model, x.double(), [0, 1, 2], layer="input", policies=eb.Policies(normaliser="spread")).maps
    assert spread.reshape(3, 4).tolist() == [[0.25] * 4, [0, 0, 0.25, 0.75], [1, 0, 0, 0]]


def test_threshold_is_relative_to_what_a_channel_can_attain():
    """Of convolutions over several positions, whose fast algorithms leave noise in place of zeros; of no others."""
    w = torch.zeros(2, 2, 1, 2)
    w[0, 0, 0, 0], w[1, 0, 0, 1] = 1.0, 1e-9  # scales far apart: a small channel is not a silent one
    model = wrap(lambda x, w: F.conv2d(x, w).flatten(1), w)
    x = torch.tensor([[[[1.0, 1e-7]]], [[[1e-7, 1e-7]]]]).expand(-1, 2, -1, -1)

    def mass(target, threshold, images=x, net=model):
        policies = eb.Policies(threshold=threshold)
        return eb.explain(net, images.double(), [target], layer="input", policies=policies).maps.sum((1, 2, 3)).tolist()

    assert mass(1, None) == pytest.approx([1, 1])  # exact in double precision: nothing counts as zero
    assert mass(1, 1e-3) == pytest.approx([0, 1])  # 1e-7 of the largest input of the first image, all of the second's
    assert mass(0, 1e-3) == pytest.approx([1, 1])
    single = eb.explain(model.float(), x, [1], layer="input").maps
    assert single.sum((1, 2, 3)).tolist() == pytest.approx([0, 1])
    linear = wrap(lambda x, w: x.flatten(1) @ w.T, w.flatten(1))
    assert mass(1, 1e-3, net=linear) == pytest.approx([1, 1])


def test_layers_of_one_neuron_to_one_neuron_pass_signals():
    x = torch.rand(1, 4, 3, 3).double()
    signal = torch.rand(4, 3, 3)
    for function in (
        F.relu, F.relu6, torch.sigmoid, torch.tanh, F.elu, lambda x: x.softmax(1),
        lambda x: F.local_response_norm(x, 3),
        lambda x: F.dropout(x, training=False), lambda x: x.clamp(0, 1), lambda x: F.hardtanh(x, 0, 6),
        lambda x: x * 3 + 1, lambda x: x.contiguous().clone(), lambda x: F.leaky_relu(x), lambda x: x.float().double(),
    ):  # fmt: skip
        found = eb.explain(wrap(function), x, [signal], layer="input").maps
        assert torch.allclose(found[0, 0], signal.double().sum(0)), function


ARRANGEMENTS = {
    "flatten": lambda x: x.flatten(1),
    "permute": lambda x: x.permute(0, 3, 1, 2),
    "transpose": lambda x: x.transpose(1, 3),
    "reshape": lambda x: x.reshape(1, 2, 2, 3, 5).transpose(1, 2).reshape(1, 4, 3, 5),
    "slice": lambda x: x[:, 1:, ::2, -1],
    "ellipsis": lambda x: x[..., None, 2:],
    "index": lambda x: x[:, torch.tensor([3, 0, 0])],
    "mask": lambda x: x[:, torch.tensor([True, False, True, False])],
    "chunk": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "one part of a split": lambda x: x.split([1, 3], 1)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "stack": lambda x: torch.stack([x, x], 2),
    "cat": lambda x: torch.cat([x, x, torch.zeros_like(x)], 2),
    "pad": lambda x: F.pad(x, (1, 0, 2, 1)),
    "crop": lambda x: F.pad(x, (-1, 0, 0, -1)),
    "reflect": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "replicate": lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate"),
    "roll": lambda x: x.roll((1, 2), (2, 3)),
    "flip": lambda x: x.flip(3),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "expand": lambda x: x[:, :1].expand(-1, 3, -1, -1),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "channel shuffle": lambda x: F.channel_shuffle(x, 2),
    "narrow": lambda x: x.narrow(2, 1, 2),
    "index_select": lambda x: x.index_select(3, torch.tensor([4, 4, 0])),
    "squeeze": lambda x: x.unsqueeze(1).squeeze(1),
}  # fmt: skip


@pytest.mark.parametrize("case", ARRANGEMENTS)
def test_arrangements_pass_signals_as_their_transpose_does(case):
    function = ARRANGEMENTS[case]
    x = torch.rand(1, 4, 3, 5, dtype=torch.float64)
    y = function(x)
    signal = torch.rand(y.shape[1:], dtype=torch.float64)
    expected = (dense(function, x).T @ signal.flatten()).reshape(x.shape).sum(1)
    model = wrap(lambda x: function(F.relu(x)).flatten(1))
    assert torch.allclose(pixels(model, x, signal.flatten()), expected)


def test_max_pooling_won_by_padding_loses_its_mass():
    model = wrap(lambda x: F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 3).flatten(1))
    x = -torch.rand(1, 1, 4, 4).double()
    account = eb.balance(model, x, [0], layer="input")
    assert float(account.lost) == 1
    assert math.isclose(float(account.arrived), 0)


def families(base=Operation):
    """All families of operations, with those derived from others."""
    return {base, *(family for item in base.__subclasses__() for family in families(item))}


def test_every_family_has_a_rule_and_a_row_on_the_page():
    page = document("rules.md").read_text()
    known = {
        family for family in families() - {Operation} if family.__module__.startswith("excitation.engine.operations")
    }
    assert known >= set(ExcitationRules.rules)
    for family in known:
        assert callable(ExcitationRules.rule(family))
    for family in ExcitationRules.rules:
        assert f"\n| `{family.__name__.lower()}` |" in page, family


def test_a_rule_set_replaces_entries_of_the_table():
    class Doubled(ExcitationRules):
        @rule_for(Affine)
        def _twice(self, entry, signals):
            return [2 * p for p in super()._affine(entry, signals)]

    assert Doubled.rule(Affine) is not ExcitationRules.rule(Affine)
    assert Doubled.rule(Average) is ExcitationRules.rule(Average)
    assert ExcitationRules.rule(PowerAverage) is ExcitationRules.rule(Average)
    with pytest.raises(AssertionError, match="no rule for the family Operation"):
        ExcitationRules.rule(Operation)
