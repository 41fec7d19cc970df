"""A method that does not apply to a network says so from the first image: the batch never runs."""

from __future__ import annotations

import pytest
import torch
from method_networks import Counting, deep, pooled
from torch import nn

import excitation as eb
from excitation.methods import NotApplicableError, feedback_full, find_method, list_methods

NEEDING = {item.name: item.needs for item in list_methods() if item.needs != "any network"}


class Multiplied(nn.Module):
    """Multiplies neurons up, which no rule undoes."""

    def forward(self, x):
        return x.cumprod(1)


def unknown():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), Multiplied(), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
              nn.Flatten(), nn.Linear(6, 4)]  # fmt: skip
    return nn.Sequential(*layers).double().eval()


def smooth():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]
    return nn.Sequential(*layers).double().eval()


BREAKERS = {
    "a rule for every operation above the layer": (unknown, eb.UnsupportedOperationError, "cumprod"),
    "a rule for every operation": (unknown, eb.UnsupportedOperationError, "cumprod"),
    "rectified linear units": (smooth, NotApplicableError, "no rectified linear unit"),
    "one linear layer on globally averaged features, or scores at each position": (
        deep, NotApplicableError, "CAM does not apply",
    ),
}  # fmt: skip
NO_CONDITION = "scores of which zero means something"
"""Nothing in a network says what its scores mean."""

BY_IMAGE = {name: needs for name, needs in NEEDING.items() if not find_method(name).sweeps}
"""Methods that are one sweep find out in their only forward pass."""

CASES = [
    (name, part) for name, needs in BY_IMAGE.items() for part in needs.split("; ") if part != NO_CONDITION
]  # fmt: skip


def test_all_conditions_are_tried():
    assert {part for _, part in CASES} == set(BREAKERS)
    assert {name for name, _ in CASES} == set(BY_IMAGE)
    assert all((item.applies is None) == (item.name not in NEEDING) for item in list_methods())


@pytest.mark.parametrize(("name", "part"), CASES)
def test_refused_from_one_image(name, part, images):
    make, error, words = BREAKERS[part]
    for layer in (None, "inner.1"):
        model = Counting(make())
        with pytest.raises(error, match=words):
            find_method(name)(model, images, [0, 1], layer=layer)
        assert model.seen == [1], (layer, model.seen)
        with pytest.raises(error, match=words):
            eb.explain(model, images[:1], 0, method=name, layer=layer)
        assert max(model.seen) == 1


@pytest.mark.parametrize("name", BY_IMAGE)
def test_what_applies_runs_the_batch_after_one_image(name, images):
    """So the counts above would tell."""
    model = Counting(pooled())
    options = {"feedback": {"iterations": 1}, "sampled-winners": {"walks": 2}}.get(name, {})
    find_method(name)(model, images, [0], **options)
    assert model.seen[0] == 1
    assert len(images) in model.seen[1:]
    assert model.seen.count(1) == 1


def test_what_lies_below_the_layer_does_not_matter(images):
    model = unknown()
    for name in ("mwp", "r-mwp", "lrp"):
        with pytest.raises(eb.UnsupportedOperationError):
            find_method(name)(model, images, [0], layer="1")
        assert float(find_method(name)(model, images, [0], layer="4").abs().max()) > 0


def test_feedback_with_its_course_refuses_as_early(images):
    model = Counting(smooth())
    with pytest.raises(NotApplicableError, match="no rectified linear unit"):
        feedback_full(model, images, [0], iterations=1)
    assert model.seen == [1]


def test_cam_at_another_layer_is_refused_from_one_image(images):
    model = Counting(pooled())
    with pytest.raises(NotApplicableError, match="leave `layer` out"):
        find_method("cam")(model, images, [0], layer="inner.1")
    assert model.seen == [1]
