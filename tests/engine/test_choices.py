"""Neurons chosen by value, by a mask or by places: every spelling of a choice gives one map."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import excitation as eb
from engine.test_contractions import Function, assert_same, check, seeded


def assert_winners(function, *constants, x=None, lost=False):
    """The engine's map against the derivative of a choice, which is one at the neuron that was taken."""
    model = Function(function, *constants).eval()
    x = seeded(3, 1, 4, 6, seed=3) if x is None else x
    signals = seeded(2, model(x).shape[1], seed=5).abs()
    found = eb.explain(model, x, list(signals), layer="input").maps
    for t, signal in enumerate(signals):
        y = x.clone().requires_grad_(True)
        truth = torch.autograd.grad((model(y) * signal).sum(), y)[0][:, 0]
        assert torch.allclose(found[:, t], truth, atol=1e-12)
        if not lost:
            assert torch.allclose(found[:, t].sum((1, 2)), signal.sum().expand(len(x)), atol=1e-9)
    return found


def mix(x):
    """Two halves of the columns."""
    return x.chunk(2, 2)


MAXIMA = {
    "max(a, b)": lambda x: torch.max(*mix(x)),
    "maximum": lambda x: torch.maximum(*mix(x)),
    "fmax": lambda x: torch.fmax(*mix(x)),
    "method": lambda x: mix(x)[0].max(mix(x)[1]),
    "stack max": lambda x: torch.stack(mix(x)).max(0).values,
    "stack amax": lambda x: torch.stack(mix(x), 1).amax(1),
    "stack topk": lambda x: torch.stack(mix(x), 1).topk(1, 1).values[:, 0],
    "stack sort": lambda x: torch.stack(mix(x), 1).sort(1, descending=True).values[:, 0],
    "stack kthvalue": lambda x: torch.stack(mix(x), 1).kthvalue(2, 1).values,
    "gather": lambda x: torch.stack(mix(x), 1).gather(1, torch.stack(mix(x), 1).argmax(1, keepdim=True))[:, 0],
    "take_along_dim": lambda x: torch.take_along_dim(torch.stack(mix(x), 1), torch.stack(mix(x), 1).argmax(1, True), 1),
    "where": lambda x: torch.where(mix(x)[0] > mix(x)[1], *mix(x)),
    "min of negatives": lambda x: -torch.min(-mix(x)[0], -mix(x)[1]),
    "minimum of negatives": lambda x: -torch.minimum(-mix(x)[0], -mix(x)[1]),
    "amin of negatives": lambda x: -torch.stack([-part for part in mix(x)]).amin(0),
    "aminmax": lambda x: torch.stack(mix(x), 1).aminmax(dim=1).max,
    "aminmax of negatives": lambda x: -torch.stack([-part for part in mix(x)], 1).aminmax(dim=1)[0],
    "pooling": lambda x: F.max_pool2d(torch.stack(mix(x), 3).flatten(2)[:, None], (1, 2))[:, 0],
    "pooling over depth": lambda x: F.max_pool3d(torch.stack(mix(x), 1)[:, None], (2, 1, 1))[:, 0, 0],
    "cummax": lambda x: torch.stack(mix(x), 1).cummax(1).values[:, 1],
    "masked_fill": lambda x: _filled(*mix(x)),
}


def _filled(a, b):
    mask = a > b
    return torch.cat([a.masked_fill(~mask, -99)[..., None], b.masked_fill(mask, -99)[..., None]], -1).amax(-1)


@pytest.mark.parametrize("case", MAXIMA)
def test_every_spelling_of_a_maximum(case):
    """Below a layer of both signs and above another, so that both polarities arrive."""
    w, v = seeded(6, 6), seeded(4, 12, seed=7)

    def network(choose):
        return lambda x, w, v: F.relu(choose(x @ w).flatten(1) @ v.T)

    assert_same(network(MAXIMA["max(a, b)"]), network(MAXIMA[case]), w, v, shape=(4, 6))


