"""`onnx:FILE` on small graphs written here, against ONNX's own reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import excitation as eb
from excitation.models import ModelError, model_files

onnx = pytest.importorskip("onnx", reason="onnx is not installed", exc_type=ImportError)

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))


def network(size=(24, 32), operation="Relu", names="{0: 'cat', 1: 'dog'}", channels=3):
    """Convolution, batch norm, rectifier, pooling, convolution, global pooling, linear."""
    draw = np.random.default_rng(0)
    weights = {
        "w1": draw.normal(size=(8, channels, 3, 3)), "b1": draw.normal(size=8), "scale": draw.uniform(0.5, 1.5, 8),
        "shift": draw.normal(size=8), "mean": draw.normal(size=8), "var": draw.uniform(0.5, 1.5, 8),
        "w2": draw.normal(size=(8, 8, 3, 3)), "w3": draw.normal(size=(2, 8)), "b3": draw.normal(size=2),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "scale", "shift", "mean", "var"], ["n1"], name="norm1"),
        helper.make_node(operation, ["n1"], ["r1"], name="act1"),
        helper.make_node("MaxPool", ["r1"], ["p1"], name="pool1", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], name="act2"),
        helper.make_node("Add", ["p1", "r2"], ["s2"], name="sum2"),
        helper.make_node("GlobalAveragePool", ["s2"], ["g"], name="gap"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name="fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value.astype(np.float32), key) for key, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    if names:
        helper.set_model_props(model, {"names": names})
    return model


def saved(tmp_path, **options):
    path = tmp_path / "net.onnx"
    onnx.save(network(**options), path)
    return path


def test_a_file(tmp_path):
    path = saved(tmp_path)
    loaded = eb.load_model(f"onnx:{path}")
    assert loaded.class_names == ("cat", "dog")
    assert isinstance(loaded.model.get_submodule(loaded.classifier_layer), torch.nn.Linear)
    images = loaded.preprocessing(PICTURE)[None]
    assert images.shape == (1, 3, 24, 32)
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"x": images.numpy()})
    result = eb.explain(loaded, images, ["cat", "dog"], layer="input")
    np.testing.assert_allclose(result.scores.numpy(), expected, rtol=1e-4, atol=1e-4)
    lost = sum(row.lost for row in result.balance.rows)
    assert torch.allclose(result.share["input"] + lost, torch.ones(1, 2, dtype=torch.float64), atol=1e-5)
    assert model_files(f"onnx:{path}") == [path]


def test_an_open_size_takes_pictures_of_any(tmp_path):
    loaded = eb.load_model(f"onnx:{saved(tmp_path, size=('h', 'w'), names='')}")
    assert loaded.class_names is None
    assert loaded.preprocessing.resize == "shortest"
    for size in ((24, 32), (30, 20)):
        assert eb.explain(loaded, torch.randn(1, 3, *size), [0], layer="act1").maps.shape == (1, 1, *size)


def test_external_data_are_among_the_files(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(network(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    images = torch.randn(1, 3, 24, 32)
    beside = eb.load_model(f"onnx:{path}")
    assert model_files(f"onnx:{path}") == [path, tmp_path / "weights.bin"]
    (tmp_path / "inside").mkdir()
    inside = eb.load_model(f"onnx:{saved(tmp_path / 'inside')}")
    with torch.no_grad():
        assert torch.equal(beside.model(images), inside.model(images))


@pytest.mark.parametrize(
    "names",
    ["", "__import__('os').getcwd()", "{0: 'cat'", "7", "{0: 'a', 2: 'b'}", "{0: 1}", "[" * 100_000 + "]", "{'a'}"],
)
def test_names_are_read_as_data(tmp_path, names):
    assert eb.load_model(f"onnx:{saved(tmp_path, names=names)}").class_names is None


@pytest.mark.parametrize("names", ["{1: 'it\\'s', 0: \"a 'b'\"}", '["a \'b\'", "it\'s"]'])
def test_names_in_the_forms_of_python_and_json(tmp_path, names):
    assert eb.load_model(f"onnx:{saved(tmp_path, names=names)}").class_names == ("a 'b'", "it's")


def test_what_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        eb.load_model("onnx:no.onnx")
    (tmp_path / "noise.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="is not whole"):
        eb.load_model(f"onnx:{tmp_path / 'noise.onnx'}")
    with pytest.raises(ModelError, match="Shrink node 'act1': the operator Shrink is not supported"):
        eb.load_model(f"onnx:{saved(tmp_path, operation='Shrink')}")
    with pytest.raises(ModelError, match=r"takes 1 inputs \(n x 1 x 24 x 32\); one of pictures"):
        eb.load_model(f"onnx:{saved(tmp_path, channels=1)}")


@pytest.mark.parametrize("name", ["../weights.bin", "/dev/zero"])
def test_external_data_outside_the_folder_are_never_opened(tmp_path, name):
    content = network()
    (tmp_path / "inside").mkdir()
    path = tmp_path / "inside" / "net.onnx"
    tensor = content.graph.initializer[0]
    (tmp_path / "weights.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=name)
    path.write_bytes(content.SerializeToString())
    with pytest.raises(ModelError, match="do not lie in its own folder"):
        model_files(f"onnx:{path}")
    with pytest.raises(ModelError, match="do not lie in its own folder"):
        eb.load_model(f"onnx:{path}")


def test_files_of_a_damaged_one_are_a_clear_error(tmp_path):
    (tmp_path / "noise.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="is not whole"):
        model_files(f"onnx:{tmp_path / 'noise.onnx'}")
