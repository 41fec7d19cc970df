"""The weight cache: after every way to change a weight, maps are right."""

from __future__ import annotations

import gc
import threading

import pytest
import torch
from torch import nn

import excitation as eb
from excitation.engine.rules import _weight_cache
from excitation.engine.rules._weight_cache import half, release_weights


@pytest.fixture(autouse=True)
def _nothing_kept():
    release_weights()
    yield
    release_weights()


def network():
    return nn.Sequential(
        nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(256, 200),
    ).eval()  # fmt: skip


def maps(model, images):
    return eb.explain(model, images, [1, 7], layer="1").maps


def step(model):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    model(torch.rand(4, 3, 6, 6)).square().sum().backward()
    optimiser.step()


def load(model):
    model.load_state_dict({name: -entry for name, entry in model.state_dict().items()})


def write_data(model):
    model[2].weight.data.neg_()
    model[6].weight.data.mul_(-1)


def write_one_number(model):
    model[6].weight.data[1, 17] = 5.0


def exchange_columns(model):
    model[6].weight.data.copy_(model[6].weight.data.flip(1).clone())


def write_numpy(model):
    model[6].weight.detach().numpy()[:] *= -1


def in_inference_mode(model):
    with torch.inference_mode():
        model[6].weight.neg_()


def new_data(model):
    model[6].weight.data = -model[6].weight.data


def new_parameter(model):
    model[6].weight = nn.Parameter(-model[6].weight.detach())


CHANGES = [
    step, load, write_data, write_one_number, exchange_columns, write_numpy, in_inference_mode, new_data, new_parameter,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_weight_is_seen(change):
    model, images = network(), torch.rand(2, 3, 6, 6)
    before = maps(model, images)
    assert release_weights() > 0, "the test is about weights whose halves are kept"
    maps(model, images)
    change(model)
    after = maps(model, images)
    release_weights()
    assert torch.equal(after, maps(model, images))
    assert not torch.allclose(after, before)


def test_halves_are_kept_and_shared_between_calls():
    weight = torch.randn(300, 200)
    assert half(weight, 1, torch.float32) is half(weight, 1, torch.float32)
    assert torch.equal(half(weight, 1, torch.float32) - half(weight, -1, torch.float32), weight)


def test_channels_last_weights_keep_their_halves():
    weight = torch.randn(64, 64, 3, 3).contiguous(memory_format=torch.channels_last)
    made = half(weight, 1, torch.float32)
    assert made is half(weight, 1, torch.float32)
    assert torch.equal(made, weight.clamp(min=0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_precisions_are_halved_anew(dtype):
    weight = torch.randn(300, 200).to(dtype)
    first = half(weight, 1, torch.float32)
    weight.neg_()
    assert torch.equal(half(weight, 1, torch.float32), weight.float().clamp(min=0))
    assert not torch.equal(first, half(weight, 1, torch.float32))


def test_halves_go_with_their_network():
    model = network()
    maps(model, torch.rand(1, 3, 6, 6))
    assert _weight_cache._kept
    del model
    gc.collect()
    assert not _weight_cache._kept


def test_threads_share_halves_and_agree():
    model, images = network(), torch.rand(2, 3, 6, 6)
    expected = maps(model, images)
    release_weights()
    found: list[torch.Tensor] = []
    threads = [threading.Thread(target=lambda: found.append(maps(model, images))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(item, expected) for item in found)


class Grouped(nn.Module):
    """One weight in two convolutions, whose groups differ."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(256, 256, 1, 1))
        self.conv, self.head = nn.Conv2d(3, 512, 1), nn.Linear(256, 8)

    def forward(self, x):
        x = nn.functional.conv2d(self.conv(x).relu(), self.weight, groups=2).relu()
        return self.head(nn.functional.conv2d(x, self.weight).relu().mean((2, 3)))


def test_a_weight_shared_by_different_groups_is_laid_out_for_each(monkeypatch):
    torch.manual_seed(0)
    model, images = Grouped().eval(), torch.rand(1, 3, 3, 3)
    found = eb.explain(model, images, [1], layer="conv").maps
    monkeypatch.setattr(_weight_cache, "SMALLEST", 1 << 40)
    assert torch.allclose(found, eb.explain(model, images, [1], layer="conv").maps, rtol=1e-5)