SETS = {
    "max over a dimension": lambda x: x.max(1)[0],
    "amax over two": lambda x: x.unflatten(2, (2, 3)).amax((1, 3)),
    "amax kept": lambda x: x.amax((1, 2), keepdim=True),
    "min over a dimension": lambda x: x.min(2).values,
    "amin": lambda x: x.amin((1, 2))[:, None],
    "everything but the images": lambda x: x.flatten(1).max(1).values[:, None],
    "topk": lambda x: x.topk(3, 2).values,
    "lowest two": lambda x: x.topk(2, 1, largest=False).values,
    "sort": lambda x: x.sort(2).values,
    "msort": lambda x: x.permute(1, 2, 0).msort().permute(2, 0, 1),
    "median": lambda x: x.median(2).values,
    "kthvalue": lambda x: x.kthvalue(2, 2).values,
    "cummin": lambda x: x.cummin(2).values,
    "logsumexp": lambda x: x.logsumexp(2),
    "logsumexp over two": lambda x: x.logsumexp((1, 2), keepdim=True),
    "logaddexp": lambda x: torch.logaddexp(*mix(x)),
}


@pytest.mark.parametrize("case", SETS)
def test_choices_over_a_set_go_where_the_derivative_goes(case):
    assert_winners(SETS[case])


def test_a_maximum_beside_a_constant_is_a_rectifier():
    v, zero, half = seeded(3, 20), torch.zeros((), dtype=torch.float64), torch.full((5,), 0.5, dtype=torch.float64)
    assert_same(
        lambda x, v, c: F.relu(x).flatten(1) @ v.T, lambda x, v, c: torch.maximum(x, c).flatten(1) @ v.T, v, zero
    )
    assert_same(
        lambda x, v, c: x.clamp(max=0.5).flatten(1) @ v.T, lambda x, v, c: x.minimum(c).flatten(1) @ v.T, v, half
    )


def test_the_first_of_equals_wins_however_it_is_written():
    x = torch.tensor([[[[1.0, 5, 5, 0], [5, 5, 1, 2]]]]).double()
    for function in (
        lambda x: x.max(2)[0], lambda x: x.amax(2), lambda x: x.topk(1, 2).values, lambda x: -(-x).amin(2),
        lambda x: F.max_pool2d(x, (1, 4)), lambda x: torch.stack(x.unbind(2)).amax(0),
        lambda x: torch.maximum(torch.maximum(x[..., 0], x[..., 1]), x[..., 2]), lambda x: x.kthvalue(4, 2).values,
        lambda x: x.sort(2, descending=True).values[..., 0],
    ):  # fmt: skip
        found = eb.explain(Function(function).eval(), x, [{0: 1.0, 1: 2.0}], layer="input").maps
        assert found[0, 0].tolist() == [[0, 1, 0, 0], [2, 0, 0, 0]]


def test_bounds_of_choices_are_kept():
    """Eq. 5 counts from a minimum: that of a maximum is the larger, that of a minimum the smaller one."""

    def above(choose, bound):
        model = Function(lambda x, w: choose(torch.tanh(x), F.relu(x)) @ w.T, seeded(3, 6)).eval()
        x = seeded(2, 1, 4, 6, seed=3)
        a = choose(torch.tanh(x), F.relu(x))[:, 0]
        signal = seeded(12, seed=5).abs()
        found = eb.explain(model, x, [signal], layer="input").maps
        share = (a - bound)[:, :, None] * seeded(3, 6).clamp(min=0)
        share = (share / share.sum(3, keepdim=True)).nan_to_num()  # nobody wins where all are at their bounds
        assert torch.allclose(found[:, 0], (share * signal.reshape(4, 3)[..., None]).sum(2), atol=1e-12)

    above(torch.maximum, 0)
    above(torch.minimum, -1)


# Writes --------------------------------------------------------------------------------------------------------------


def _set(index, value):
    def write(x, w):
        y = x @ w
        z = x @ w.T
        y[index] = value(z)
        return y

    return write


def places():
    return torch.tensor([3, 1])


