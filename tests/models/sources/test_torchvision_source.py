"""`torchvision:NAME[@WEIGHTS]`: local files and the hub's cache, no download."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import excitation as eb
from excitation.models import ModelError, model_files
from excitation.models.sources import _requirements, _torchvision

models = pytest.importorskip("torchvision.models", reason="torchvision is not installed", exc_type=ImportError)

NAME = "squeezenet1_1"
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 140, 3), dtype=np.uint8))


@pytest.fixture
def trained():
    """Seven classes, every number different from those of a fresh network."""
    model = models.get_model(NAME, weights=None, num_classes=7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    return model.eval()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub's cache, which nothing may be downloaded into."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *_, **__: pytest.fail("a download was tried"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def same_weights(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("ending", ["safetensors", "pth", "wrapped.pth"])
def test_weights_from_a_file(trained, tmp_path, ending):
    path = tmp_path / f"w.{ending}"
    if ending == "safetensors":
        safetensors.torch.save_file(trained.state_dict(), path)
    else:
        state = trained.state_dict()
        wrapped = {"model": {f"module.{key}": item for key, item in state.items()}, "epoch": 3}
        torch.save(wrapped if ending.startswith("wrapped") else state, path)
    loaded = eb.load_model(f"torchvision:{NAME}@{path}")
    assert same_weights(loaded.model, trained)
    assert not loaded.model.training
    assert loaded.class_names is None  # seven classes are not ImageNet's
    assert loaded.classifier_layer == "classifier.1"
    assert model_files(f"torchvision:{NAME}@{path}") == [path]


def test_a_picture_from_end_to_end():
    loaded = eb.load_model(f"torchvision:{NAME}")
    assert loaded.class_names[:2] == ("tench", "goldfish")
    assert len(loaded.class_names) == 1000
    assert model_files(f"torchvision:{NAME}") == []
    account = eb.balance(loaded, loaded.preprocessing(PICTURE)[None], ["goldfish"], layer="input")
    assert float(account.arrived + account.lost) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("prefix", ["pool-first", "convolutional"])
def test_layers_keep_their_names_behind_a_prefix(prefix):
    loaded = eb.load_model(f"{prefix}:torchvision:{NAME}")
    assert loaded.classifier_layer == "model.classifier.1"
    assert isinstance(loaded.model.get_submodule(loaded.classifier_layer), torch.nn.Conv2d)


@pytest.mark.parametrize("name", ["squeezenet1_1", "efficientnet_b0", "swin_v2_t", "vit_b_16"])
def test_preprocessing_is_torchvisions(name):
    preset = models.get_model_weights(name).DEFAULT.transforms()
    ours = _torchvision._preprocessing(preset)(PICTURE)
    theirs = preset(PICTURE)
    assert ours.shape == theirs.shape
    # Theirs rounds the size after resizing as ours does, and divides by the deviation in the same order.
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("entry", ["IMAGENET1K_V1", "DEFAULT"])
def test_weights_by_name_come_through_torchvisions_cache(hub, entry):
    stored = models.get_model(NAME, weights=None).eval()
    file = models.get_model_weights(NAME)[entry].url.rpartition("/")[2]
    torch.save(stored.state_dict(), hub / file)
    spec = f"torchvision:{NAME}@{entry}"
    loaded = eb.load_model(spec)
    assert same_weights(loaded.model, stored)
    assert len(loaded.class_names) == 1000
    assert model_files(spec) == [hub / file]


class Harmful:
    """Unpickled, it would call whatever it names."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was run",)


def test_nothing_is_unpickled(hub, tmp_path, trained):
    state = {**trained.state_dict(), "extra": Harmful()}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="contain more than tensors"):
        eb.load_model(f"torchvision:{NAME}@{tmp_path / 'w.pth'}")
    torch.save(state, hub / models.get_model_weights(NAME).DEFAULT.url.rpartition("/")[2])
    with pytest.raises(ModelError, match="contain more than tensors"):
        eb.load_model(f"torchvision:{NAME}@DEFAULT")


