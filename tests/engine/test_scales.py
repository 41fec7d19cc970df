"""Whatever the scales of channels: exact zeros are zeros, and single precision finds what double precision finds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import excitation as eb


def network(kind):
    torch.manual_seed(0)
    middle = {
        "point": lambda: nn.Conv2d(8, 8, 1),
        "depthwise": lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8),
        "grouped": lambda: nn.Conv2d(8, 8, 3, padding=1, groups=2),
        "full": lambda: nn.Conv2d(8, 8, 3, padding=1),
        "transposed": lambda: nn.ConvTranspose2d(8, 8, 3, padding=1, groups=2),
    }[kind]()
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), middle, nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 8, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    with torch.no_grad():
        # Output channels six powers of ten apart, as networks with random depthwise weights have.
        factors = 10.0 ** torch.linspace(-9, 0, 8)
        for layer in (model[2], model[5]):
            out = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            shape = [1] * 4
            if out == 1:  # (input, output of the group)
                shape[1] = layer.weight.shape[1]
                layer.weight.mul_(factors[: layer.weight.shape[1]].reshape(shape))
                layer.bias.mul_(factors[: layer.weight.shape[1]].repeat(2))
            else:
                layer.weight.mul_(factors[:, None, None, None])
                layer.bias.mul_(factors)
    return model.eval()


@pytest.mark.parametrize("kind", ["point", "depthwise", "grouped", "full", "transposed"])
def test_single_precision_loses_no_more_than_double(kind):
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = network(kind)
    found = eb.balance(model, images, [0, 1, 2, 3], layer="input")
    single = eb.explain(model, images, [0, 1, 2, 3], layer="input").maps.double()
    model.double()
    expected = eb.balance(model, images.double(), [0, 1, 2, 3], layer="input")
    double = eb.explain(model, images.double(), [0, 1, 2, 3], layer="input").maps
    assert torch.allclose(found.lost, expected.lost, atol=1e-5)
    assert float((single - double).abs().max() / double.abs().max()) < 1e-4


def test_a_true_zero_stays_one_in_single_precision():
    """A kernel that sees nothing but silence has no normaliser, though others of its image are large."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 32 * 32, 1)).eval()
    with torch.no_grad():
        model[2].weight.zero_()
        model[2].weight[0, : 32 * 8] = 1  # the first rows of the first channel, where the picture is silent
        model[0].bias.fill_(1)
    images = torch.rand(1, 3, 32, 32) * 100
    images[:, :, :12] = 0
    assert float(eb.balance(model, images, [0], layer="input").lost) == pytest.approx(1)