WRITES = {
    "slice": (
        _set((slice(None), slice(1, 3)), lambda z: z[:, :2]),
        lambda x, w: torch.cat([(x @ w)[:, :1], (x @ w.T)[:, :2], (x @ w)[:, 3:]], 1),
    ),
    "a number": (
        _set((slice(None), 1), lambda z: 0.0),
        lambda x, w: torch.cat([(x @ w)[:, :1], torch.zeros(3, 1, 6).double(), (x @ w)[:, 2:]], 1),
    ),
    "repeated": (
        _set((slice(None), slice(1, 3)), lambda z: z[:, :1]),
        lambda x, w: torch.cat([(x @ w)[:, :1], (x @ w.T)[:, :1].expand(-1, 2, -1), (x @ w)[:, 3:]], 1),
    ),
    "by a list": (
        _set((slice(None), [3, 1]), lambda z: z[:, :2]),
        lambda x, w: (lambda y, z: torch.stack([y[:, 0], z[:, 1], y[:, 2], z[:, 0]], 1))(x @ w, x @ w.T),
    ),
    "by a mask of the images": (
        lambda x, w: _masked(x @ w),
        lambda x, w: F.relu(x @ w),
    ),
    "into zeros": (
        lambda x, w: _into_zeros(x @ w, x @ w.T),
        lambda x, w: torch.stack([(x @ w)[:, 0], (x @ w.T)[:, 1]], 1),
    ),
    "index_copy": (
        lambda x, w: (x @ w).index_copy(1, places(), (x @ w.T)[:, :2]),
        lambda x, w: (lambda y, z: torch.stack([y[:, 0], z[:, 1], y[:, 2], z[:, 0]], 1))(x @ w, x @ w.T),
    ),
    "index_copy in place": (
        lambda x, w: (x @ w).index_copy_(1, places(), (x @ w.T)[:, :2]),
        lambda x, w: (x @ w).index_copy(1, places(), (x @ w.T)[:, :2]),
    ),
    "slice_scatter": (
        lambda x, w: (x @ w).slice_scatter((x @ w.T)[:, :2], 1, 1, 3),
        lambda x, w: torch.cat([(x @ w)[:, :1], (x @ w.T)[:, :2], (x @ w)[:, 3:]], 1),
    ),
    "select_scatter": (
        lambda x, w: (x @ w).select_scatter((x @ w.T)[:, 2], 1, 1),
        lambda x, w: torch.cat([(x @ w)[:, :1], (x @ w.T)[:, 2:3], (x @ w)[:, 2:]], 1),
    ),
    "scatter": (
        lambda x, w: (x @ w).scatter(1, places()[None, :, None].expand(3, -1, 6), x @ w.T),
        lambda x, w: (x @ w).index_copy(1, places(), (x @ w.T)[:, :2]),
    ),
    "scatter a number": (
        lambda x, w: (x @ w).scatter(1, places()[None, :, None].expand(3, -1, 6), 0.0),
        lambda x, w: (x @ w).index_fill(1, places(), 0.0),
    ),
    "masked_fill": (
        lambda x, w: (x @ w).masked_fill(torch.arange(4)[:, None] % 2 == 1, 0),
        lambda x, w: (x @ w).index_fill(1, places(), 0.0),
    ),
    "where": (
        lambda x, w: torch.where(torch.arange(4)[:, None] % 2 == 1, x @ w, x @ w.T),
        lambda x, w: (x @ w.T).index_copy(1, torch.tensor([1, 3]), (x @ w)[:, 1::2]),
    ),
    "where with a number": (
        lambda x, w: torch.where(torch.arange(4)[:, None] % 2 == 1, 0.0, x @ w),
        lambda x, w: (x @ w).index_fill(1, places(), 0.0),
    ),
    "index_put": (
        lambda x, w: (x @ w).index_put((torch.arange(3)[:, None], places()[None]), (x @ w.T)[:, :2]),
        lambda x, w: (x @ w).index_copy(1, places(), (x @ w.T)[:, :2]),
    ),
    "index_add": (
        lambda x, w: F.relu(x @ w).index_add(1, places(), F.relu(x @ w.T)[:, :2]),
        lambda x, w: F.relu(x @ w) + F.pad(F.relu(x @ w.T)[:, :2], (0, 0, 1, 1))[:, [0, 2, 3, 1]],
    ),
    "scatter_add": (
        lambda x, w: torch.zeros(3, 2, 6).to(x).scatter_add(
            1, torch.tensor([0, 1, 1, 0])[None, :, None].expand(3, -1, 6), x @ w
        ),
        lambda x, w: torch.stack([(x @ w)[:, [0, 3]].sum(1), (x @ w)[:, 1:3].sum(1)], 1),
    ),
    "into a view": (
        lambda x, w: _view(x @ w, lambda y, v: v.copy_((x @ w.T)[:, :1])),
        lambda x, w: torch.cat([(x @ w)[:, :1], (x @ w.T)[:, :1], (x @ w)[:, 2:]], 1),
    ),
    "twice into a view": (
        lambda x, w: _view(x @ w, lambda y, v: v.mul_(-2).clamp_(min=0)),
        lambda x, w: torch.cat([(x @ w)[:, :1], F.relu(-2 * (x @ w)[:, 1:2]), (x @ w)[:, 2:]], 1),
    ),
    "times a number in a slice": (
        lambda x, w: _scaled(x @ w),
        lambda x, w: torch.cat([(x @ w)[:, :1], -3 * (x @ w)[:, 1:3], (x @ w)[:, 3:]], 1),
    ),
    "a constant's view": (
        lambda x, w: (x @ w) * _view(torch.ones(1, 4, 6).double(), lambda y, v: v.zero_()),
        lambda x, w: (x @ w) * torch.tensor([1.0, 0, 1, 1]).double()[:, None],
    ),
    "copy into all": (lambda x, w: torch.empty(3, 4, 6).double().copy_(x @ w), lambda x, w: x @ w),
}  # fmt: skip


