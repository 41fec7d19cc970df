"""A call for many batches: on the CPU it is `explain`; a CUDA graph's path, with a graph that runs the call anew."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import excitation as eb
from excitation import _capture


class Net(nn.Sequential):
    def __init__(self, *, spatial=False):
        steps = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()]
        tail = [nn.Conv2d(8, 5, 1)] if spatial else [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
        super().__init__(*steps, *tail)


@pytest.fixture
def images():
    return torch.rand(3, 2, 3, 10, 12)


@pytest.fixture
def replayed(monkeypatch):
    """The path of a CUDA graph: a replay runs the same steps on what was copied to the fixed places."""

    class Graph:
        def __init__(self, call):
            self.call = call

        def replay(self):
            self.call._found = self.call._run()

    def captured(call):
        return Graph(call), call._run()

    monkeypatch.setattr(_capture._Call, "_captured", captured)
    return _capture._Call


@pytest.mark.parametrize("targets", [[0, 4], "b", [[1, 2], [3, 0]], {1: 0.5, 2: 0.5}])
def test_on_the_cpu_it_is_explain(images, targets):
    model = eb.LoadedModel(Net().eval(), "net", eb.Preprocessing(), tuple("abcde"), default_layer="1")
    call = eb.capture(model, images[0], targets, contrast="dual", signed=True)
    found = call(images[1])
    expected = eb.explain(model, images[1], targets, contrast="dual", signed=True)
    assert isinstance(found, list) == isinstance(expected, list)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert torch.equal(call(images[2], [3]), eb.explain(model, images[2], [3], contrast="dual", signed=True))


@pytest.mark.parametrize("contrast", [None, "dual", "rivals", 4, "c", [0, 4], {0: 0.5}])
@pytest.mark.parametrize("spatial", [False, True])
def test_other_images_and_targets_at_fixed_places(replayed, images, contrast, spatial):
    model = Net(spatial=spatial).eval()
    options = {"layer": ["1", "3"], "contrast": contrast, "signed": True, "class_names": tuple("abcde")}
    call = replayed(model, images[0], [1, "c"], options)
    alone = torch.tensor([0, 0.3, 0, 0.7, 0])
    for batch, targets in (
        (images[1], ["a", {"b": 0.5, 4: 0.5}]),
        (images[2], [[0, 1], [2, 3]]),
        (images[0], [alone, torch.stack([alone, alone.flip(0)])]),
    ):
        found = call(batch, targets)
        expected = eb.explain(model, batch, targets, **options)
        for layer in options["layer"]:
            maps = torch.stack(expected[layer]) if isinstance(expected[layer], list) else expected[layer]
            assert float(maps.abs().max()) > 0
            torch.testing.assert_close(found[layer], maps, rtol=1e-5, atol=1e-7)


def test_what_it_gave_stays(replayed, images):
    call = replayed(Net().eval(), images[0], [1], {"layer": "1", "contrast": None})
    first = call(images[1], [1])["1"]
    before = first.clone()
    call(images[2], [2])
    assert torch.equal(first, before)


def test_what_does_not_fit_is_refused(replayed, images):
    model = Net().eval()
    call = replayed(model, images[0], [1, 2], {"layer": "1", "contrast": None})
    for targets, sentence in (
        ([1], "1 targets were given; the call was captured with 2"),
        ([lambda scores: scores, 1], "a function of the scores"),
        ([[1, 2], [3]], r"images have \(2, 1\) targets"),
        ([torch.rand(3), 1], r"a signal of shape \(3,\).* of shape \(5,\) or \(2, 5\)"),
        ([7, 1], "target 7 is no class"),
    ):
        with pytest.raises(eb.TargetError, match=sentence):
            call(images[1], targets)
    with pytest.raises(eb.ExcitationError, match=r"images are \(1, 3, 10, 12\) in float32 .* captured with \(2, 3"):
        call(images[1, :1], [1, 2])
    with pytest.raises(eb.ExcitationError, match=r"images are .* in float64"):
        call(images[1].double(), [1, 2])
    with pytest.raises(eb.ExcitationError, match="NaN or infinite for image 0, 1"):
        call(images[1] * float("nan"), [1, 2])
    model[0].weight = nn.Parameter(torch.rand(8, 3, 3, 3))
    with pytest.raises(eb.ExcitationError, match="weights are no longer where they were"):
        call(images[1], [1, 2])


def test_an_arm_is_warned_of_once(images):
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

        def forward(self, x):
            return self.head((torch.relu(self.one(x)) + torch.relu(self.other(x))).mean((2, 3)))

    with pytest.warns(eb.BypassWarning, match="only one arm"):
        eb.capture(Forked().eval(), images[0], [1], layer="one")


def test_what_explain_refuses_is_refused_at_once(images):
    with pytest.raises(eb.TargetError, match="target 9 is no class"):
        eb.capture(Net().eval(), images[0], [9], layer="1")
    with pytest.raises(eb.LayerError, match="no layer 'seven'"):
        eb.capture(Net().eval(), images[0], [1], layer="seven")
