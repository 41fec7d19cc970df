"""ONNX files that want to harm: nothing in them runs, takes much memory, or reads other files."""

from __future__ import annotations

import os
import resource
import time

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="onnx is not installed", exc_type=ImportError)

from onnx import TensorProto, helper, numpy_helper
from onnx_mutations import damaged, network
from onnx_networks import PICTURES, loaded, model_of, node

import excitation as eb
from excitation._errors import ExcitationError
from excitation.models import ModelError, model_files
from excitation.models.onnx import _file, _graph

WEIGHT = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)


def refused(model, tmp_path, match):
    with pytest.raises(ModelError, match=match) as caught:
        loaded(model, tmp_path / "m.onnx")
    assert len(str(caught.value)) < 700
    return str(caught.value)


# Names and texts ----------------------------------------------------------------------------------------------------

EVIL = '__class__") and print("RAN") or exit(1) or getattr(self, "c'
NAMES = [EVIL, "a.b.c", "a#2", "input", "a:b", "forward", "training", "é\n\x00", "", "0", "x" * 10_000, "__class__"]


def test_a_name_is_never_code_and_always_a_layer(tmp_path, capsys):
    nodes = [helper.make_node("Conv", ["x", "w"], ["v0"], name="c")]
    nodes += [helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"], name=name) for i, name in enumerate(NAMES * 2)]
    net = loaded(model_of(nodes, {"w": WEIGHT}, outputs=(f"v{2 * len(NAMES)}",)), tmp_path / "m.onnx")
    torch.testing.assert_close(
        net(torch.from_numpy(PICTURES)), torch.conv2d(torch.from_numpy(PICTURES), torch.from_numpy(WEIGHT)).relu()
    )
    names = [name for name, _ in net.named_children()]
    assert len(names) == len(set(names)) == 2 * len(NAMES) + 1
    assert all((name.isascii() and name.isidentifier()) or name[0].isdigit() for name in names)
    assert "input" not in names
    assert all(set(name).isdisjoint(".#:") and len(name) < 130 for name in names)
    for name in names[:3] + names[-3:]:
        assert eb.explain(net, torch.from_numpy(PICTURES), [0], layer=name, output=_scores).maps.shape[0] == 2
    assert "RAN" not in capsys.readouterr().out


def _scores(output):
    return output.mean((2, 3))


@pytest.mark.parametrize("name", ["Evil\nTraceback", "\x1b[2J", "x" * 100_000])
def test_messages_quote_and_cut_what_the_file_says(name, tmp_path):
    message = refused(model_of([helper.make_node("Nothing", ["x"], ["y"], name=name)]), tmp_path, "Nothing is not supp")
    assert message.isprintable()


# Structure ----------------------------------------------------------------------------------------------------------


def test_subgraphs_are_refused_by_name(tmp_path):
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["b"])], "b", [], [
        helper.make_tensor_value_info("b", TensorProto.FLOAT, None)])  # fmt: skip
    made = node("If", "c", then_branch=branch, else_branch=branch)
    refused(model_of([made], {"c": np.bool_(True)}), tmp_path, r"If node 'y': If runs a graph of its own")