def _view(y, write):
    write(y, y[:, 1:2])
    return y


def _scaled(y):
    y[:, 1:3] *= -3
    return y


def _masked(y):
    y[y < 0] = 0
    return y


def _into_zeros(y, z):
    out = torch.zeros(3, 2, 6, dtype=torch.float64)
    out[:, 0] = y[:, 0]
    out[:, 1] = z[:, 1]
    return out


@pytest.mark.parametrize("case", WRITES)
def test_writes_take_the_signal_of_their_places(case):
    assert_same(*[lambda x, w, v, f=f: F.relu(f(x, w)).flatten(1) @ v[:, : f(x, w)[0].numel()].T for f in WRITES[case]],
         seeded(6, 6), seeded(3, 24), shape=(4, 6))  # fmt: skip


def test_a_constant_that_was_written_loses_its_signal():
    def write(x):
        x = x.clone()
        x[:, 1] = 2.0
        x[:, 2] = torch.tensor([1.0, 2, 3, 4, 5, 6], dtype=torch.float64)
        return x

    assert_winners(write, lost=True)
    account = eb.balance(Function(write).eval(), seeded(2, 1, 4, 6), [8], layer="input")
    assert account.lost.flatten().tolist() == [1, 1]


def test_bounds_of_what_was_written():
    """A number written is its own bound, also below the others': it wins nothing in Eq. 5, and shifts nobody else."""

    def write(x, w):
        y = torch.sigmoid(x)
        y[:, 1] = -5.0
        return y.flatten(1) @ w.T

    x, w = seeded(2, 1, 4, 6), seeded(1, 24)
    found = eb.explain(Function(write, w).eval(), x, [0], layer="input").maps
    share = torch.sigmoid(x)[:, 0] * w.clamp(min=0).reshape(4, 6) * torch.tensor([1.0, 0, 1, 1])[:, None].double()
    assert torch.allclose(found[:, 0], share / share.sum((1, 2), keepdim=True), atol=1e-12)


# Selections and linear maps ------------------------------------------------------------------------------------------

