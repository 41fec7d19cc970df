"""Which layers are randomised, in which order, to what, and that the user's network stays as it is."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from sanity_networks import branching, pooled
from torch import nn

from excitation import ExcitationError
from excitation.evaluation.sanity import cascade, list_stages, randomise

IMAGES = torch.rand(1, 3, 9, 9)


def test_stages_follow_the_forward_pass_not_the_declaration():
    stages = list_stages(branching(), IMAGES)
    assert [stage.weighted for stage in stages] == [
        ("top",), ("right", "left"), ("block.second", "block.first"), ("stem",),
    ]  # fmt: skip
    assert [stage.scaling for stage in stages] == [(), (), ("block.norm",), ()]
    assert [stage.name for stage in stages] == ["top", "right", "block", "stem"]
    assert stages[0].below.endswith("mean")
    assert stages[-1].below == "input"


def test_a_module_called_twice_belongs_to_its_highest_stage():
    model = nn.Sequential(shared := nn.Conv2d(3, 3, 1), nn.ReLU(), shared, nn.Flatten(), nn.Linear(243, 2)).eval()
    assert [stage.weighted for stage in list_stages(model, IMAGES)] == [("4",), ("0",)]


def test_weights_that_are_no_parameter_are_refused():
    class Computed(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(2, 3, 1, 1))

        def forward(self, images):
            return F.conv2d(images, self.weight * 2).mean((2, 3))

    with pytest.raises(ExcitationError, match="no parameter of a module"):
        list_stages(Computed().eval(), IMAGES)


def test_a_network_without_weights_has_nothing_to_randomise():
    with pytest.raises(ExcitationError, match="no weighted layer"):
        list_stages(nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), IMAGES)


def test_random_weights_have_hes_deviation_and_normalisations_pass_on():
    model = branching()
    model.block["first"] = nn.Conv2d(6, 600, 5, padding=2)
    model.block["norm"] = nn.BatchNorm2d(600)
    model.block["second"] = nn.Conv2d(600, 6, 1)
    nn.init.constant_(model.block["norm"].weight, 3)
    before = copy.deepcopy(model.state_dict())
    stage = list_stages(model.eval(), IMAGES)[2]
    randomise(model, stage, torch.Generator().manual_seed(1))
    first = model.block["first"]
    assert float(first.weight.detach().std()) == pytest.approx(math.sqrt(2 / (6 * 25)), rel=0.02)
    assert abs(float(first.weight.detach().mean())) < 4 * math.sqrt(2 / 150 / first.weight.numel())
    assert bool((first.bias == 0).all())
    x = torch.randn(2, 600, 3, 3)
    assert torch.allclose(model.block["norm"](x), x / math.sqrt(1 + model.block["norm"].eps))
    touched = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert touched == {
        *(f"block.first.{key}" for key in ("weight", "bias")), *(f"block.second.{key}" for key in ("weight", "bias")),
        "block.norm.weight",
    }  # fmt: skip


def test_the_cascade_goes_down_on_a_copy_and_is_seeded():
    loaded = pooled()
    before = copy.deepcopy(loaded.model.state_dict())
    stages = list_stages(loaded.model, IMAGES)
    names = [f"{stage.weighted[0]}.weight" for stage in stages]
    assert names == ["7.weight", "3.weight", "0.weight"]

    def weights(seed, index):
        return [copy.deepcopy(model.model.state_dict()) for _, model in cascade(loaded, stages, seed, index)]

    steps = weights(0, 0)
    for count, state in enumerate(steps):
        changed = [not torch.equal(state[name], before[name]) for name in names]
        assert changed == [k < count for k in range(3)]
    assert all(torch.equal(a[name], b[name]) for a, b in zip(steps, weights(0, 0), strict=True) for name in names)
    alone = [copy.deepcopy(model.model.state_dict()) for _, model in cascade(loaded, stages, 0, 0, "independent")]
    for count, state in enumerate(alone):
        for k, name in enumerate(names, 1):
            expected = steps[-1] if k == count else before
            assert torch.equal(state[name], expected[name])
    for other in (weights(1, 0), weights(0, 1)):
        assert not any(torch.equal(steps[-1][name], other[-1][name]) for name in names)
    assert all(torch.equal(before[name], tensor) for name, tensor in loaded.model.state_dict().items())
