"""Maps that are empty, lost most of their mass or do not balance are told; sound ones are not."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import excitation as eb
from excitation.propagation import rules


class Positions(nn.Module):
    """Classifies positions and pools the scores afterwards, as SqueezeNet does."""

    def __init__(self, pool="mean"):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head, self.pool = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 1, bias=False), pool

    def forward(self, x):
        scores = torch.relu(self.head(torch.relu(self.conv(x))))
        return scores.mean((2, 3)) if self.pool == "mean" else scores.amax((2, 3))


class Chain(nn.Module):
    """Two linear layers whose weights say which part of the mass arrives."""

    def __init__(self, arrives):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)
        with torch.no_grad():
            # The second channel is active by its bias alone.
            self.first.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
            self.second.weight.copy_(torch.tensor([arrives, 1 - arrives]).reshape(1, 2, 1, 1))
        self.register_buffer("bias", torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1))

    def forward(self, x):
        return self.second(torch.relu(self.first(x) + self.bias)).mean((2, 3))


def told(call):
    """The result, and the warnings given on the way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [w for w in caught if issubclass(w.category, UserWarning)]


def picture():
    return torch.rand(1, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_sound_maps_are_not_warned_of():
    model = eb.pool_first(Positions()).double().eval()
    maps, caught = told(lambda: eb.explain(model, picture(), [0], layer="input", contrast="dual"))
    assert not caught
    assert maps.abs().sum() > 0


@pytest.mark.parametrize("silent", [0, 1])
def test_a_map_without_mass_names_cause_and_remedy(silent):
    model = Positions().double().eval()
    with torch.no_grad():
        model.conv.bias.fill_(5)  # no silent neurons
        if silent:
            model.head.weight[0].abs_().mul_(-1)
    if silent:
        with pytest.warns(eb.EmptyMapWarning, match="target 0 of image 0 at layer 'input' is empty.*all its mass is"):
            maps = eb.explain(model, picture(), [0], layer="input")
    else:
        with pytest.warns(eb.EmptyMapWarning, match=r"classifies positions and pools afterwards.*pool_first\(model\)"):
            maps = eb.explain(model, picture(), [0], layer="conv", contrast="dual")
    assert float(maps.abs().sum()) < 1e-6


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_silent_neurons_win_nothing(pool):
    # Eq. 4: P(a_j | a_i) is in proportion to the neuron, so a silent neuron passes no mass on, in a maximum or below.
    model = Positions(pool).double().eval()
    with torch.no_grad():
        model.head.weight[0].abs_().mul_(-1)
    with pytest.warns(eb.EmptyMapWarning):
        account = eb.audit(model, picture(), [0], layer="input")
    assert float(account.here) == 0
    assert float(account.lost) == pytest.approx(1, abs=1e-12)
    account = eb.audit(model, picture(), [1], layer="input")
    assert float(account.here + account.lost) == pytest.approx(1, abs=1e-12)
    assert float(account.here) > 0.5


@pytest.mark.parametrize(("arrives", "expected"), [(0.3, True), (0.7, False)])
def test_lost_mass_is_told_with_its_part(arrives, expected):
    model, images = Chain(arrives).double().eval(), torch.ones(1, 1, 4, 4, dtype=torch.float64)
    maps, caught = told(lambda: eb.explain(model, images, [0], layer="input"))
    assert float(maps.sum()) == pytest.approx(arrives, abs=1e-6)
    assert [w.category for w in caught] == [eb.MassLossWarning] * expected
    if expected:
        assert "70.0% of the mass of target 0 of image 0 is lost" in str(caught[0].message)


def test_only_maps_without_mass_are_counted_where_images_have_different_targets():
    model = eb.pool_first(Positions()).double().eval()
    images = torch.cat([picture(), picture().flip(3)])
    _, caught = told(lambda: eb.explain(model, images, [[0, 1], [2]], layer="input"))
    assert not caught


@pytest.mark.parametrize("factor", [0.9, 1.1, -1.0])
def test_a_rule_that_makes_or_loses_mass_is_found(factor, monkeypatch):
    model = Chain(0.7).double().eval()
    images = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    affine = rules.affine
    monkeypatch.setattr(rules, "affine", lambda *arguments: affine(*arguments) * factor)
    with pytest.raises(eb.BalanceError, match=r"account of 'second:conv2d' \(rule 'affine'\) does not balance"):
        eb.audit(model, images, [0], layer="input")


def test_explain_warns_of_more_mass_than_there_was(monkeypatch):
    model = eb.pool_first(Positions()).double().eval()
    affine = rules.affine
    monkeypatch.setattr(rules, "affine", lambda *arguments: affine(*arguments) * 1.5)
    with pytest.warns(eb.BalanceWarning, match="times the mass on top, which no rule should make"):
        eb.explain(model, picture(), [0], layer="input")
