"""Methods that share a forward pass give what they give alone."""

import pytest
import torch
from method_networks import deep

from excitation import ExcitationError
from excitation.methods import GRADIENTS, TOGETHER, find_method, gradient_maps_from_one_pass, maps_from_one_pass


class ScoreMap(torch.nn.Module):
    """A network that scores positions, so that readings differ."""

    def __init__(self):
        super().__init__()
        self.below = deep()[:7]
        torch.manual_seed(5)
        self.score = torch.nn.Conv2d(12, 6, 1).double()

    def forward(self, images):
        return self.score(self.below(images))


@pytest.mark.parametrize(("model", "layers"), [(deep(), ["3", "7"]), (ScoreMap().eval(), ["below.3", None])])
def test_maps_are_those_of_each_method_alone(images, model, layers):
    targets = [0, 3, {1: 0.5, 2: 0.5}]
    wanted = [(name, signal) for name in TOGETHER for signal in ("response", "softmax")]
    found = maps_from_one_pass(model, images, targets, wanted, layers)
    assert len(found) == len(wanted)
    for (name, signal), of_method in zip(wanted, found, strict=True):
        for layer, maps in zip(layers, of_method, strict=True):
            alone = find_method(name)(model, images, targets, layer=layer, spatial=signal)
            assert torch.allclose(maps, alone, rtol=1e-10, atol=1e-13), name
            assert maps.abs().sum() > 0


def test_each_method_at_its_own_layers(images):
    model = deep()
    wanted = [(name, "response") for name in TOGETHER]
    layers = [["3"], ["7", "3"], [None], ["3"], ["7"], [None, "3"]]
    for (name, _), places, of_method in zip(
        wanted, layers, maps_from_one_pass(model, images, [1], wanted, layers), strict=True
    ):
        for layer, maps in zip(places, of_method, strict=True):
            assert torch.allclose(maps, find_method(name)(model, images, [1], layer=layer), rtol=1e-10, atol=1e-13)
    with pytest.raises(ExcitationError, match="one list for all 6 methods, or one for each"):
        maps_from_one_pass(model, images, [1], wanted, [["3"], ["7"]])


def test_one_forward_pass_for_all(images):
    calls = []
    model = deep()
    model.register_forward_pre_hook(lambda module, inputs: calls.append(1))
    maps_from_one_pass(model, images, [1], [(name, "response") for name in TOGETHER], ["1", "3", "7"])
    assert len(calls) == 1
    with pytest.raises(ExcitationError, match="'gradient' cannot share"):
        maps_from_one_pass(model, images, [1], [("gradient", "response")], ["1"])


@pytest.mark.parametrize(("model", "layers"), [(deep(), ["3", "7", None]), (ScoreMap().eval(), ["below.3", None])])
def test_maps_of_gradients_are_those_of_each_method_alone(images, model, layers):
    targets = [0, 3, {1: 0.5, 2: 0.5}]
    found = gradient_maps_from_one_pass(
        model, images, targets, [(name, layers) for name in GRADIENTS], spatial="softmax"
    )
    for name, of_method in zip(GRADIENTS, found, strict=True):
        for layer, maps in zip(layers, of_method, strict=True):
            alone = find_method(name)(model, images, targets, layer=layer, spatial="softmax")
            assert torch.allclose(maps, alone, rtol=1e-10, atol=1e-13), (name, layer)
            assert maps.abs().sum() > 0


def test_one_forward_pass_for_all_gradients(images):
    calls = []
    model = deep()
    model.register_forward_pre_hook(lambda module, inputs: calls.append(1))
    gradient_maps_from_one_pass(model, images, [1], [("gradient", ["input", "3"]), ("grad-cam", ["3", "7"])])
    assert len(calls) == 1
    with pytest.raises(ExcitationError, match="'mwp' cannot share"):
        gradient_maps_from_one_pass(model, images, [1], [("mwp", ["1"])])
