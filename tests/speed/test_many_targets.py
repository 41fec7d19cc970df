"""Many targets in one call: a few at a time, sharing normalisers, without silent channels: always the same maps."""

from __future__ import annotations

import pytest
import torch
from experiments.speed.rows import bare_passes, small_network
from torch import nn

import excitation as eb
from excitation.core._forward import forward
from excitation.engine import ExcitationRules, _pieces, sweep
from excitation.engine.rules import _products

CLASSES = 12

POLICIES = {
    "default": eb.Policies(),
    "spread": eb.Policies(normaliser="spread"),
    "original": eb.Policies.original(),
    "signed as it is": eb.Policies(signed="original"),
}


class Network(nn.Module):
    """Residual sums, signed neurons, averages and maxima below a classifier of positions, which may be in groups."""

    def __init__(self, groups=1):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.narrow = nn.Conv2d(8, 8, 1)
        self.scores = nn.Conv2d(8, CLASSES, 1, groups=groups)
        nn.init.constant_(self.scores.bias, 3.0)  # no class is cut to zero

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = nn.functional.avg_pool2d(torch.relu(x + self.branch(x)), 2)
        x = self.narrow(nn.functional.max_pool2d(x, 2, 1))
        return torch.relu(self.scores(x)).mean((2, 3))


@pytest.fixture
def images():
    return torch.rand(2, 3, 12, 12, dtype=torch.float64)


@pytest.fixture
def sweeps(monkeypatch):
    """How many targets go down together, sweep by sweep."""
    found, sweep = [], _pieces.sweep

    def watched(record, signal, *rest, **more):
        found.append(signal.shape[1])
        return sweep(record, signal, *rest, **more)

    monkeypatch.setattr(_pieces, "sweep", watched)
    return found


@pytest.fixture
def seen(monkeypatch):
    """What `few_channels` answers, call by call."""
    found, few_channels = [], _products.few_channels

    def watched(p, operation):
        found.append(few_channels(p, operation))
        return found[-1]

    monkeypatch.setattr("excitation.engine.rules._weighted.few_channels", watched)
    return found


def answer(model, images, targets, **options):
    return eb.explain(model, images, targets, layer=["stem", "branch"], signed=True, **options)


def assert_equal(found, wanted):
    for name, maps in wanted.by_layer.items():
        assert torch.allclose(found[name], maps, atol=1e-12)
        assert torch.allclose(found.share[name], wanted.share[name], atol=1e-12, equal_nan=True)
    assert maps.abs().max() > 1e-3


@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}, {"method": "r-mwp"}, {"against": 3}])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.filterwarnings("ignore::excitation.BypassWarning")
def test_targets_in_pieces(images, contrast, policy, sweeps, monkeypatch):
    model, targets = Network().eval().double(), list(range(7))
    options = {**contrast, "policies": POLICIES[policy]}
    whole = answer(model, images, targets, **options)
    del sweeps[:]
    monkeypatch.setattr(_pieces, "PIECE", 3 * 2 * 8 * 10 * 10 * 8)  # three signals at `stem`
    assert_equal(answer(model, images, targets, **options), whole)
    assert sweeps == [3, 2, 2]
    # An account is of all targets, who then go down at once.
    account = eb.balance(model, images, targets, layer="stem", policies=POLICIES[policy])
    assert account.rows[0].entered.shape == (2, 7)
    assert sweeps[3:] == [7]


@pytest.mark.filterwarnings("ignore::excitation.BypassWarning")
def test_normalisers_are_made_once_for_all_pieces(images, monkeypatch):
    model = Network().eval().double()
    made, living = [], _products.living

    def counted(z, *rest, **more):
        made.append(z)
        return living(z, *rest, **more)

    monkeypatch.setattr("excitation.engine.rules._weighted.living", counted)
    answer(model, images, [0])
    once = len(made)
    assert once == 6  # one for each of two averages and three convolutions, two where neurons have both signs
    monkeypatch.setattr(_pieces, "PIECE", 1)
    answer(model, images, [0, 1, 2])
    assert len(made) == 2 * once


