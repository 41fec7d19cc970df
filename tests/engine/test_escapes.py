"""Information that leaves the activations and comes back is refused; nothing runs on other numbers than the model's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import excitation as eb
from engine.test_recording import net


@pytest.fixture
def images():
    return torch.rand(2, 3, 8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


MASKS = {
    "mask added": lambda x: x + (x.roll(1, 1) > 0.1),
    "mask as numbers": lambda x: x + (x.roll(1, 1) > 0.1) * 1.0,
    "winner's place": lambda x: x + x.argmax(1, keepdim=True) * 0.1,
    "place beside its maximum": lambda x: x + x.max(1, keepdim=True).indices * 0.1,
    "rounded": lambda x: x + (x * 10).int() / 10,
    "joined": lambda x: torch.cat([x[:, :3], x[:, 3:] > 0.1], 1),
    "counted": lambda x: x + (x > 0.1).sum(1, keepdim=True, dtype=x.dtype),
    "one hot": lambda x: x + F.one_hot(x.argmax(1), 6).permute(0, 3, 1, 2),
}
COPIES = {
    "full_like": lambda x: x + torch.full_like(x, x.mean()),
    "new_full": lambda x: x + x.new_full(x.shape, x.mean()),
}
LIMITS = {
    "clamp": lambda x: torch.clamp(x, max=x.flip(1)),
    "clamp_max": lambda x: torch.clamp_max(x, x.flip(1)),
}


def assert_refused(function, images, match, **options):
    model = net(lambda self, x: function(F.relu(self.conv2(x))))
    with pytest.raises(eb.UnsupportedOperationError, match=match):
        eb.explain(model, images, [0], layer="relu", **options)


@pytest.mark.parametrize("method", ["mwp", "lrp"])
@pytest.mark.parametrize("case", MASKS)
def test_masks_and_whole_numbers_that_become_activations(case, method, images):
    assert_refused(MASKS[case], images, "computes integers or a mask", method=method)


@pytest.mark.parametrize("case", COPIES)
def test_numbers_copied_into_a_new_tensor(case, images):
    assert_refused(COPIES[case], images, "computes activations from activations and has no rule")


@pytest.mark.parametrize("case", LIMITS)
def test_limits_that_are_activations(case, images):
    assert_refused(LIMITS[case], images, "limits given as tensors")


def copied(x):
    room = torch.zeros_like(x)
    room[:, :3].copy_(x[:, :3])
    return room + x


def added(x):
    room = torch.zeros_like(x)
    part = room.narrow(1, 0, 3)
    part += x[:, :3]
    return room + x


def constant(x):
    room = torch.zeros_like(x)
    room.view(-1)[5:100].fill_(3.0)
    return x + room


WRITTEN_OUT = {
    copied: lambda x: torch.cat([x[:, :3], torch.zeros_like(x[:, 3:])], 1) + x,
    added: lambda x: torch.cat([x[:, :3], torch.zeros_like(x[:, 3:])], 1) + x,
    constant: lambda x: x + torch.zeros_like(x).flatten().index_fill(0, torch.arange(5, 100), 3.0).view_as(x),
}


@pytest.mark.parametrize("like", [lambda c, x: c.expand_as(x), lambda c, x: c.view_as(x[:1]), lambda c, x: c.to(x)])
def test_a_constant_of_an_activations_shape_or_type_is_one(like, images):
    """It carries nothing: the sum is a shift, and no branch."""
    c = torch.rand(1, 6, 8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    models = [net(lambda self, x, f=f: f(self.c, F.relu(self.conv2(x))) + x) for f in (like, lambda c, x: c)]
    for model in models:
        model.register_buffer("c", c)
    maps = [eb.explain(model, images, [0], layer="relu").maps for model in models]
    assert torch.allclose(*maps, atol=1e-12)


@pytest.mark.parametrize("function", WRITTEN_OUT)
def test_a_view_changed_in_place_does_not_leave_its_base_behind(function, images):
    """The recorded network would otherwise run on, with the base as it was: another network's scores and maps."""
    models = [net(lambda self, x, f=f: f(F.relu(self.conv2(x)))) for f in (function, WRITTEN_OUT[function])]
    assert torch.equal(models[0](images), models[1](images))
    found = [eb.explain(model, images, [0], layer="relu") for model in models]
    assert torch.allclose(found[0]["relu"], found[1]["relu"], atol=1e-12)
    assert torch.equal(found[0].scores, found[1].scores)


@pytest.mark.parametrize("function", [torch.log, F.logsigmoid, lambda x: F.log_softmax(x, 1)])
def test_logarithms_of_non_negative_neurons_have_both_signs(function, images):
    model = net(lambda self, x: F.relu(self.conv2(function(x + 0.01))))
    found = eb.explain(model, images, [0], layer="relu")
    lost = sum(row.lost for row in found.balance.rows)
    assert float(found["relu"].min()) >= 0
    assert float(found.share["relu"].min()) > 0.5
    assert torch.allclose(found.share["relu"] + lost, torch.ones(2, 1, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("clamp", [lambda x: x.clamp(min=-5), lambda x: F.hardtanh(x, -5, 50), torch.nn.Identity()])
def test_a_limit_below_what_a_neuron_reaches_is_none(clamp, images):
    """Eq. 5 counts from the smallest activation, not from a limit further down."""
    plain = net(lambda self, x: F.relu(self.conv2(x)))
    clamped = net(lambda self, x: F.relu(self.conv2(clamp(x))))
    maps = [eb.explain(model, images, [1], layer="conv1").maps for model in (plain, clamped)]
    assert torch.allclose(*maps, rtol=1e-12)


def test_statistics_of_the_images_are_no_scale(images):
    def normalised(x):
        return F.batch_norm(x, x.mean((0, 2, 3)), x.var((0, 2, 3)))

    assert_refused(normalised, images, "statistics are computed from the images")
