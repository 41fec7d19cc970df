"""MWP is layer-wise relevance propagation alpha-1-beta-0 without biases: checked against zennit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import excitation as eb

pytest.importorskip("zennit", reason="zennit is not installed", exc_type=ImportError)
from zennit.attribution import Gradient
from zennit.composites import LayerMapComposite
from zennit.rules import AlphaBeta, Norm, Pass
from zennit.types import Activation, AvgPool, Convolution, Linear


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=2), nn.ReLU(), nn.AvgPool2d(3, 2, 1),
        nn.Conv2d(16, 24, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(24 * 4, 24), nn.ReLU(), nn.Linear(24, 6),
    ).double().eval()  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_mwp_is_bias_free_lrp_alpha_1_beta_0(seed):
    model = network(seed)
    images = torch.rand(2, 3, 20, 20, dtype=torch.float64)
    rule = AlphaBeta(alpha=1, beta=0, stabilizer=1e-30, zero_params=["bias"])
    composite = LayerMapComposite(
        [(Activation, Pass()), (AvgPool, Norm(stabilizer=1e-30)), (Convolution, rule), (Linear, rule)]
    )
    for target in range(6):
        with Gradient(model=model, composite=composite) as attributor:
            signal = torch.zeros(2, 6, dtype=torch.float64)
            signal[:, target] = 1
            _, relevance = attributor(images.clone(), signal)
        maps = eb.explain(model, images, [target], layer="input").maps
        assert torch.allclose(maps[:, 0], relevance.sum(1), atol=1e-10)
        assert float(maps.sum((2, 3)).min()) > 0
