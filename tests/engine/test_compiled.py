"""Networks compiled by `torch.compile`, whole or in part: recorded as they were written, and compiled again after."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

import excitation as eb
from excitation.engine import _eager

# PyTorch's own report_line on any hook of all modules, such as the recording's, beside a compiled one.
pytestmark = pytest.mark.filterwarnings("ignore:Using `torch.compile:UserWarning")


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU()), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 4),
    ).eval()  # fmt: skip


class Counted:
    """A compiler that compiles nothing, but counts the calls of what it was given."""

    def __init__(self):
        self.calls = 0

    def __call__(self, graph, _):
        def run(*args):
            self.calls += 1
            return graph.forward(*args)

        return run


@pytest.fixture(autouse=True)
def _forget():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def whole(model, compiler):
    return torch.compile(model, backend=compiler), model[1]


def in_part(model, compiler):
    model[2] = torch.compile(model[2], backend=compiler)
    return model, "1"


@pytest.mark.parametrize("kind", [whole, in_part])
def test_maps_are_those_of_the_network_as_written(kind):
    images, compiler = torch.rand(2, 3, 9, 9), Counted()
    expected = eb.explain(network(), images, [1, 2], layer="1", method="c-mwp").maps
    model, layer = kind(network(), compiler)
    with torch.no_grad():
        scores = model(images)
    assert compiler.calls == 1
    assert torch.equal(eb.explain(model, images, [1, 2], layer=layer, method="c-mwp").maps, expected)
    assert compiler.calls == 1
    with torch.no_grad():
        assert torch.equal(model(images), scores)
    assert compiler.calls == 2, "after the recording the network runs compiled again"


def test_the_last_of_several_recordings_turns_the_switch_back():
    model, images, compiler = network(), torch.rand(1, 3, 9, 9), Counted()
    compiled = torch.compile(model, backend=compiler)
    with torch.no_grad():
        compiled(images)
    first, second = _eager.uncompiled(), _eager.uncompiled()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with torch.no_grad():
        compiled(images)
    assert compiler.calls == 1
    second.__exit__(None, None, None)
    with torch.no_grad():
        compiled(images)
    assert compiler.calls == 2


def test_threads_that_explain_one_compiled_network():
    model, images = network(), torch.rand(1, 3, 9, 9)
    expected = eb.explain(model, images, [1], layer="1").maps
    compiled = torch.compile(model, backend=Counted())
    found: list[torch.Tensor] = []
    threads = [
        threading.Thread(target=lambda: found.append(eb.explain(compiled, images, [1], layer=model[1]).maps))
        for _ in "1234"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(item, expected) for item in found)
    assert _eager._stance is None
