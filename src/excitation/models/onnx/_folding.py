"""Constant folding: values that do not depend on the images are computed once, when the file is loaded."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from .._loaded import ModelError
from ._call import OPERATORS, compute, results
from ._graph import Graph, Node

GROWTH = 16
"""Maximum number of computed elements, as a multiple of the number in the file, in addition to `ALLOWANCE`."""

ALLOWANCE = 1 << 24


def fold(graph: Graph) -> Graph:
    """Replace nodes with constant inputs by constants.

    This resolves weights that are stored in `Constant` nodes, passed through `Identity`, transposed, or quantised.

    Raises:
        ModelError: such a node cannot be computed, or creates too many elements for the size of the file.
    """
    constants = dict(graph.constants)
    left = GROWTH * sum(item.numel() for item in constants.values()) + ALLOWANCE
    nodes = []
    for node in graph.nodes:
        if not all(value in constants for value in node.inputs if value):
            nodes.append(node)
            continue
        arguments = _arguments(node, constants)
        # On the meta device nothing is computed, so the size is known before memory is allocated.
        planned = results(compute(node.call, [item.to("meta") if _is_tensor(item) else item for item in arguments]))
        needed = sum(item.numel() for item in planned)
        if needed > left:
            node.call.fail(f"constants of {needed} numbers would be computed from those in the file, too many.")
        made = results(compute(node.call, arguments))
        kept = {item.untyped_storage().data_ptr() for item in arguments if _is_tensor(item)}
        left -= sum(item.numel() for item in made if item.untyped_storage().data_ptr() not in kept)
        constants.update(zip(node.outputs, made, strict=False))
    if fixed := [name for name in graph.outputs if name in constants]:
        raise ModelError(f"ONNX file {graph.path}: its output {fixed[0][:100]!r} does not depend on the pictures.")
    return dataclasses.replace(graph, nodes=tuple(nodes), constants=constants)


def _arguments(node: Node, constants: dict[str, torch.Tensor]) -> list[Any]:
    host = OPERATORS[node.call.kind].host
    return [
        None if not value else constants[value].tolist() if place in host else constants[value]
        for place, value in enumerate(node.inputs)
    ]


def _is_tensor(item: Any) -> bool:
    return isinstance(item, torch.Tensor)
