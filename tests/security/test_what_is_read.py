"""Files from elsewhere are read as data: a test for each way in (docs/security.md). ONNX and Caffe have their own."""

from __future__ import annotations

import json
import os
import pickle
import socket
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

import excitation as eb
from excitation.cli import _results
from excitation.cli._results import ResultError, read_configuration
from excitation.data import read_coco, read_voc
from excitation.models import ModelError
from excitation.models._trained import KIND
from excitation.models.caffe import load_caffe
from excitation.models.sources import fit_weights, read_weights


class Runs:
    """Unpickling one makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


# Trained networks ---------------------------------------------------------------------------------------------------


def trained(folder, **said):
    usual = {"kind": KIND, "model": "symbols", "classes": '["a"]', "preprocessing": "{}", "classifier_layer": "fc"}
    safetensors.torch.save_file({"fc.weight": torch.zeros(1, 4)}, folder / "t.safetensors", usual | said)
    return f"trained:{folder}/t.safetensors"


@pytest.mark.parametrize("around", ["", "pool-first:", "convolutional:pool-first:"])
def test_a_trained_file_cannot_name_code_or_a_download(tmp_path, monkeypatch, around):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("asks the network"))
    for model, risk in (("os:getcwd", "code would be run"), ("hf:someone/else", "would be downloaded")):
        with pytest.raises(ModelError, match=f"{risk}; if you trust it, give it yourself"):
            eb.load_model(trained(tmp_path, model=around + model))


def test_a_trained_file_cannot_write_to_the_terminal(tmp_path):
    with pytest.raises(ModelError) as caught:
        eb.load_model(trained(tmp_path, model="os:\n\x1b[31m" + "x" * 10_000))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("content", ["[" * 100_000, "[1]", "7", '{"resize": "x"}', "{"])
def test_damaged_metadata_are_a_sentence(tmp_path, content):
    for name in ("classes", "preprocessing"):
        with pytest.raises(ModelError, match="the metadata of the file is damaged"):
            eb.load_model(trained(tmp_path, **{name: content}))


# Weights ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_in_a_file_of_weights_does_not_run(tmp_path, old):
    torch.save({"weight": torch.zeros(2), "x": Runs(tmp_path / "ran")}, tmp_path / "w.pth",
               _use_new_zipfile_serialization=not old)  # fmt: skip
    with pytest.raises(ModelError, match="contain more than tensors"):
        read_weights(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


def test_a_plain_pickle_is_no_file_of_weights(tmp_path):
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Runs(tmp_path / "ran"), protocol=2))
    with pytest.raises(ModelError):
        read_weights(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


def test_packed_records_are_refused(tmp_path):
    """A megabyte of zeros takes a kilobyte; a file could unpack to a thousand times its size."""
    torch.save({"weight": torch.zeros(1 << 18)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as whole,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for record in whole.namelist():
            packed.writestr(record, whole.read(record))
    assert (tmp_path / "packed.pth").stat().st_size < 5000
    with pytest.raises(ModelError, match="its records are compressed"):
        read_weights(tmp_path / "packed.pth")
    assert read_weights(tmp_path / "w.pth")["weight"].numel() == 1 << 18


@pytest.mark.parametrize(
    "tensor", [torch.zeros(1).expand(10**12, 4), torch.sparse_coo_tensor(size=(10**9, 4), check_invariants=True)]
)
def test_a_tensor_that_stores_less_than_it_has_is_refused(tmp_path, tensor):
    """Its first axis would become the number of classes of a network."""
    torch.save({"fc.weight": tensor}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"'fc.weight' has .* numbers and stores fewer"):
        read_weights(tmp_path / "w.pth")


def test_tensors_that_share_storage_are_whole(tmp_path):
    both = torch.arange(6.0)
    torch.save({"a": both[:3], "b": both.view(2, 3).t()}, tmp_path / "w.pth")
    state = read_weights(tmp_path / "w.pth")
    assert state["b"].shape == (3, 2)
    with pytest.raises(ModelError, match="do not fit"):
        fit_weights(torch.nn.Linear(2, 2), state, tmp_path / "w.pth")


# Hugging Face -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed", exc_type=ImportError)
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=16, patch_size=8
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    prepared = {"size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(prepared))
    return tmp_path


def changed(folder, **entries):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_code_in_a_repository_does_not_run(folder):
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    changed(folder, model_type="evil", auto_map={"AutoConfig": "evil.Config",
                                                 "AutoModelForImageClassification": "evil.Model"})  # fmt: skip
    with pytest.raises(ModelError):
        eb.load_model(f"hf:{folder}")
    assert not (folder / "ran").exists()


def test_a_configuration_cannot_name_compiled_attention(folder):
    changed(folder, attn_implementation="somebody/kernel")
    assert eb.load_model(f"hf:{folder}").model.config._attn_implementation == "eager"


def test_pickled_weights_of_a_repository_are_not_read(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Runs(folder / "ran")))
    with pytest.raises(ModelError):
        eb.load_model(f"hf:{folder}")
    assert not (folder / "ran").exists()


# Caffe --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "layer", "match"),
    [
        ((3, 9000, 9000), "", "at most 33554432 numbers an image"),
        ((1, 1, 100), "inner_product_param { num_output: 2500000 }", "asks for 252500000 parameters"),
    ],
)
def test_a_prototxt_that_asks_for_gigabytes_is_refused_before_they_are_taken(tmp_path, size, layer, match, monkeypatch):
    taken = []
    for name in ("randn", "full"):
        real = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *a, real=real, **k: (taken.append(a), real(*a, **k))[1])
    text = f'input: "data" input_shape {{ dim: 1 dim: {size[0]} dim: {size[1]} dim: {size[2]} }}\n'
    kind = "InnerProduct" if layer else "ReLU"
    text += f'layer {{ name: "a" type: "{kind}" bottom: "data" top: "a" {layer} }}'
    (tmp_path / "net.prototxt").write_text(text)
    with pytest.raises(ModelError, match=match):
        load_caffe(tmp_path / "net.prototxt")
    assert not taken


# Data sets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../secret", "/etc/hostname", "a\0b"])
def test_an_image_list_cannot_lead_out_of_the_data_set(tmp_path, name):
    root = tmp_path / "voc"
    for part in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (root / part).mkdir(parents=True)
    (root / "ImageSets" / "Main" / "val.txt").write_text(f"{name}\n")
    (tmp_path / "secret.xml").write_text("<annotation/>")
    assert _all(read_voc(root, "val")) == []


def _all(data):
    return [image for name in data.ids if (image := data.image(name)) is not None]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "a\0b.png"])
def test_coco_cannot_name_a_picture_outside(tmp_path, name):
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    content = {"images": [{"id": 1, "file_name": name, "height": 4, "width": 4}], "annotations": [], "categories": []}
    (root / "annotations" / "instances.json").write_text(json.dumps(content))
    assert _all(read_coco(root)) == []


def test_deep_json_is_a_sentence(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances.json").write_text("[" * 1_000_000)
    with pytest.raises(eb.ExcitationError, match="is not JSON that can be read"):
        read_coco(tmp_path)


# Results ------------------------------------------------------------------------------------------------------------


def test_a_result_with_a_pickle_is_refused_and_does_not_run(tmp_path):
    np.savez(tmp_path / "r.npz", configuration=np.array([Runs(tmp_path / "ran")], dtype=object))
    (tmp_path / "ran").unlink(missing_ok=True)
    with pytest.raises(ResultError, match="is no result"):
        read_configuration(tmp_path / "r.npz")
    assert not (tmp_path / "ran").exists()


def test_a_result_that_unpacks_to_much_more_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_results, "MAX_UNPACKED", 1 << 20)
    np.savez_compressed(tmp_path / "r.npz", configuration=np.array("{}"), maps=np.zeros(1 << 18, np.float32))
    assert (tmp_path / "r.npz").stat().st_size < 5000
    with pytest.raises(ResultError, match="unpacks to more than 1048576 bytes"):
        read_configuration(tmp_path / "r.npz")


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match=r"prototxt .*pipe cannot be read: it is not a plain file"):
        load_caffe(tmp_path / "pipe")
