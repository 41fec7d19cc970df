"""Maps without mass, and maps most mass did not reach, are told."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb


def told(action):
    """The warnings of an action: kind and text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [(item.category, str(item.message)) for item in caught]


class Published(nn.Module):
    """Classifies positions, rectifies, pools: as SqueezeNet was published."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.point = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 3, 1)
        self.double()
        with torch.no_grad():
            self.conv.bias.fill_(1)
            self.point.bias.fill_(5)

    def forward(self, x):
        return F.relu(self.point(F.relu(self.conv(x)))).mean((2, 3))


def pictures():
    return torch.rand(2, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_contrast_of_equal_masses():
    """Unit and dual have the same mass at each position, and the remedy that is named gives a map."""
    model = Published().eval()
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with pytest.warns(eb.EmptyMapWarning, match="pool_first") as caught:
        eb.explain(model, images, [0], layer=":relu", method="c-mwp")
    text = str(caught[0].message)
    assert "unit and dual have the same map" in text
    assert "excitation.pool_first" in text
    assert told(lambda: eb.explain(eb.pool_first(model), images, [0], layer="model:relu", method="c-mwp")) == []


def dead(bias=-1e3):
    """A network whose first layer is silent."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).double()
    with torch.no_grad():
        model[0].bias.fill_(bias)
        model[2].bias.fill_(1)
    return model.eval()


def test_everything_lost():
    with pytest.warns(eb.EmptyMapWarning, match="all its mass is lost above the layer") as caught:
        maps = eb.explain(dead(), pictures(), [0, 1], layer="input").maps
    assert float(maps.abs().sum()) == 0
    text = str(caught[0].message)
    assert "3 more of 4" in text
    assert "spread" in text
    spread = told(
        lambda: eb.explain(dead(), pictures(), [0, 1], layer="input", policies=eb.Policies(normaliser="spread"))
    )
    assert spread == []


def test_no_mass_on_top():
    """The response of a class that responds nowhere."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3)).double().eval()
    with torch.no_grad():
        model[0].bias.fill_(-100)
    with pytest.warns(eb.EmptyMapWarning, match="no mass: the class has no positive response"):
        eb.explain(model, pictures(), [0], layer="input")


def half_lost(part):
    """A network that loses a known part of the mass: of two hidden units, one has no active input."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.head = nn.Linear(4, 2).double(), nn.Linear(2, 1).double()
            with torch.no_grad():
                self.hidden.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [-1, -1, -1, -1]]))
                self.hidden.bias.copy_(torch.tensor([0.0, 10.0]))
                self.head.weight.fill_(1)

        def forward(self, x):
            return self.head(F.relu(self.hidden(x.flatten(1))) * self.scale)

    model = Two().eval()
    # Units respond with 1 and 6; factors make the second win `part` of the mass.
    model.register_buffer("scale", torch.tensor([1 - part, part / 6]).double())
    return model


@pytest.mark.parametrize(("part", "expected"), [(0.4, False), (0.6, True), (0.999, True)])
def test_most_of_the_mass_lost(part, expected):
    images = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    caught = told(lambda: eb.explain(half_lost(part), images, [0], layer="input"))
    if not expected:
        assert caught == []
        return
    ((kind, text),) = caught
    assert kind is eb.MassLossWarning
    assert f"{part:.1%} of the mass of target 0 of image 0 is lost on the way to layer 'input'" in text
    audit = eb.balance(half_lost(part), images, [0], layer="input")
    assert float(audit.lost) == pytest.approx(part)


def test_a_bypass_share_is_no_loss():
    class Arms(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.small, self.large = nn.Conv2d(2, 3, 1).double(), nn.Conv2d(2, 3, 1).double()
            with torch.no_grad():
                self.small.weight.fill_(0.01)
                self.large.weight.fill_(1)

        def forward(self, x):
            return (F.relu(self.small(x)) + F.relu(self.large(x))).mean((2, 3))

    kinds = [kind for kind, _ in told(lambda: eb.explain(Arms().eval(), pictures(), [0], layer="small"))]
    assert kinds == [eb.BypassWarning]


def test_places_without_a_target_are_not_asked_about():
    """Where images have different numbers of targets, the rest of a row is zero on purpose."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double().eval()
    assert told(lambda: eb.explain(model, pictures(), [[0], [1, 2]], layer="1")) == []


def test_replays_of_a_captured_call_are_asked_too():
    model, images = dead(bias=-2.0), pictures()
    call = eb.cuda_graph(model, images + 10, [0], layer="input")
    with pytest.warns(eb.EmptyMapWarning):
        call(images * 0)


def test_warnings_point_at_the_line_of_the_caller(tmp_path):
    """In a process of its own: here the functions between are wrapped to check their types."""
    script = tmp_path / "caller.py"
    script.write_text(
        "import torch, excitation as eb\n"
        "model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(),"
        " torch.nn.Linear(2, 2)).eval()\n"
        "torch.nn.init.constant_(model[0].bias, -100)\n"
        "for ask in (eb.explain, eb.balance):\n"
        "    ask(model, torch.rand(1, 1, 3, 3), [0], layer='input')\n"
    )
    run = subprocess.run([sys.executable, "-W", "always", script], capture_output=True, text=True, check=True)
    assert run.stderr.count("caller.py:5: EmptyMapWarning") == 2
