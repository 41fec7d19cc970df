"""A call for many batches: the path of a CUDA graph, which on the CPU runs the steps anew."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import excitation as eb


class Net(nn.Sequential):
    def __init__(self, *, spatial=False):
        steps = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()]
        tail = [nn.Conv2d(8, 5, 1)] if spatial else [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
        super().__init__(*steps, *tail)


@pytest.fixture
def images():
    return torch.rand(3, 2, 3, 10, 12)


@pytest.mark.parametrize("targets", [[0, 4], "b", [[1, 2], [3, 0]], {1: 0.5, 2: 0.5}])
def test_on_the_cpu_it_is_explain(images, targets):
    model = eb.LoadedModel(Net().eval(), "net", eb.Preprocessing(), tuple("abcde"), default_layer="1")
    call = eb.cuda_graph(model, images[0], targets, method="c-mwp", signed=True)
    found = call(images[1])
    expected = eb.explain(model, images[1], targets, method="c-mwp", signed=True)
    assert torch.equal(found.maps, expected.maps)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.top, expected.top)
    assert found.targets == expected.targets
    assert repr(found) == repr(expected)


WEIGHTS = torch.tensor([0.2, 0, 0.5, 0.3, 0])


@pytest.mark.parametrize(
    "contrast",
    [
        {},
        {"method": "c-mwp"},
        {"method": "r-mwp"},
        {"against": 4},
        {"against": "c"},
        {"against": [0, 4]},
        {"against": {0: 0.5}},
        {"against": WEIGHTS},
    ],
)
@pytest.mark.parametrize("options", [{"signed": True}, {}, {"spatial": "softmax", "output": "classes"}])
@pytest.mark.parametrize("spatial", [False, True])
def test_other_images_and_targets_at_fixed_places(images, contrast, options, spatial):
    class Named(Net):
        def forward(self, x):
            return {"classes": super().forward(x)} if "output" in options else super().forward(x)

    model = Named(spatial=spatial).eval()
    options = {"layer": ["1", "3"], **contrast, "class_names": tuple("abcde"), **options}
    call = eb.cuda_graph(model, images[0], [1, "c"], **options)
    alone = torch.tensor([0, 0.3, 0, 0.7, 0])
    for batch, targets in (
        (images[1], ["a", {"b": 0.5, 4: 0.5}]),
        (images[2], [[0, 1], [2, 3]]),
        (images[0], [alone, torch.stack([alone, alone.flip(0)])]),
    ):
        found = call(batch, targets)
        expected = eb.explain(model, batch, targets, **options)
        for layer in options["layer"]:
            assert max(float(maps.abs().max()) for maps in expected[layer]) > 0
            for maps, truth in zip(found[layer], expected[layer], strict=True):
                torch.testing.assert_close(maps, truth, rtol=1e-4, atol=1e-6)


def test_what_is_given_may_change_afterwards(images):
    model = Net().eval()
    targets, against, example = [torch.eye(5)[3]], torch.eye(5)[1].clone(), images[0].clone()
    call = eb.cuda_graph(model, example, targets, layer="1", against=against, signed=True)
    expected = call(images[1]).maps
    targets[0].zero_()
    targets.append(4)
    against.zero_()
    example.zero_()
    assert torch.equal(call(images[1]).maps, expected)


def test_what_does_not_fit_is_refused(images):
    model = Net().eval()
    call = eb.cuda_graph(model, images[0], [1, 2], layer="1")
    for targets, sentence in (
        ([1], "1 targets were given; the call was recorded with 2"),
        ([lambda scores: scores, 1], "a function of the scores"),
        ([[1, 2], [3]], r"images have \(2, 1\) targets"),
        ([torch.rand(3), 1], r"a signal of shape \(3,\).* of shape \(5,\) or \(2, 5\)"),
        ([7, 1], "target 7 is not a class"),
    ):
        with pytest.raises(eb.TargetError, match=sentence):
            call(images[1], targets)
    with pytest.raises(eb.ExcitationError, match=r"images are \(1, 3, 10, 12\) in float32 .* recorded with \(2, 3"):
        call(images[1, :1], [1, 2])
    with pytest.raises(eb.ExcitationError, match=r"images are .* in float64"):
        call(images[1].double(), [1, 2])
    with pytest.raises(eb.ExcitationError, match="NaN or infinite for image 0, 1"):
        call(images[1] * float("nan"), [1, 2])
    with pytest.raises(eb.ExcitationError, match="images are a list; a tensor"):
        call._check([[1.0]])  # the tests' own type check stands before the public call
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(eb.ExcitationError, match=r"autocast is torch.bfloat16; .*off"),
    ):
        call(images[1], [1, 2])
    model.train()
    with pytest.raises(eb.ExcitationError, match="another mode"):
        call(images[1], [1, 2])


def test_a_contrast_that_is_a_function_is_refused(images):
    with pytest.raises(eb.TargetError, match="against is a function of the scores"):
        eb.cuda_graph(Net().eval(), images[0], [1], layer="1", against=lambda scores: scores)


def replaced(model):
    model[6] = nn.Linear(8, 5)


def moved(model):
    model[6].weight.data = model[6].weight.data.clone()


def exchanged(model):
    model[6].weight = nn.Parameter(model[6].weight.detach())


def filled(model):
    model[0].bias = nn.Parameter(torch.zeros(8))


def another_constant(model):
    model.scale = torch.ones(8, 1, 1)


@pytest.mark.parametrize("change", [replaced, moved, exchanged, filled, another_constant])
def test_layers_and_weights_at_other_places_are_noticed(images, change):
    class Scaled(Net):
        scale = torch.ones(8, 1, 1)

        def forward(self, x):
            for place, step in enumerate(self):
                x = step(x) * self.scale if place == 3 else step(x)
            return x

    model = Scaled().eval()
    model[0].bias = None
    call = eb.cuda_graph(model, images[0], [1], layer="1", constants=["scale"])
    with torch.no_grad():
        model[6].weight.mul_(2)  # in place: seen, not refused
    assert torch.equal(call(images[1]).maps, eb.explain(model, images[1], [1], layer="1", constants=["scale"]).maps)
    change(model)
    with pytest.raises(eb.ExcitationError, match="memory of the network's layers or weights has changed"):
        call(images[1])


def test_an_arm_is_warned_of_once(images):
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

        def forward(self, x):
            return self.head((torch.relu(self.one(x)) + torch.relu(self.other(x))).mean((2, 3)))

    model = Forked().eval()
    with pytest.warns(eb.BypassWarning, match="in one branch"):
        call = eb.cuda_graph(model, images[0], [1], layer="one")
    call(images[1])  # warnings are errors here


def test_what_explain_refuses_is_refused_at_once(images):
    with pytest.raises(eb.TargetError, match="target 9 is not a class"):
        eb.cuda_graph(Net().eval(), images[0], [9], layer="1")
    with pytest.raises(eb.LayerError, match="no layer 'seven'"):
        eb.cuda_graph(Net().eval(), images[0], [1], layer="seven")
