"""Where methods took their maps that no layer was named for; and what shares a forward pass with what."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from pointing_world import MAPPING, Colours, make_data, network, play
from torch import nn

from excitation.data import read_coco
from excitation.evaluation import NamedMethod, merge_results, pointing_table
from excitation.evaluation._method_runner import own_layers
from excitation.evaluation._results import format_unnamed_layers
from excitation.methods import NotApplicableError, find_method, list_methods
from excitation.models._loaded import LoadedModel, Preprocessing


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("world") / "coco")


class Tailed(Colours):
    """With a layer more, that has one position alone where pictures are square."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.tail = nn.Conv2d(3, 3, 6)

    def forward(self, images):
        return self.classify(self.tail(self.pool(self.conv(images).relu())).mean((2, 3)))


def tailed():
    return LoadedModel(Tailed().eval(), "tailed", Preprocessing(size=(48, 48)))


@pytest.mark.parametrize("name", [item.name for item in list_methods() if item.family != "control"])
def test_a_method_gives_at_the_named_layer_what_it_gives_by_itself(name):
    """So that a new method with another choice of its own is not told to be where it is not."""
    torch.manual_seed(1)
    images = torch.rand(1, 3, 48, 64)
    told = 0
    for model in (network(), dataclasses.replace(network(), default_layer=None), tailed()):
        few = (("samples", 4),) if "samples" in find_method(name).options else ()  # whose draws have seeds of their own
        method = NamedMethod(name, options=few)
        try:
            free = method(model, images, [1])
        except NotApplicableError:
            continue
        (place,) = own_layers(model, images, [1], {"it": method}).values()
        assert torch.allclose(method(model, images, [1], layer=place), free, rtol=1e-5, atol=1e-8), place
        told += 1
    assert told


def test_a_run_tells_where_its_maps_were_taken(tmp_path, world):
    methods = {"grad-cam": NamedMethod("grad-cam"), "gradient": NamedMethod("gradient"), "mwp": NamedMethod("mwp")}
    results = play(tmp_path / "run", world, methods=methods, layers={"mwp": (None, "conv")})
    assert results.own_layers == {
        ("grad-cam", "default", "pool"): 12, ("gradient", "default", "input"): 12, ("mwp", "default", "pool"): 12,
    }  # fmt: skip
    assert format_unnamed_layers(results) == "layers that were not named: grad-cam (pool), gradient (input), mwp (pool)"
    assert {row.layer for row in results.rows if row.method == "mwp"} == {"default", "conv"}
    shards = [tmp_path / "0", tmp_path / "1"]
    for index, shard in enumerate(shards):
        play(shard, world, methods=methods, layers={"mwp": (None, "conv")}, shard=(index, 2))
    assert merge_results(shards, tmp_path / "merged").own_layers == results.own_layers


def test_a_method_that_chooses_by_the_image_is_one_method(tmp_path, world):
    from excitation.evaluation import run_pointing

    out = tmp_path / "run"
    results = run_pointing(tailed(), read_coco(world), {"grad-cam": NamedMethod("grad-cam")}, out=out, mapping=MAPPING,
                           shortest=48)  # fmt: skip
    assert results.own_layers == {("grad-cam", "default", "pool"): 4, ("grad-cam", "default", "tail"): 8}
    assert format_unnamed_layers(results) == "layers that were not named: grad-cam (pool on 4 images, tail on 8 images)"
    table = pointing_table([results])
    assert [name for name, _ in table.rows] == ["grad-cam"]
    assert "grad-cam (pool on 4 images, tail on 8 images)" in " ".join(table.notes)


def counted(model):
    calls = []
    model.model.register_forward_pre_hook(lambda module, inputs: calls.append(1))
    return model, calls


def test_sweeps_at_different_layers_share_a_forward_pass_and_gradients_another(tmp_path, world, monkeypatch):
    import pointing_world

    model, calls = counted(network())
    monkeypatch.setattr(pointing_world, "network", lambda: model)
    methods = {name: NamedMethod(name) for name in ("mwp", "c-mwp", "r-mwp", "eb-without-norm", "eb-post-norm")}
    methods |= {"mwp (softmax)": NamedMethod("mwp", "softmax")}
    methods |= {name: NamedMethod(name) for name in ("gradient", "input-x-gradient", "grad-cam")}
    layers = {
        "mwp": ("conv",), "c-mwp": ("pool",), "r-mwp": ("pool", "conv"), "eb-without-norm": ("pool",),
        "eb-post-norm": ("conv",), "mwp (softmax)": ("pool",), "input-x-gradient": ("conv",), "grad-cam": ("pool",),
    }  # fmt: skip
    run = play(tmp_path / "run", world, methods=methods, layers=layers, limit=4)
    assert len(calls) == 4 * 2
    # No layer named: one pass more finds it, for all methods and both kinds.
    calls.clear()
    model.__dict__["default_layer"] = None
    free = dict.fromkeys(("mwp", "c-mwp", "grad-cam"), (None,))
    play(tmp_path / "free", world, methods={name: methods[name] for name in free}, layers=free, limit=4)
    assert len(calls) == 4 * 3
    monkeypatch.undo()
    for name, places in layers.items():
        alone = play(tmp_path / name, world, methods={name: methods[name]}, layers=places, limit=4).rows
        mine = [row for row in run.rows if row.method == name]
        assert [dataclasses.replace(row, seconds=None) for row in mine] == [
            dataclasses.replace(row, seconds=None) for row in alone
        ]