GRID = F.affine_grid(torch.tensor([[[0.8, 0.2, 0.1], [-0.1, 0.9, 0.0]]]).double().repeat(3, 1, 1), (3, 1, 3, 5), False)
GRID = GRID + 0.05 * torch.arange(3).reshape(3, 1, 1, 1)
SELECTIONS = {
    "index_select": lambda x: x.index_select(1, torch.tensor([2, 0, 0])),
    "gather": lambda x: x.gather(2, torch.tensor([[2, 0], [5, 5], [1, 0], [3, 4]]).expand(3, -1, -1)),
    "take": lambda x: x.take(torch.tensor([[0, 5, 5], [30, 24, 47], [48, 71, 50]])),
    "roll": lambda x: x.roll((1, -2), (1, 2)),
    "unfold windows": lambda x: F.unfold(x[:, None], 3, padding=1, stride=2),
    "unfold a dimension": lambda x: x.unfold(2, 3, 2),
    "unpooling": lambda x: F.max_unpool2d(*F.max_pool2d(x[:, None], 2, return_indices=True), 2),
    "unpooling other neurons": lambda x: F.max_unpool2d(
        F.avg_pool2d(x[:, None], 2), F.max_pool2d(-x[:, None], 2, return_indices=True)[1], 2
    ),
    "adaptive with indices": lambda x: F.adaptive_max_pool2d(x[:, None], (2, 2), return_indices=True)[0],
    "channel shuffle": lambda x: F.channel_shuffle(x[..., None], 2),
    "nan_to_num": lambda x: x.nan_to_num(),
}


@pytest.mark.parametrize("case", SELECTIONS)
def test_selections_go_where_the_derivative_goes(case):
    x = seeded(3, 1, 4, 6, seed=3)
    if case == "unpooling other neurons":  # with an average below
        check(SELECTIONS[case], shape=(4, 6), signed=False)
    else:
        assert_winners(SELECTIONS[case], x=x, lost="unpool" in case or "windows" in case)


LINEAR = {
    "grid_sample": lambda x, g: F.grid_sample(x[:, None], g, align_corners=False),
    "grid_sample, border": lambda x, g: F.grid_sample(x[:, None], g * 1.5, padding_mode="border", align_corners=True),
    "grid_sample, nearest": lambda x, g: F.grid_sample(x[:, None], g, mode="nearest", align_corners=False),
    "fold": lambda x: F.fold(x, (3, 4), (2, 2), stride=(1, 1)),
    "cumsum": lambda x: x.cumsum(2),
    "area": lambda x: F.interpolate(x[:, None], (2, 3), mode="area"),
}


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("case", LINEAR)
def test_linear_maps_against_a_dense_matrix(case, signed):
    check(LINEAR[case], *[GRID] * ("grid" in case), shape=(4, 6), signed=signed)


def test_a_grid_of_the_images_steers_and_carries_nothing():
    """A spatial transformer: the same map as with the grid as a constant."""
    theta = torch.tensor([[0.8, 0.1, 0.0], [0.0, 0.9, 0.1]]).double()

    def transformed(x, theta):
        moved = theta + x.mean((1, 2))[:, None, None] * 0.1
        return F.grid_sample(x[:, None], F.affine_grid(moved, (3, 1, 3, 5), False), align_corners=False)

    x = seeded(3, 1, 4, 6, seed=3)
    constant = F.affine_grid(theta + x[:, 0].mean((1, 2))[:, None, None] * 0.1, (3, 1, 3, 5), False)
    signals = list(seeded(2, 15, seed=5).abs())
    fixed = Function(lambda x, g: F.grid_sample(x[:, None], g, align_corners=False), constant).eval()
    found = [
        eb.explain(model, x, signals, layer="input").maps for model in (Function(transformed, theta).eval(), fixed)
    ]
    assert torch.allclose(*found, atol=1e-12)


