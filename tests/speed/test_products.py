"""Products and their transposes against autograd; pooling that keeps its winners against pooling that does not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb
from excitation.engine import Kind
from excitation.engine._values import ValueBook
from excitation.engine.operations import READERS, CallContext

# kernel, stride, padding, dilation, groups, outputs per input
SETTINGS = [
    (1, 1, 0, 1, 1, 1), (1, 2, 0, 1, 1, 1), (1, 2, 0, 1, 2, 1), (1, 3, 0, 1, 3, 2), (1, 2, 1, 1, 1, 1),
    (3, 1, 1, 1, 1, 1), (3, 2, 1, 1, 1, 1), (5, 2, 2, 1, 2, 1), (2, 1, "same", 1, 1, 1),
    (3, 2, 1, 1, 6, 1), (3, 1, 1, 1, 6, 1), (3, 1, 0, 1, 6, 2), (3, 3, 2, 1, 6, 1), (2, 2, 0, 1, 6, 1),
    (3, 2, 1, 2, 6, 1), (3, 1, "same", 1, 6, 1), (2, 1, "same", 1, 6, 1), (3, 2, 4, 1, 6, 1), (3, 1, 1, 1, 3, 1),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_transpose_of_a_convolution(dims, setting):
    kernel, stride, padding, dilation, groups, times = setting
    for size in (7, 8):
        x = torch.randn(2, 6, *(size,) * dims, dtype=torch.float64, requires_grad=True)
        w = torch.randn(6 * times, 6 // groups, *(kernel,) * dims, dtype=torch.float64)
        y = getattr(F, f"conv{dims}d")(x, w, None, stride, padding, dilation, groups)
        q = torch.randn_like(y)
        book = ValueBook()
        book.add(x, Kind.TRACKED)
        read = READERS[f"conv{dims}d"](
            CallContext("conv", "", book, lambda: False), x, w, None, stride, padding, dilation, groups
        )
        (expected,) = torch.autograd.grad(y, x, q)
        assert torch.allclose(read[0].forward(x, w), y)
        assert torch.allclose(read[0].adjoint(q, w), expected, atol=1e-10)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("window", [(3, 2, 1), (3, 1, 1), (2, 2, 0), (3, 2, 0)])
def test_recorded_pooling_gives_the_same_numbers_and_winners(window, ceil_mode):
    # Small whole numbers tie often: winners must be the first in row-major order whichever way they are found. A window
    # of zeros has no winner.
    images = torch.randint(0, 3, (3, 20, 13, 11)).float()
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(*window, ceil_mode=ceil_mode)).eval()
    plain, places = F.max_pool2d(images, *window, ceil_mode=ceil_mode, return_indices=True)
    result = eb.explain(model, images, [torch.ones_like(plain)], layer="0")
    assert torch.equal(result.scores, eb.explain(model, images, [torch.ones_like(plain)], layer="input").scores)
    expected = torch.zeros(3, 20, 13 * 11).scatter_add_(2, places.flatten(2), (plain > 0).float().flatten(2))
    assert torch.equal(result["0"][:, 0], expected.reshape(images.shape).sum(1))


def test_pooling_that_returns_its_places():
    class Net(nn.Module):
        def forward(self, x):
            pooled, places = F.max_pool2d(torch.relu(x), 2, return_indices=True)
            assert not places.is_floating_point()
            return pooled.mean((2, 3))

    images = torch.randn(2, 4, 6, 6)
    assert torch.allclose(eb.explain(Net().eval(), images, [1], layer=":relu").maps.sum((2, 3)), torch.ones(2, 1))