BROKEN = {
    "a circle": ([helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"]), node("Relu", "b")],
                 "takes in 'b', which nothing before it makes"),
    "an unknown value": ([node("Relu", "nothing")], "takes in 'nothing'"),
    "a value made twice": ([node("Relu", "x"), node("Relu", "x")], "made elsewhere too"),
    "the pictures made": ([helper.make_node("Relu", ["x"], ["x"]), node("Relu", "x")], "made elsewhere too"),
    "another domain": ([node("Relu", "x", domain="com.example")], "Relu of domain 'com.example' is not supported"),
    "text": ([node("Constant", value_string="a")], "text and sparse tensors are not supported"),
    "no such output": ([helper.make_node("Relu", ["x"], ["z"])], "no node computes its output 'y'"),
    "quantised activations": ([node("QuantizeLinear", "x", "q")], "export the model before quantisation"),
    "a shape of the pictures": ([helper.make_node("Cast", ["x"], ["s"], to=7), node("Reshape", "x", "s")],
                                "its input 1 is computed from the pictures"),
    "training": ([node("Dropout", "x", "q", "t")], "in training mode"),
    "an unknown attribute": ([node("Relu", "x", alpha=1.0)], "is not as ONNX defines it"),
    "constant scores": ([node("Identity", "q")], "does not depend on the pictures"),
    "a bad axis": ([node("Concat", "x", "x", axis=7)], r"Concat node 'y': axis 7 does not exist"),
    "shapes that do not fit": ([node("Add", "x", "w")], r"Add node 'y' does not fit its inputs"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_broken_graphs_get_a_sentence(what, tmp_path):
    nodes, match = BROKEN[what]
    refused(model_of(nodes, {"q": np.float32(0.1), "t": np.bool_(True), "w": WEIGHT}), tmp_path, match)


def test_types_that_are_not_supported_are_refused_by_name(tmp_path):
    for kind, name in ((TensorProto.STRING, "STRING"), (TensorProto.COMPLEX64, "COMPLEX64"), (17, "number 17")):
        model = model_of([node("Relu", "x")], {"w": WEIGHT})
        model.graph.initializer[0].data_type = kind
        refused(model, tmp_path, f"initialiser 'w' is of type {name}")
    refused(model_of([node("Relu", "x")], kind=TensorProto.UINT8), tmp_path, "floating-point numbers are expected")
    refused(model_of([node("Relu", "x")], shape=("n", "m", 2**62, 2**62)), tmp_path, "at most .* numbers")


# Memory and time ----------------------------------------------------------------------------------------------------

BOMBS = {
    "constant": [helper.make_node("ConstantOfShape", ["huge"], ["c"]), node("Add", "x", "c")],
    "range": [helper.make_node("Range", ["zero", "many", "one"], ["c"]), helper.make_node("ReduceMax", ["c"], ["d"]),
              helper.make_node("Cast", ["d"], ["e"], to=1), node("Add", "x", "e")],
    "tile": [node("Tile", "x", "huge")],
    "expand": [helper.make_node("ReduceMean", ["x"], ["m"]), node("Expand", "m", "huge")],
    "resize": [node("Resize", "x", "", "factors")],
    "pad": [node("Pad", "x", "pads")],
    "outer product": [helper.make_node("Mul", ["row", "column"], ["c"]), helper.make_node("ReduceMax", ["c"], ["d"]),
                      node("Add", "x", "d")],
    "outer product of activations": [helper.make_node("Reshape", ["x", "row_of"], ["r"]),
                                     helper.make_node("Reshape", ["x", "column_of"], ["k"]),
                                     helper.make_node("MatMul", ["k", "r"], ["p"]),
                                     helper.make_node("Reshape", ["p", "row_of"], ["r2"]),
                                     helper.make_node("Reshape", ["p", "column_of"], ["k2"]),
                                     node("MatMul", "k2", "r2")],
    "doubling": [helper.make_node("Concat", [f"d{i}" if i else "x"] * 2, [f"d{i + 1}"], axis=1) for i in range(40)]
    + [node("Relu", "d40")],
    "constants doubling": [helper.make_node("Concat", [f"d{i}" if i else "row"] * 2, [f"d{i + 1}"], axis=0)
                           for i in range(40)] + [node("Add", "x", "d40")],
    "a shape of everything": [helper.make_node("Reshape", ["x", "flat"], ["f"]),
                              helper.make_node("Shape", ["f"], ["s"]),
                              helper.make_node("Mul", ["s", "many"], ["t"]),
                              helper.make_node("ConstantOfShape", ["t"], ["c"]), node("Add", "x", "c")],
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_would_fill_the_memory_is_refused_before_it_does(bomb, tmp_path):
    constants = {
        "huge": np.array([1, 1, 10**5, 10**5]), "zero": np.int64(0), "one": np.int64(1), "many": np.int64(10**11),
        "factors": np.array([1, 1, 3000, 3000], np.float32), "pads": np.array([0, 0, 0, 0, 0, 0, 10**6, 10**6]),
        "row": np.ones((1, 30_000), np.float32), "column": np.ones((30_000, 1), np.float32),
        "row_of": np.array([-1, 1, 240]), "column_of": np.array([-1, 240, 1]), "flat": np.array([-1]),
    }  # fmt: skip
    if bomb == "outer product of activations":
        constants |= {"row_of": np.array([0, 1, -1]), "column_of": np.array([0, -1, 1])}
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    refused(model_of(BOMBS[bomb], constants), tmp_path, "node .*(at most|too many|too large|more than)")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "kilobytes"
    assert time.monotonic() - start < 20


def test_a_shape_larger_than_its_bytes_is_refused(tmp_path):
    for dims in ([10**6, 10**6], [2**62, 2**62], [-1, -108], [108, 0], [1] * 1000):
        model = model_of([node("Conv", "x", "w")], {"w": WEIGHT})
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)
        refused(model, tmp_path, "initialiser 'w' has")


def test_files_of_countless_messages_are_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(_file, "MAX_FIELDS", 1000)
    monkeypatch.setattr(_graph, "MAX_NODES", 20)
    many = [helper.make_node("Relu", ["x"], [f"r{i}"]) for i in range(30)]
    refused(model_of([*many, node("Relu", "x")]), tmp_path, "has 31 nodes; at most 20")
    model = model_of([node("Relu", "x")]).SerializeToString()
    (tmp_path / "bomb.onnx").write_bytes(model + b"\x72\x00" * 1001)  # empty entries of metadata
    with pytest.raises(ModelError, match="more than 1000 fields"):
        eb.load_model(f"onnx:{tmp_path / 'bomb.onnx'}")
    graph = b""
    for _ in range(200):  # a graph in an attribute in a node in a graph ...
        graph = _wrapped(0x0A, _wrapped(0x2A, _wrapped(0x32, graph)))
    (tmp_path / "deep.onnx").write_bytes(_wrapped(0x3A, graph))
    with pytest.raises(ModelError, match="nested more than 16 deep"):
        eb.load_model(f"onnx:{tmp_path / 'deep.onnx'}")


def _wrapped(key, content):
    size, length = bytearray(), len(content)
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes([key]) + bytes(size) + bytes([length]) + content


# External data ------------------------------------------------------------------------------------------------------


def outside(tmp_path, **entries):
    """A file whose weights lie elsewhere."""
    model = model_of([node("Conv", "x", "w")], {"w": WEIGHT})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    path = tmp_path / "inside" / "m.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_in_the_folder_are_read_with_their_place(tmp_path):
    path = outside(tmp_path, location="sub/w.bin", offset=4, length=WEIGHT.nbytes)
    (path.parent / "sub").mkdir()
    (path.parent / "sub" / "w.bin").write_bytes(b"abcd" + WEIGHT.tobytes())
    net = eb.load_model(f"onnx:{path}").model
    assert torch.equal(net.y.weight, torch.from_numpy(WEIGHT))
    assert model_files(f"onnx:{path}") == [path, path.parent / "sub" / "w.bin"]


@pytest.mark.parametrize(
    "name", ["../w.bin", "/dev/zero", "a/../../w.bin", "..\\w.bin", "C:\\w.bin", "link", "linked/w.bin", "", "w\0", ".",
             "pipe", "no.bin"]
)  # fmt: skip
def test_no_other_file_is_opened(name, tmp_path):
    path = outside(tmp_path, location=name)
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    (path.parent / "link").symlink_to(tmp_path / "w.bin")
    (path.parent / "linked").symlink_to(tmp_path)
    os.mkfifo(path.parent / "pipe")
    for read in (eb.load_model, model_files):
        with pytest.raises(ModelError, match=r"external data|does not say which"):
            read(f"onnx:{path}")


@pytest.mark.parametrize(
    "entries", [{"offset": 1}, {"length": 3}, {"offset": -1}, {"length": "1e9"}, {"offset": 2**63}]
)
def test_places_outside_an_external_file_are_refused(entries, tmp_path):
    path = outside(tmp_path, location="w.bin", **entries)
    (path.parent / "w.bin").write_bytes(WEIGHT.tobytes())
    with pytest.raises(ModelError, match=r"its shape asks for|a whole number is expected"):
        eb.load_model(f"onnx:{path}")


def test_regions_of_an_external_file_are_read_once(tmp_path):
    """A thousand tensors in the same gigabyte would fill the memory; the same region is shared, overlap refused."""
    weights = {f"w{i}": WEIGHT for i in range(3)}
    nodes = [helper.make_node("Conv", ["x", name], [name + "c"]) for name in weights]
    model = model_of([*nodes, node("Sum", *(name + "c" for name in weights))], weights)
    for place, tensor in enumerate(model.graph.initializer):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="w.bin")
        tensor.external_data.add(key="offset", value=str(4 * (place == 2)))
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes() + b"\0" * 4)
    refused(model, tmp_path, "overlaps other tensors")
    model.graph.initializer[2].external_data[1].value = "0"
    net = loaded(model, tmp_path / "m.onnx")
    assert torch.equal(net.w0c.weight, net.w2c.weight)


# Weights from elsewhere in the file ---------------------------------------------------------------------------------

FORMS = {
    "identity": ([helper.make_node("Identity", ["B"], ["b"])], {"B": "b", "w": "w"}),
    "constants": ([helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT)),
                   helper.make_node("Constant", [], ["b"], value_floats=[0.5, 1.0, -1.0, 2.0])], {}),
    "inputs": ([], {"w": "w", "b": "b"}),
    "half": ([helper.make_node("Cast", ["h"], ["w"], to=TensorProto.FLOAT)], {"h": "half", "b": "b"}),
    "turned": ([helper.make_node("Transpose", ["t"], ["w"], perm=[3, 2, 1, 0])], {"t": "turned", "b": "b"}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_weights_arrive_by_any_way(form, tmp_path):
    bias = np.array([0.5, 1, -1, 2], np.float32)
    values = {"w": WEIGHT, "b": bias, "half": WEIGHT.astype(np.float16), "turned": WEIGHT.T.copy()}
    before, constants = FORMS[form]
    constants = {name: values[value] for name, value in constants.items()}
    model = model_of([*before, node("Conv", "x", "w", "b")], constants)
    if form == "inputs":
        for name in "wb":
            kind = helper.make_tensor_value_info(name, TensorProto.FLOAT, constants[name].shape)
            model.graph.input.append(kind)
    net = loaded(model, tmp_path / "m.onnx")
    assert isinstance(net.y, torch.nn.Conv2d)
    wanted = torch.conv2d(torch.from_numpy(PICTURES), torch.from_numpy(WEIGHT), torch.from_numpy(bias))
    torch.testing.assert_close(net(torch.from_numpy(PICTURES)), wanted, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_quantised_weights_are_dequantised(axis, kind, tmp_path):
    draw = np.random.default_rng(0)
    limits = np.iinfo(kind)
    quantised = draw.integers(limits.min, limits.max, size=WEIGHT.shape, dtype=kind)
    scale, zero = np.float32(0.02), kind(5)
    if axis == 0:
        scale, zero = draw.uniform(0.01, 0.1, 4).astype(np.float32), np.arange(4).astype(kind)
    attributes = {} if axis is None else {"axis": axis}
    nodes = [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], **attributes), node("Conv", "x", "w")]
    net = loaded(model_of(nodes, {"q": quantised, "s": scale, "z": zero}, opset=13), tmp_path / "m.onnx")
    whole = (np.reshape(s, (-1, 1, 1, 1)).astype(np.float64) for s in (zero, scale))
    z, s = whole
    np.testing.assert_allclose(net.y.weight.detach().numpy(), (quantised - z) * s, rtol=1e-6)