STEPS = {
    "round": lambda y: (y * 50).round() / 50,
    "per tensor": lambda y: torch.fake_quantize_per_tensor_affine(y, 0.02, 0, 0, 255),
    "per channel": lambda y: torch.fake_quantize_per_channel_affine(
        y, torch.full((6,), 0.02), torch.zeros(6), 2, 0, 255
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_quantised_activations_pass_their_signal(case):
    """The map is that of the network whose activations are the rounded ones."""
    w = seeded(3, 24).float()

    class Steps(torch.nn.Module):
        def forward(self, x):
            return STEPS[case](F.relu(x[:, 0])).flatten(1) @ w.T

    model = Steps().eval()
    model.register_buffer("w", w)
    x = seeded(2, 1, 4, 6, seed=3).float()
    found = eb.explain(model, x, [0, 1], layer="input", constants=[]).maps
    a = STEPS[case](F.relu(x[:, 0])).flatten(1)
    share = a[:, None] * w[:2].clamp(min=0)
    assert torch.allclose(found.flatten(2), share / share.sum(2, keepdim=True), atol=1e-6)


REFUSED = {
    "fft": (lambda x: torch.fft.rfft(x).real, "complex numbers"),
    "stft": (
        lambda x: torch.stft(x.flatten(1), 8, window=torch.ones(8).double(), return_complex=True).abs(),
        "complex",
    ),
    "masked_scatter": (lambda x: x.masked_scatter(x > 0, F.relu(x)), "'masked_scatter' .* images are mixed"),
    "embedding": (lambda x: F.embedding(x.long().clamp(0, 2), torch.ones(3, 2).double()), "integer indices"),
    "fractional pooling": (lambda x: F.fractional_max_pool2d(x[:, None], 2, 2), "are random"),
    "quantile": (lambda x: x.quantile(0.5, 2), "interpolates between sorted"),
    "where between constants": (lambda x: torch.where(x > 0, torch.ones_like(x), 0.0), "between constants"),
    "quantised": (
        lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.qint8).dequantize(),
        "quantised numbers",
    ),
    "bicubic grid": (
        lambda x: F.grid_sample(x[:, None], x[:, :2].unflatten(2, (3, 2)), "bicubic", align_corners=False),
        "bicubic",
    ),
    "written into a view of a view": (
        lambda x: _view((x @ torch.ones(6, 6).double()).mT, lambda y, v: v.neg_()),
        "shares",
    ),
    "written into a view": (lambda x: _through_a_view(x @ torch.ones(6, 6).double()), "shares memory with one changed"),
}


def _through_a_view(y):
    first, second = y[:, :2], y[:, :3]
    first.mul_(2)
    return second


@pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    function, message = REFUSED[case]

    class Net(torch.nn.Module):
        def forward(self, x):
            return function(x[:, 0]).flatten(1).double() + 0.0

    with pytest.raises(eb.ExcitationError, match=message) as error:
        eb.explain(Net().eval(), seeded(3, 1, 4, 6), [0], layer="input")
    assert str(error.value).startswith("'")


@pytest.mark.parametrize(
    "name", ["c-mwp", "lrp", "lrp-z-plus", "sampled-winners", "selective-tuning", "eb-without-norm"]
)
def test_methods_with_rules_of_their_own_follow_the_choice(name):
    """Two spellings of one maximum; single winners are drawn with the same seed."""

    class Maxout(torch.nn.Module):
        def __init__(self, choose):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.head, self.choose = torch.nn.Conv2d(2, 6, 3), torch.nn.Linear(3, 4), choose

        def forward(self, x):
            return self.head(F.relu(self.choose(*self.conv(x).chunk(2, 1))).mean((2, 3)))

    ways = torch.maximum, lambda a, b: torch.stack([a, b], 1).amax(1), lambda a, b: torch.where(a > b, a, b)
    x = seeded(2, 2, 6, 5, seed=4)
    found = [eb.explain(Maxout(way).double().eval(), x, [0, 2], layer="conv", method=name).maps for way in ways]
    assert torch.allclose(found[0], found[1], atol=1e-10)
    assert torch.allclose(found[0], found[2], atol=1e-10)
    assert float(found[0].abs().sum()) > 0


def test_all_classes_the_other_way_through_choices():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.head = torch.nn.Conv2d(2, 6, 3), torch.nn.Linear(3, 4)

        def forward(self, x):
            y = torch.maximum(*self.conv(x).chunk(2, 1))
            y[:, 1] = F.relu(y[:, 0])
            return self.head(F.relu(y).flatten(2).logsumexp(2))

    model, x = Net().double().eval(), seeded(2, 2, 6, 5, seed=4)
    down = eb.explain(model, x, [0, 1, 2, 3], layer="conv").maps
    for way in ("positions", "classes", "features"):
        up = eb.all_classes(model, x, layer="conv", strategy=way)
        assert torch.allclose(up.maps([0, 1, 2, 3]), down, atol=1e-9)
