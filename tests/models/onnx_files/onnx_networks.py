"""Small ONNX files for the tests, and what ONNX's own reference evaluator makes of them."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import excitation as eb

PICTURES = np.random.default_rng(1).normal(size=(2, 3, 8, 10)).astype(np.float32)


def model_of(nodes, constants=None, *, shape=("n", 3, 8, 10), opset=17, outputs=("y",), kind=TensorProto.FLOAT):
    """A file whose input `x` is pictures; constants are initialisers by name."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], tensors,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def loaded(model, path):
    """The module that `load_model` makes of a file."""
    path.write_bytes(model.SerializeToString())
    return eb.load_model(f"onnx:{path}").model


def expected(model, pictures=PICTURES):
    """The first output by the reference evaluator."""
    return ReferenceEvaluator(model).run(None, {"x": pictures})[0]


def agree(model, path, pictures=PICTURES, tolerance=1e-5):
    """Ours against the reference evaluator's, on each picture of the batch and on all together."""
    net = loaded(model, path)
    with torch.no_grad():
        found = net(torch.from_numpy(pictures))
    wanted = expected(model, pictures)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found.numpy(), wanted, rtol=tolerance, atol=tolerance)
    return net


def node(kind, *inputs, **attributes):
    """A node that makes `y`."""
    return helper.make_node(kind, list(inputs), ["y"], **attributes)


def save(model, path):
    onnx.save(model, path)
    return path
