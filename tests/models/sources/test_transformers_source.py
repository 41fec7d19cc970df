"""`hf:REPO_OR_FOLDER` on tiny networks saved into a folder; no download."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import excitation as eb
from excitation.models import ModelError, model_files
from excitation.models.sources._transformers import preprocessing_from

transformers = pytest.importorskip("transformers", reason="transformers is not installed", exc_type=ImportError)

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 140, 3), dtype=np.uint8))
NORMAL = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25], "resample": 3}
PREPROCESSING = {
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, **NORMAL},
    "convnext": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 64}, "crop_pct": 0.875,
                 **NORMAL},
    "large convnext": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384},
                       "crop_pct": 0.9, **NORMAL},
    "mobilenet": {"image_processor_type": "MobileNetV2ImageProcessor", "size": {"shortest_edge": 40},
                  "do_center_crop": True, "crop_size": {"height": 32, "width": 32}, **NORMAL, "resample": 2},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Three kinds of animals, saved as Transformers saves them."""
    names = {0: "cat", 1: "dog", 2: "hen"}
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3, id2label=names
    )
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING["convnext"]))
    return tmp_path


def test_a_folder(folder):
    loaded = eb.load_model(f"hf:{folder}")
    assert loaded.class_names == ("cat", "dog", "hen")
    assert loaded.classifier_layer == "classifier.1"
    theirs = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    images = loaded.preprocessing(PICTURE)[None]
    with torch.no_grad():
        expected = theirs(images).logits
    result = eb.explain(loaded, images, ["dog", "hen"], layer="input")
    torch.testing.assert_close(result.scores, expected[:, 1:])
    lost = sum(row.lost for row in result.balance.rows)
    assert torch.allclose(result.share["input"] + lost, torch.ones(1, 2, dtype=torch.float64), atol=1e-5)
    names = {path.name for path in model_files(f"hf:{folder}")}
    assert names == {"config.json", "preprocessor_config.json", "model.safetensors"}


@pytest.mark.parametrize("kind", PREPROCESSING)
def test_preprocessing_is_transformers(kind, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING[kind]))
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    theirs = processor(PICTURE, return_tensors="pt").pixel_values[0]
    ours = preprocessing_from({**PREPROCESSING[kind]})(PICTURE)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_numbered_labels_are_no_names(folder):
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(index): f"LABEL_{index}" for index in range(3)}
    (folder / "config.json").write_text(json.dumps(config))
    assert eb.load_model(f"hf:{folder}").class_names is None


def test_pickles_are_not_read(folder):
    model = transformers.AutoModelForImageClassification.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"cannot load .* as an image classifier: .*safetensors"):
        eb.load_model(f"hf:{folder}")


def test_what_is_missing(folder, tmp_path_factory):
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"no preprocessor_config\.json"):
        eb.load_model(f"hf:{folder}")
    with pytest.raises(ModelError, match="as an image classifier"):
        eb.load_model(f"hf:{tmp_path_factory.mktemp('empty')}")
    with pytest.raises(ModelError, match="does not name a repository or folder"):
        eb.load_model("hf:")


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("operator torchvision::nms does not exist", "compiled operators do not load beside this build of torch"),
        ("no module named 'extra_kernels'", r"transformers cannot be imported .*'excitation\[hf\]'"),
    ],
)
def test_architectures_that_cannot_be_imported_are_explained(folder, monkeypatch, cause, words):
    """Transformers imports an architecture when it is asked for it, and wraps what goes wrong."""

    def from_pretrained(*_, **__):
        raise ModuleNotFoundError("Could not import module 'ResNetForImageClassification'.") from RuntimeError(cause)

    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_pretrained", from_pretrained)
    with pytest.raises(ModelError, match=words):
        eb.load_model(f"hf:{folder}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resample": 0}, "filter 0 is not supported"),
        ({"do_center_crop": True, "crop_size": 16}, r"squashes to \(32, 32\) and then cuts out \(16, 16\)"),
    ],
)
def test_preprocessing_that_is_not_ours(change, words):
    with pytest.raises(ModelError, match=words):
        preprocessing_from({**PREPROCESSING["vit"], **change})