def test_weights_that_are_quantised_in_the_file_are_rounded_to_even_and_kept_in_range(tmp_path):
    weights = np.array([0.25, 0.75, 1.25, -0.25, 1000, -1000], np.float32).reshape(2, 3, 1, 1)
    nodes = [
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"]), node("Conv", "x", "w"),
    ]  # fmt: skip
    model = model_of(nodes, {"r": weights, "s": np.float32(0.5), "z": np.int8(0)}, opset=13)
    assert loaded(model, tmp_path / "m.onnx").y.weight.flatten().tolist() == [0, 1, 1, 0, 63.5, -64]


def test_shared_weights_stay_shared(tmp_path):
    weight = np.random.default_rng(0).normal(size=(3, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4), helper.make_node("Identity", ["w"], ["v"]),
        node("Conv", "a", "v", pads=[1] * 4),
    ]  # fmt: skip
    net = loaded(model_of(nodes, {"w": weight}), tmp_path / "m.onnx")
    assert net.a.weight is net.y.weight
    assert len(list(net.parameters())) == 1


# Mutations ----------------------------------------------------------------------------------------------------------


def test_damaged_files_load_or_are_refused_in_a_sentence(tmp_path):
    """Whatever is in the file: a network that runs, or an `ExcitationError`, in bounded time and memory."""
    content, path, images = network().SerializeToString(), tmp_path / "m.onnx", torch.zeros(1, 3, 8, 8)
    before, ran = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    messages = []
    for seed in range(600):
        path.write_bytes(damaged(content, seed))
        start = time.monotonic()
        try:
            net = eb.load_model(f"onnx:{path}").model
            with torch.no_grad():
                net(images)
            ran += 1
        except ExcitationError as error:
            messages.append(str(error))
        assert time.monotonic() - start < 10, f"seed {seed}"
    assert all(message.isprintable() for message in messages)
    assert 10 < ran < 300, "the damage should matter, and not always"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2_000_000, "kilobytes"


def test_the_file_itself_runs(tmp_path):
    assert loaded(network(), tmp_path / "m.onnx")(torch.zeros(2, 3, 8, 8)).shape == (2, 2)
