"""Names of layers mean one thing: images, modules, calls and operations never stand for one another."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb


class Named(nn.Module):
    """A network whose modules are called as asked: a stem of stride 2, and a body that runs twice."""

    def __init__(self, stem: str, body: str = "body", more: str = "more") -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.add_module(stem, nn.Conv2d(3, 6, 3, stride=2, padding=1))
        self.add_module(body, nn.Conv2d(6, 6, 3, padding=1))
        self.add_module(more, nn.Conv2d(6, 6, 3, padding=1))
        self.add_module("head", nn.Linear(6, 4))
        self.called = (stem, body, more)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)
        self.double().eval()

    def forward(self, x):
        stem, body, more = (self._modules[name] for name in self.called)
        x = F.relu(stem(x))
        x = F.relu(body(F.relu(body(x)) * 0.5))
        return self.head(F.relu(more(x)).mean((2, 3)))


@pytest.fixture
def images():
    return torch.rand(2, 3, 8, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def explained(model, images, layer):
    return eb.explain(model, images, [0], layer=layer).maps


def plain(images, layer):
    return explained(Named("stem"), images, layer)


def test_a_module_called_input_does_not_hide_the_images(images):
    model = Named("input")
    with pytest.raises(eb.LayerError, match=r"the images \(write ':input'\) or the module called 'input'"):
        explained(model, images, "input")
    assert torch.equal(explained(model, images, ":input"), plain(images, "input"))
    for layer in (r"\input", model.input):
        assert torch.equal(explained(model, images, layer), plain(images, "stem"))


def test_a_module_called_as_a_second_call_does_not_hide_it(images):
    model = Named("stem", "c", "c#2")
    with pytest.raises(eb.LayerError, match=r"module called 'c#2' .*or call 2 of module 'c' \(write 'c:#2'\)"):
        explained(model, images, "c#2")
    assert torch.equal(explained(model, images, "c:#2"), plain(images, "body#2"))
    assert torch.equal(explained(model, images, "c:#1"), plain(images, "body"))
    for layer in (r"c\#2", model._modules["c#2"]):
        assert torch.equal(explained(model, images, layer), plain(images, "more"))


def test_a_module_called_as_an_operation_does_not_hide_it(images):
    model = Named("stem", "c", "c:conv2d")
    with pytest.raises(eb.LayerError, match=r"or operation 'conv2d' in module 'c' \(write 'c::conv2d'\)"):
        explained(model, images, "c:conv2d")
    assert torch.equal(explained(model, images, "c::conv2d"), plain(images, "body:conv2d"))
    assert torch.equal(explained(model, images, r"c\:conv2d"), plain(images, "more"))
    assert torch.equal(explained(model, images, r"c\:conv2d:conv2d"), plain(images, "more:conv2d"))


def test_without_a_rival_signs_in_a_name_mean_themselves(images):
    model = Named("stem", "a#2", "b:d")
    assert torch.equal(explained(model, images, "a#2"), plain(images, "body"))
    assert torch.equal(explained(model, images, "a#2#2"), plain(images, "body#2"))
    assert torch.equal(explained(model, images, "b:d"), plain(images, "more"))


def test_listed_names_are_taken_back(images):
    model = Named("input", "c", "c#2")
    listed = eb.list_layers(model, images)
    names = [info.name for info in listed]
    assert len(names) == len(set(names))
    assert {"input", r"\input", r"c\#2", "c", "c#2"} <= set(names)
    shapes = {info.name: info.shape for info in listed}
    assert shapes["input"] == (2, 3, 8, 10)
    assert shapes[r"\input"] == (2, 6, 4, 5)


def test_numbers_of_calls_can_be_written_out(images):
    assert torch.equal(plain(images, "stem#1"), plain(images, "stem"))
    assert torch.equal(plain(images, ":relu#1"), plain(images, ":relu"))
    with pytest.raises(eb.LayerError, match="no layer 'stem#x'"):
        plain(images, "stem#x")
