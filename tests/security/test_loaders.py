"""Files are data: what stands in them never runs, reads other files, or grows without bounds."""

from __future__ import annotations

import io
import pickle
import zipfile

import pytest
import torch

import excitation as eb
from excitation.networks import ModelError
from excitation.networks.sources import read_weights


class Payload:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("wrapped", [False, True])
def test_pickled_objects_beside_tensors_do_not_run(tmp_path, wrapped):
    trace = tmp_path / "ran"
    content = {"weight": torch.zeros(2), "more": Payload(trace)}
    torch.save({"state_dict": content} if wrapped else content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="hold more than tensors"):
        read_weights(tmp_path / "w.pt")
    assert not trace.exists()


def test_plain_pickles_do_not_run(tmp_path):
    trace = tmp_path / "ran"
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Payload(trace), protocol=2))
    with pytest.raises(ModelError):
        read_weights(tmp_path / "w.pth")
    assert not trace.exists()


def test_an_archive_that_grows_is_refused_before_it_is_unpacked(tmp_path):
    path, whole = tmp_path / "w.pt", io.BytesIO()
    torch.save({"weight": torch.zeros(1 << 20)}, whole)
    with zipfile.ZipFile(whole) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(ModelError, match="would grow"):
        read_weights(path)


def test_weights_as_they_are_saved_are_read(tmp_path):
    torch.save({"weight": torch.ones(3)}, tmp_path / "w.pt")
    assert torch.equal(read_weights(tmp_path / "w.pt")["weight"], torch.ones(3))


def test_code_of_a_hub_repository_is_never_run(tmp_path, monkeypatch):
    """Transformers is asked for safetensors, and not to trust code; whatever the folder says."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    asked = {}

    def from_pretrained(rest, **options):
        asked.update(options)
        raise OSError("stop here")

    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_pretrained", from_pretrained)
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}')
    with pytest.raises(ModelError):
        eb.load_model(f"hf:{tmp_path}")
    assert asked == {"use_safetensors": True, "trust_remote_code": False}


def test_names_in_an_onnx_file_are_only_names(tmp_path):
    """A node's name that is a piece of Python once ran with the model."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed", exc_type=ImportError)
    from onnx import TensorProto, helper, numpy_helper

    trace = tmp_path / "ran"
    evil = f'__class__") and open({str(trace)!r}, "w") or getattr(self, "c1'
    weight = numpy_helper.from_array(torch.rand(4, 3, 3, 3).numpy(), "w1")
    nodes = [
        helper.make_node("Conv", ["x", "w1"], [evil + "a"], name=evil, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", [evil + "a"], ["r"], name=evil + "2"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="import os"),
        helper.make_node("Flatten", ["g"], ["y"], name="f; import os"),
    ]
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in
              (("x", [1, 3, 8, 8]), ("y", [1, 4]))]  # fmt: skip
    graph = helper.make_graph(nodes, 'g"); import os; ("', shapes[:1], shapes[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert onnx.__name__ == "onnx"
    loaded = eb.load_model(f"onnx:{tmp_path / 'm.onnx'}")
    x = torch.rand(1, 3, 8, 8)
    assert loaded.model(x).shape == (1, 4)
    maps = eb.explain(loaded, x, [1], layer="input")
    assert float(maps.sum()) == pytest.approx(1, abs=1e-5)
    assert not trace.exists()
