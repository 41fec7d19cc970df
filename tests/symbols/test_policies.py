"""The evidence on policies: a network whose scales are turned negative is still the same function."""

from __future__ import annotations

import torch
from experiments.policies import turned
from torch import nn

import excitation as eb


def test_turned_scales_are_the_same_function_and_folding_does_not_see_them():
    model = eb.load_model("symbols:resnet").model.double()
    other = turned(model)
    images = torch.rand(1, 3, 96, 112, dtype=torch.float64) * 2 - 1
    assert torch.equal(other(images), model(images))
    scales = [norm.weight for norm in other.modules() if isinstance(norm, nn.BatchNorm2d)]
    assert all(0.4 < float((scale < 0).double().mean()) < 0.6 for scale in scales)
    maps = {
        (name, norm): eb.explain(net, images, [3], layer="layer2", policies=eb.Policies(batch_norm=norm)).maps
        for name, net in (("as trained", model), ("turned", other))
        for norm in ("fold", "copy")
    }
    torch.testing.assert_close(maps["turned", "fold"], maps["as trained", "fold"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(maps["as trained", "copy"], maps["as trained", "fold"], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(maps["turned", "copy"], maps["turned", "fold"], rtol=1e-2)
