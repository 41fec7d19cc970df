"""Networks with several inputs: a map of each, from one sweep."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import excitation as eb


class Two(nn.Module):
    """Two pictures of different sizes, joined after pooling."""

    def __init__(self):
        super().__init__()
        self.f, self.g, self.fc = nn.Conv2d(3, 6, 3), nn.Conv2d(1, 6, 3), nn.Linear(12, 4)

    def forward(self, left, right):
        return self.fc(torch.cat([self.f(left).relu().mean((2, 3)), self.g(right).relu().mean((2, 3))], 1))


class One(nn.Module):
    """The same, with both pictures in one tensor of four channels."""

    def __init__(self, two):
        super().__init__()
        self.two = two

    def forward(self, x):
        return self.two(x[:, :3], x[:, 3:])


class Siamese(nn.Module):
    """One network for two pictures, and what they have in common."""

    def __init__(self):
        super().__init__()
        self.f, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

    def forward(self, left, right):
        a, b = (self.f(x).relu().mean((2, 3)) for x in (left, right))
        return self.fc(torch.minimum(a, b))


def model(kind=Two):
    torch.manual_seed(0)
    return kind().double().eval()


def pictures(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_each_input_has_a_map():
    net, left, right = model(), pictures(2, 3, 8, 9), pictures(2, 1, 6, 7, seed=1)
    maps = eb.explain(net, (left, right), [0, 3], layer="input")
    assert {name: tuple(m.shape) for name, m in maps.by_layer.items()} == {
        "input[0]": (2, 2, 8, 9), "input[1]": (2, 2, 6, 7),
    }  # fmt: skip
    assert torch.allclose(sum(m.flatten(2).sum(2) for m in maps.by_layer.values()), torch.ones(2, 2).double())
    one = eb.explain(net, (left, right), [0, 3], layer="input[1]").maps
    assert torch.equal(one, maps["input[1]"])


def test_as_one_tensor():
    net, x = model(), pictures(2, 4, 8, 9)
    whole = eb.explain(One(net).eval(), x, [0, 3], layer="input").maps
    parts = eb.explain(net, (x[:, :3], x[:, 3:]), [0, 3], layer="input")
    assert torch.allclose(parts["input[0]"] + parts["input[1]"], whole, atol=1e-12)


def test_by_name():
    net, left, right = model(), pictures(2, 3, 8, 9), pictures(2, 1, 6, 7, seed=1)
    by_place = eb.explain(net, (left, right), [1], layer="input")
    by_name = eb.explain(net, {"right": right, "left": left}, [1], layer="input").resized()
    assert torch.equal(by_name["input[left]"], by_place["input[0]"])
    assert torch.equal(by_name["input[right]"], by_place["input[1]"])


@pytest.mark.parametrize("contrast", [{"method": "c-mwp"}, {"method": "r-mwp"}, {"against": 2}])
def test_contrasts(contrast):
    net, x = model(), pictures(2, 4, 8, 9)
    options = {"layer": "input", **contrast, "signed": True}
    whole = eb.explain(One(net).eval(), x, [0, 3], **options).maps
    parts = eb.explain(net, (x[:, :3], x[:, 3:]), [0, 3], **options)
    assert torch.allclose(parts["input[0]"] + parts["input[1]"], whole, atol=1e-12)


def test_siamese_networks_share_their_layers():
    net, left, right = model(Siamese), pictures(2, 3, 8, 9), pictures(2, 3, 8, 9, seed=1)
    net.fc.weight.data.abs_()  # so that no winner is without excitatory inputs
    with pytest.warns(eb.BypassWarning):
        maps = eb.explain(net, (left, right), [0, 1], layer=["f", "f#2"])
    mass = sum(m.flatten(2).sum(2) for m in maps.by_layer.values())
    assert torch.allclose(mass, torch.ones(2, 2).double())
    swapped = eb.explain(net, (right, left), [0, 1], layer="input")
    straight = eb.explain(net, (left, right), [0, 1], layer="input")
    assert torch.allclose(swapped["input[1]"], straight["input[0]"], atol=1e-12)


def test_numbers_that_are_no_neurons_may_be_among_them():
    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.words, self.fc = nn.Conv2d(3, 6, 3), nn.Embedding(5, 6), nn.Linear(6, 4)

        def forward(self, image, word):
            return self.fc(self.f(image).relu().mean((2, 3)) * self.words(word).sigmoid())

    net, x = model(Chosen), pictures(2, 3, 8, 9)
    maps = eb.explain(net, (x, torch.tensor([1, 4])), [0], layer="input[0]").maps
    assert torch.allclose(maps.flatten(2).sum(2), torch.ones(2, 1).double())
    assert torch.equal(eb.explain(net, (x, torch.tensor([1, 4])), [0], layer="input").maps, maps)


def test_the_account_closes_and_layers_are_listed():
    net, left, right = model(), pictures(2, 3, 8, 9), pictures(2, 1, 6, 7, seed=1)
    audit = eb.balance(net, (left, right), [0], layer="input[0]")
    assert float(audit.residue.abs().max()) < 1e-12
    assert torch.allclose(audit.arrived + audit.bypassed, torch.ones(2, 1).double())
    names = [layer.name for layer in eb.list_layers(net, (left, right))]
    assert names[:2] == ["input[0]", "input[1]"]


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ((torch.rand(1, 3, 8, 8), torch.rand(2, 1, 8, 8)), "same number of images"),
        ((torch.ones(1).long(), torch.ones(1).long()), "no floating-point tensor"),
    ],
)
def test_what_is_refused(images, sentence):
    with pytest.raises(eb.ExcitationError, match=sentence):
        eb.explain(model().float(), images, [0], layer="input")


def test_methods_take_one_tensor():
    with pytest.raises(eb.ExcitationError, match="several tensors"):
        eb.explain(model(), (pictures(1, 3, 8, 8), pictures(1, 1, 8, 8)), [0], method="gradient")
