"""Models by their specs, and pictures to their inputs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from tests.conftest import document

from excitation.models._catalogue import SCHEMES, Scheme, load_model, model_files, register_scheme
from excitation.models._loaded import LoadedModel, ModelError, Preprocessing


@pytest.fixture
def weights(tmp_path, toys):
    model = toys.bare()
    torch.nn.init.constant_(model.classify.bias, 3.0)
    safetensors.torch.save_model(model, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_weights_are_loaded(weights):
    spec = f"toy_models:named@{weights}"
    loaded = load_model(spec)
    assert isinstance(loaded, LoadedModel)
    assert loaded.spec == spec
    assert loaded.default_layer == "pool"
    assert not loaded.model.training
    assert loaded.model.classify.bias.tolist() == [3, 3, 3]
    assert model_files(spec) == [weights]


def test_a_bare_module_gets_defaults():
    loaded = load_model("python:toy_models:bare")
    assert loaded.spec == "python:toy_models:bare"
    assert loaded.class_names is None
    assert loaded.preprocessing == Preprocessing()
    assert model_files("toy_models:bare") == []


def test_weights_must_fit(weights):
    state = safetensors.torch.load_file(weights)
    for change, word in [
        ({**state, "extra": torch.zeros(1)}, "extra"),
        ({name: value for name, value in state.items() if name != "conv.weight"}, "conv.weight"),
        ({**state, "conv.weight": torch.zeros(3, 3, 5, 5)}, "conv.weight"),
    ]:
        safetensors.torch.save_file(change, weights)
        with pytest.raises(ModelError, match="do not fit the model: ") as caught:
            load_model(f"toy_models:bare@{weights}")
        assert word in str(caught.value)
    weights.write_bytes(b"pickle?")
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_model(f"toy_models:bare@{weights}")


def test_other_schemes(monkeypatch, toys):
    monkeypatch.setattr("excitation.models._catalogue.SCHEMES", dict(SCHEMES))
    register_scheme("paint", Scheme(lambda rest: LoadedModel(toys.bare(), rest), "paint:COLOUR", lambda rest: []))
    assert load_model("paint:red").spec == "paint:red"
    assert load_model("paint").spec == "paint"
    with pytest.raises(ValueError, match="'paint' is already registered, for paint:COLOUR"):
        register_scheme("paint", SCHEMES["python"])
    with pytest.raises(ModelError, match="paint:COLOUR"):
        load_model("neither")


def test_the_page_of_models_has_every_form():
    page = document("models.md").read_text()
    for name, scheme in SCHEMES.items():
        form = scheme.form.replace("@weights.safetensors", "@FILE")
        assert f"| `{form}` |" in page, name


PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("options", "size", "shape"),
    [
        ({"resize": "shortest", "size": (32, 32)}, (90, 60), (32, 48)),
        ({"resize": "shortest", "size": (32, 48)}, (60, 90), (48, 32)),
        ({"resize": "shortest", "size": (227, 227)}, (500, 333), (227, 340)),
        ({"resize": "squash", "size": (20, 30)}, (90, 60), (20, 30)),
        ({"resize": "crop", "size": (20, 30), "resize_to": 40}, (90, 60), (20, 30)),
        ({"resize": "crop", "size": (32, 32)}, (60, 90), (32, 32)),
    ],
)
def test_sizes(options, size, shape):
    values = Preprocessing(**options)(PICTURE.resize(size))
    assert values.shape == (3, *shape)
    assert values.dtype == torch.float32
    assert values.is_contiguous()


def test_values_and_channels():
    picture = Image.new("RGB", (8, 8), (255, 102, 0))
    plain = Preprocessing(size=(8, 8), mean=(0.5, 0.4, 0.25), std=(0.5, 1.0, 0.25))(picture)
    torch.testing.assert_close(plain[:, 0, 0], torch.tensor([1.0, 0.0, -1.0]))
    caffe = Preprocessing(size=(8, 8), scale=1.0, channels="BGR", mean=(104.0, 117.0, 123.0))(picture)
    torch.testing.assert_close(caffe[:, 0, 0], torch.tensor([-104.0, -15.0, 132.0]))


def test_as_torchvision_does():
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    theirs = transforms.Compose(
        [
            transforms.Resize(40),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    ours = Preprocessing(
        size=(32, 32), resize="crop", resize_to=40, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    for size in [(90, 60), (61, 97), (50, 50), (40, 40)]:
        picture = PICTURE.resize(size)
        torch.testing.assert_close(ours(picture), theirs(picture))


def test_field_of_view():
    crop = Preprocessing(size=(20, 20), resize="crop", resize_to=30)
    assert crop.field_of_view((60, 90)) == (24.0, 10.0, 64.0, 50.0)
    # The box in the picture, resized, is the input.
    left = PICTURE.resize((20, 20), Image.Resampling.BILINEAR, box=crop.field_of_view((60, 90)))
    input_ = crop(PICTURE).permute(1, 2, 0).numpy() * 255
    assert np.abs(np.asarray(left) - input_).max() <= 2
    for resize in ("shortest", "squash"):
        assert Preprocessing(resize=resize).field_of_view((60, 90)) == (0.0, 0.0, 90.0, 60.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 5)}, "size is"),
        ({"mean": (0.5,)}, "three values"),
        ({"std": (1.0, 0.0, 1.0)}, "positive"),
        ({"resize": "crop", "size": (64, 64), "resize_to": 32}, "smaller than the crop"),
    ],
)
def test_senseless_preprocessing(options, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**options)


def test_pictures_that_do_not_suit():
    with pytest.raises(ValueError, match="mode is 'L'"):
        Preprocessing()(PICTURE.convert("L"))
    thin = Image.new("RGB", (10, 161))
    with pytest.raises(ValueError, match="10 x 161 pixels, more than 16 times as long as wide"):
        Preprocessing()(thin)
    assert dataclasses.replace(Preprocessing(), resize="squash")(thin).shape == (3, 224, 224)