@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}, {"method": "r-mwp"}])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("targets", [[4], [1, 7, 4], list(range(CLASSES))])
@pytest.mark.filterwarnings("ignore::excitation.BypassWarning")
def test_channels_without_a_signal_are_left_out(images, contrast, policy, groups, targets, seen, monkeypatch):
    model = Network(groups).eval().double()
    options = {**contrast, "policies": POLICIES[policy]}
    wanted = answer(model, images, targets, **options)
    monkeypatch.setattr(_products, "MANY", 10)
    assert_equal(answer(model, images, targets, **options), wanted)
    left = [item.tolist() for item in seen if item is not None]
    # Rivals spread over all classes, and twelve targets leave none out.
    expected = groups == 1 and len(targets) < 4 and contrast.get("method") != "r-mwp"
    assert left == ([sorted(targets)] if expected else [])


def signals_through(model, images, signals, seen):
    """The signals' maps below a convolution that scores positions, and which of its channels were taken."""
    record = forward(model, images, ["0"])
    record.top = record.entries[-1].outputs[0]
    del seen[:]
    (p,) = sweep(record, signals, [record.places["0"].value], ExcitationRules(eb.Policies()))
    return p, list(seen)


def test_channels_that_carry_a_signal_off_the_middle_are_found(images, monkeypatch, seen):
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(3, CLASSES, 1)).eval().double()
    one, three, many = torch.zeros(3, 1, 1, 2, CLASSES, 12, 12, dtype=torch.float64)
    one[0, 0, 1, 4, 0, 0] = -1.0
    three[0, 0, 0, [1, 5, 7], 11, 2] = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    many[..., 2, 6, 6], many[..., 0, 0] = 1.0, 2.0
    for signal, channels in ((one, [4]), (three, [1, 5, 7]), (many, None)):
        wanted, _ = signals_through(model, images, signal, seen)
        with monkeypatch.context() as patch:
            patch.setattr(_products, "MANY", 10)
            found, (few,) = signals_through(model, images, signal, seen)
        assert (few if few is None else few.tolist()) == channels
        assert wanted.abs().max() > 1e-2
        assert torch.allclose(found, wanted, atol=1e-14)


def test_silent_channels_stay_where_derivatives_by_them_are_asked_for(images, monkeypatch):
    monkeypatch.setattr(_products, "MANY", 10)
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(3, CLASSES, 1)).eval().double()
    model[1].weight.data[:, 0].abs_()  # so that each channel has an excitatory input
    record = forward(model, images, ["0"])
    signal = torch.zeros(1, 1, 2, CLASSES, 12, 12, dtype=torch.float64, requires_grad=True)
    (p,) = ExcitationRules(eb.Policies())(record.entries[-1], [signal])
    (found,) = torch.autograd.grad(p.sum(), signal)
    assert torch.allclose(found, torch.ones_like(found))  # all of a winner's mass arrives


def test_the_layer_decides_over_pieces_and_not_what_lies_below_it(sweeps, monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(16), nn.Conv2d(16, 8, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 4 * 4, 20),
    ).eval()  # fmt: skip
    images = torch.rand(1, 3, 64, 64)
    monkeypatch.setattr(_pieces, "PIECE", 10 * 8 * 4 * 4 * 4)  # ten signals at the layer it chooses
    free = eb.explain(model, images, list(range(20)))
    by_name = eb.explain(model, images, list(range(20)), layer="4")
    assert sweeps == [10, 10] * 2
    assert torch.equal(free["4"], by_name["4"])


@pytest.mark.filterwarnings("ignore::excitation.BypassWarning")
def test_a_class_whose_score_is_cut_to_zero_has_an_empty_map(images, monkeypatch):
    model = Network().eval().double()
    model.scores.bias.data[5] = -100.0
    monkeypatch.setattr(_products, "MANY", 10)
    found = answer(model, images, [5])
    assert all(bool((maps == 0).all()) for maps in found.by_layer.values())
    assert bool((found.share["stem"] == 0).all())


def test_the_products_written_out_give_the_same_map():
    model, images, _ = small_network()
    model, images = model.double(), images.double()
    found = eb.explain(model, images, [1], layer="1").maps[:, 0]
    assert found.abs().max() > 1e-2
    assert torch.allclose(bare_passes(model, images), found, atol=1e-14)
