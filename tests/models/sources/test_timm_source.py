"""`timm:NAME[@WEIGHTS]` on timm's own tiny test networks; no download."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import excitation as eb
from excitation.models import ModelError, model_files

timm = pytest.importorskip("timm", reason="timm is not installed", exc_type=ImportError)

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (190, 240, 3), dtype=np.uint8))


def test_weights_from_a_file(tmp_path):
    model = timm.create_model("test_resnet", num_classes=5).eval()
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    loaded = eb.load_model(f"timm:test_resnet@{path}")
    images = loaded.preprocessing(PICTURE)[None]
    with torch.no_grad():
        assert torch.equal(loaded.model(images), model(images))
    assert loaded.class_names is None
    assert loaded.classifier_layer == "fc"
    assert model_files(f"timm:test_resnet@{path}") == [path]
    account = eb.balance(loaded, images, [2], layer="input")
    assert float(account.arrived + account.lost) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "resnet10t", "convnext_atto"])
def test_preprocessing_is_timms(name):
    loaded = eb.load_model(f"timm:{name}")
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(loaded.model), is_training=False)
    torch.testing.assert_close(loaded.preprocessing(PICTURE), theirs(PICTURE), atol=1e-5, rtol=0)
    assert len(loaded.class_names) == 1000
    assert loaded.class_names[1].startswith("goldfish")
    assert isinstance(loaded.model.get_submodule(loaded.classifier_layer), torch.nn.Linear)
    assert model_files(f"timm:{name}") == []


@pytest.mark.parametrize("spec", ["timm:test_resnet", "torchvision:shufflenet_v2_x0_5"])
def test_random_weights_are_the_same_every_time(spec):
    before = torch.random.get_rng_state()
    one, other = (eb.load_model(spec).model.state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_pretrained_weights_are_asked_of_timm(monkeypatch):
    asked = {}
    create = timm.create_model

    def create_model(name, pretrained=False, **options):
        asked[name] = pretrained
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", create_model)
    eb.load_model("timm:test_resnet@pretrained")
    eb.load_model("timm:test_efficientnet")
    assert asked == {"test_resnet": True, "test_efficientnet": False}


def test_the_hubs_copy_is_among_the_files(monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    asked = []
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *names: asked.append(names))
    assert model_files("timm:test_resnet@pretrained") == []  # not fetched yet
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *names: "/".join(names))
    assert [str(path) for path in model_files("timm:test_resnet@pretrained")] == ["/".join(*asked)]
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]


def test_what_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"timm has no network 'resnet51'.*Nearest: .*resnet50"):
        eb.load_model("timm:resnet51")
    with pytest.raises(ModelError, match="no such file"):
        eb.load_model(f"timm:test_resnet@{tmp_path / 'no.pth'}")
    model = timm.create_model("test_vit", num_classes=5)
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    with pytest.raises(ModelError, match="do not fit the model"):
        eb.load_model(f"timm:test_resnet@{tmp_path / 'vit.pth'}")
    loaded = eb.load_model(f"timm:test_vit@{tmp_path / 'vit.pth'}")
    account = eb.balance(loaded, loaded.preprocessing(PICTURE)[None], [0], layer="input")
    assert float(account.arrived + account.lost) == pytest.approx(1, abs=1e-5)
    (token,) = [row for row in account.rows if row.address == ":cat"]
    assert float(token.lost) == pytest.approx(float(account.lost), abs=1e-3)  # the class token's own numbers
