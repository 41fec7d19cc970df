"""The same function written differently has the same map."""

from __future__ import annotations

import pytest
import torch
from spellings import (
    CONVOLUTION,
    GATE,
    HEAD,
    MASKED,
    POINTWISE,
    POOLING,
    RECTIFIER,
    SCALING,
    SIGMOID,
    SMOOTH,
    SUM,
    Network,
)
from torch import nn

import excitation as eb

EVERY = {
    "convolution": CONVOLUTION, "pointwise": POINTWISE, "rectifier": RECTIFIER, "masked": MASKED, "gate": GATE,
    "head": HEAD, "sum": SUM, "sigmoid": SIGMOID, **SMOOTH, **POOLING, **SCALING,
}  # fmt: skip
SHAPES = {
    "convolution": [(6, 6, 3, 3), (6,)], "pointwise": [(6, 6), (6,)], "gate": [(6, 6)], "head": [(4, 6), (4,)],
    **{kind: [(6,), (6,)] for kind in SCALING},
}  # fmt: skip


def pictures():
    return torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


class One(nn.Module):
    """One operation between two others."""

    def __init__(self, kind, way):
        super().__init__()
        generator = torch.Generator().manual_seed(2)

        def weight(*shape):
            return nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64) / 2)

        self.below, self.above = weight(6, 3, 3, 3), weight(6, 6, 1, 1)
        self.own = nn.ParameterList([weight(*shape) for shape in SHAPES.get(kind, [])])
        self.top = weight(4, 6)
        self.kind, self.way = kind, way

    def forward(self, x):
        x = nn.functional.conv2d(x, self.below, padding=1)
        if self.kind not in {"rectifier", "masked", *SMOOTH}:
            x = x.relu()
        if self.kind == "head":
            return self.way(x, *self.own)
        if self.kind == "sum":
            x = self.way(x, nn.functional.conv2d(x, self.above), -x.roll(1, 3))
        else:
            x = self.way(x, *self.own)
        return nn.functional.conv2d(x, self.above).relu().mean((2, 3)) @ self.top.t()


CASES = [(kind, number) for kind, ways in EVERY.items() for number in range(1, len(ways))]


@pytest.mark.parametrize(("kind", "number"), CASES)
@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}])
def test_one_operation(kind, number, contrast):
    first, other = (One(kind, EVERY[kind][at]).double().eval() for at in (0, number))
    x = pictures()
    assert torch.allclose(first(x), other(x), atol=1e-12)
    a, b = (
        eb.explain(model, x, [0, 1, {2: 0.5, 3: 0.5}], layer="input", **contrast, signed=bool(contrast)).maps
        for model in (first, other)
    )
    assert float((a - b).abs().max()) < 1e-10 * float(a.abs().max())
    if not contrast:
        assert float(a.min()) >= 0


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed):
    """A network and two others that differ in the spelling of every operation."""
    x = pictures()
    first = Network(seed, None).eval()
    reference = eb.explain(first, x, [0, 3], layer="input").maps
    for spelling in (1000 + seed, 2000 + seed):
        other = Network(seed, spelling).eval()
        assert torch.allclose(first(x), other(x), atol=1e-10)
        found = eb.explain(other, x, [0, 3], layer="input").maps
        assert float((found - reference).abs().max()) < 1e-10 * max(1.0, float(reference.abs().max()))
