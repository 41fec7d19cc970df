"""The account of mass is measured, not worked out: broken rules make it fail."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb
from excitation.engine.rules import ExcitationRules


class Padded(nn.Module):
    """Loses mass in every way there is: dead normalisers, padding, a constant beside neurons, a silent maximum."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.stem, self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(5, 6, 3), nn.Linear(6, 3)
        self.register_buffer("more", torch.ones(1, 1, 6, 6, dtype=torch.float64))
        self.double()
        for parameter in self.parameters():
            parameter.data.normal_(generator=generator)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = torch.cat([x, self.more.expand(len(x), -1, -1, -1)], 1)
        x = self.conv(F.max_pool2d(F.pad(x - 0.5, (1, 1, 1, 1)), 2, 1))
        return self.head(F.adaptive_max_pool2d(F.relu(x), 1).flatten(1))


def pictures():
    return torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}, {"against": 1}])
@pytest.mark.parametrize("policies", [eb.Policies(), eb.Policies(normaliser="spread"), eb.Policies.original()])
def test_measured_lines_close(contrast, policies):
    """Each line is measured by itself; together they are what entered, and the map's mass is what is left of all."""
    audit = eb.balance(Padded().eval(), pictures(), [0, 2], layer="input", **contrast, policies=policies)
    for row in audit.rows:
        assert torch.allclose(row.entered, row.passed + row.lost + row.bypassed, atol=1e-9 * float(row.size.max()))
        assert torch.equal(row.residue, row.entered - row.passed - row.lost - row.bypassed)
    assert float(audit.residue.abs().max()) < 1e-9 * max(float(row.size.max()) for row in audit.rows)
    if not contrast and policies == eb.Policies():
        assert sum(float(row.lost.sum()) > 1e-3 for row in audit.rows) >= 2


class Broken(ExcitationRules):
    """Rules with a fault at one operation."""

    fault = staticmethod(lambda p: p)

    def __call__(self, entry, signals):
        passed = super().__call__(entry, signals)
        if entry.address == "conv:conv2d":
            passed = [None if p is None else self.fault(p) for p in passed]
        return passed


def broken(monkeypatch, fault):
    rules = type("Faulty", (Broken,), {"fault": staticmethod(fault)})
    monkeypatch.setattr("excitation.engine._pieces.ExcitationRules", rules)


FAULTS = {
    "mass vanishes": lambda p: 0.9 * p,
    "mass is made": lambda p: 1.1 * p,
    "mass is moved below zero": lambda p: p + torch.linspace(-1, 1, p.shape[-1], dtype=p.dtype),
}


@pytest.mark.parametrize("name", FAULTS)
def test_broken_rules_do_not_balance(name, monkeypatch):
    model, images = Padded().eval(), pictures()
    eb.balance(model, images, [0], layer="input")
    broken(monkeypatch, FAULTS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eb.BalanceWarning)
        with pytest.raises(eb.BalanceError, match=r"'conv:conv2d' \(rule 'affine'\) does not balance"):
            eb.balance(model, images, [0], layer="input")


def test_explain_warns_where_numbers_are_at_hand(monkeypatch):
    model, images = Padded().eval(), pictures()
    broken(monkeypatch, lambda p: 50 * p)
    with pytest.warns(eb.BalanceWarning, match="times the mass at the top"):
        eb.explain(model, images, [0], layer="input")
    with pytest.warns(eb.BalanceWarning), pytest.raises(eb.BalanceError, match="does not balance"):
        _ = eb.explain(model, images, [0], layer="input").balance


def test_mass_that_disappears_between_operations_is_missed(monkeypatch):
    """Each operation balances, but a signal that left one never entered the next."""
    from excitation.engine import _sweep

    take = _sweep._take

    def forgetful(lane, value, keep):
        p = take(lane, value, keep)
        return None if p is None else p * 0.5 if value.address == "stem:conv2d" else p

    monkeypatch.setattr(_sweep, "_take", forgetful)
    with pytest.raises(eb.BalanceError, match="between operations"):
        eb.balance(Padded().eval(), pictures(), [0], layer="input")


def test_single_precision_balances_too():
    model = Padded().eval().float()
    audit = eb.balance(model, pictures().float(), [0, 1, 2], layer="input")
    assert float(audit.residue.abs().max()) < 1e-5
