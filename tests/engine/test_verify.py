"""A record replayed on other pictures gives the network's own answers, unless something escaped it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb
from engine.test_recording import net


@pytest.fixture
def images():
    return torch.rand(2, 3, 8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def unseen(run):
    with torch._C.DisableTorchFunction():
        return run()


def data_changed(x):
    y = x * 1
    unseen(lambda: y.data.mul_(x))
    return y


ESCAPES = {
    "a number read unseen": lambda x: x * unseen(lambda: x.mean().item()),
    "the size of a selection": lambda x: x * (x > 0.1).nonzero().shape[0],
    "text": lambda x: x * float(f"{x.mean()}"),
    "an array made unseen": lambda x: x * torch.tensor(unseen(lambda: x.mean((1, 2, 3), keepdim=True).tolist())),
    "data changed unseen": data_changed,
}


@pytest.mark.parametrize("case", ESCAPES)
def test_what_escapes_unseen_shows_as_a_difference(case, images):
    model = net(lambda self, x: F.relu(self.conv2(ESCAPES[case](F.relu(self.conv2(x))))))
    eb.explain(model, images, [0], layer="input")  # the engine itself sees nothing
    found = eb.verify(model, images)
    assert not found.agrees
    assert found.relative > found.tolerance
    assert "escapes the record" in found.reason
    assert found.first in {"conv2#2", "fc", "the class scores"}
    with pytest.raises(eb.ExcitationError, match="escapes the record"):
        found.check()
    assert "DIFFERS" in str(found)


def test_control_flow_shows_as_a_difference_of_its_own(images):
    def forward(self, x):
        return F.relu(self.conv2(x)) if (x.mean() - self.level).abs() < 1e-9 else F.relu(-self.conv2(x))

    model = net(forward)
    with torch.no_grad():
        model.level = float(model.relu(model.conv1(images)).mean())
    found = eb.verify(model, images)
    assert not found.agrees
    assert "control flow depends on the images" in found.reason
    assert "'neg' in the model's own forward" in found.reason
    assert found.steering == ("'bool' in the model's own forward",)


CLEAN = {
    "plain": lambda self, x: F.relu(self.conv2(x)),
    "in place": lambda self, x: F.relu(self.conv2(x), inplace=True).mul_(2).add_(x),
    "slices": lambda self, x: torch.cat([y * (i + 1) for i, y in enumerate(x.chunk(3, 1))], 1),
    "random numbers": lambda self, x: x + torch.rand(6, 1, 1, dtype=x.dtype),
    "indices": lambda self, x: F.max_pool2d(x, 2, return_indices=True)[0],
    "state": lambda self, x: x * vars(self).setdefault("state", x.new_ones(())),
    "no rule": lambda self, x: torch.cumprod(x + 0.5, 1),
    "mask": lambda self, x: x * (x > 0.1),
}


@pytest.mark.parametrize("case", CLEAN)
def test_what_is_recorded_agrees(case, images):
    found = eb.verify(net(CLEAN[case]), images)
    found.check()
    assert found.agrees
    assert found.reason == found.first == ""
    assert len(found.pictures) == 5
    assert found.layers >= 3


def test_findings_of_a_residual_network(images):
    found = eb.verify(net(lambda self, x: x + F.relu(self.conv2(x))), images)
    assert found.rules["affine"] == {"conv2d": 2, "linear": 1}
    assert found.rules["sum"] == {"add": 1}
    assert found.mass + found.lost == pytest.approx(1, abs=1e-9)
    assert found.choices["residual='proportional'"] == 1
    assert "share of the mass" in str(found)


def test_operations_without_a_rule_are_named_and_no_error(images):
    model = net(lambda self, x: F.relu(self.conv2(torch.cumprod(x + 0.5, 1))))
    found = eb.verify(model, images)
    assert found.without_rule == (":cumprod",)
    assert found.mass is None
    assert "cumprod" in found.refused
    above = eb.verify(model, images, layer="conv2")
    assert above.mass == pytest.approx(1, abs=0.2)


def test_the_networks_state_and_the_callers_random_numbers_are_left_alone(images):
    model = net(CLEAN["state"])
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    eb.verify(model, images)
    assert torch.equal(torch.rand(2), expected)
    assert "state" not in vars(model)


def test_the_first_layer_that_differs_is_named(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Text(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(2), Mean())
    found = eb.verify(model.double().eval(), images)
    assert found.first == "2"


class Text(nn.Module):
    def forward(self, x):
        return x * float(f"{x.mean():.9f}")


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(2)


class Grown(nn.Module):
    """Appends to the list that it concatenated, as dense blocks do."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(7, 4, 3, padding=1)])
        self.head = nn.Linear(11, 5)

    def forward(self, x):
        features = [x]
        for conv in self.convs:
            features.append(torch.relu(conv(torch.cat(features, 1))))
        return self.head(torch.cat(features, 1).mean((2, 3)))


def test_lists_that_grow_after_a_call_are_replayed_as_they_were():
    found = eb.verify(Grown().eval(), torch.rand(2, 3, 8, 8))
    assert not found.reason