def test_weights_that_do_not_fit(tmp_path, trained):
    state = trained.state_dict()
    first, *_ = state
    for change, words in [
        ({key: item for key, item in state.items() if key != first}, f"missing: {first}"),
        ({**state, "extra": torch.zeros(1)}, "unknown to it: extra"),
        ({**state, first: torch.zeros(2)}, f"of another shape: {first}"),
    ]:
        safetensors.torch.save_file(change, tmp_path / "w.safetensors")
        with pytest.raises(ModelError, match=f"do not fit the model: {words}"):
            eb.load_model(f"torchvision:{NAME}@{tmp_path / 'w.safetensors'}")
    for name, content, words in [
        ("empty.pth", b"", "not a whole file of torch.save"),
        ("noise.pth", bytes(range(256)), "more than tensors|not a whole file"),
        ("stack.pth", b"\x80\x02.", "more than tensors|not a whole file"),
        ("noise.safetensors", bytes(range(256)), "not a whole safetensors file"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=words):
            eb.load_model(f"torchvision:{NAME}@{tmp_path / name}")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="hold list; named tensors"):
        eb.load_model(f"torchvision:{NAME}@{tmp_path / 'list.pth'}")


def test_auxiliary_heads_are_made_where_the_file_has_them(tmp_path):
    for aux in (True, False):
        model = models.googlenet(weights=None, num_classes=5, aux_logits=aux, init_weights=False).eval()
        safetensors.torch.save_file(model.state_dict(), tmp_path / "w.safetensors")
        loaded = eb.load_model(f"torchvision:googlenet@{tmp_path / 'w.safetensors'}")
        assert same_weights(loaded.model, model)
        assert loaded.classifier_layer == "fc"


def test_old_densenets_are_read():
    with torch.device("meta"):
        names = list(models.densenet121(weights=None).state_dict())
    old = {name.replace("norm1", "norm.1").replace("conv2", "conv.2").replace("norm2", "norm.2")
           .replace("conv1", "conv.1"): torch.zeros(1) for name in names}  # fmt: skip
    assert set(_torchvision._renamed(old)) >= {name for name in names if "denselayer" in name}


def test_wrong_names():
    with pytest.raises(ModelError, match=r"no classifier 'resnet51'.*Nearest: .*resnet5?0?"):
        eb.load_model("torchvision:resnet51")
    with pytest.raises(ModelError, match="neither a file nor one of torchvision's: IMAGENET1K_V1, IMAGENET1K_V2"):
        eb.load_model("torchvision:resnet50@IMAGENET21K")
    with pytest.raises(ModelError, match=r"weights 'no\.pth' are neither a file"):
        eb.load_model("torchvision:resnet50@no.pth")


def test_operators_that_do_not_load_are_explained(monkeypatch):
    def import_module(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(_requirements.importlib, "import_module", import_module)
    with pytest.raises(ModelError, match=r"compiled operators do not load beside this build of torch.*same index"):
        eb.load_model(f"torchvision:{NAME}")


@pytest.mark.parametrize(
    ("spec", "module", "extra"),
    [
        ("torchvision:resnet18", "torchvision.models", "torchvision"),
        ("timm:resnet18", "timm", "timm"),
        ("hf:folder", "transformers", "hf"),
        (f"onnx:{__file__}", "onnx", "onnx"),
    ],
)
def test_a_missing_package_names_its_extra(monkeypatch, spec, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match=rf"{module} cannot be imported .*pip install 'excitation\[{extra}\]'"):
        eb.load_model(spec)


def test_forms_are_in_the_error():
    with pytest.raises(ModelError) as caught:
        eb.load_model("resnet50")
    for form in ("torchvision:NAME[@WEIGHTS]", "timm:NAME[@WEIGHTS]", "hf:REPO_OR_FOLDER", "onnx:FILE"):
        assert form in str(caught.value)
