"""Fusion of operations that an exporter wrote as several nodes.

In older opsets, PyTorch's exporter writes a layer normalisation as nine nodes, GELU as five and hard swish as two to
four. A pattern is fused only if its constants exactly match the definition, and if no other node uses its
intermediate values.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from ._graph import Graph, Node

SQRT_2 = 2.0**0.5


def fuse(graph: Graph) -> Graph:
    """Fuse layer normalisation, GELU and hard swish to one node each, named like their last node."""
    return _Patterns(graph).applied()


class _Patterns:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._makers = {value: node for node in graph.nodes for value in node.outputs if value}
        self._uses = Counter(value for node in graph.nodes for value in node.inputs)
        self._uses.update(graph.outputs)
        self._users = {value: node for node in graph.nodes for value in node.inputs}

    def applied(self) -> Graph:
        """Apply the patterns. Each pattern is anchored at its last node; the first match replaces this node."""
        gone: set[int] = set()
        fused: dict[int, Node] = {}
        for node in self._graph.nodes:
            if id(node) in gone:
                continue
            for pattern in (self._hard_swish, self._gelu, self._layer_norm):
                if match := pattern(node):
                    made, inner = match
                    gone.update(map(id, inner))
                    fused[id(inner[-1])] = made
                    break
        nodes = [fused.get(id(node), node) for node in self._graph.nodes if id(node) not in gone or id(node) in fused]
        return dataclasses.replace(self._graph, nodes=tuple(nodes))

    # Queries of the patterns ------------------------------------------------------------------------------------------

    def _made(self, value: str, kind: str, uses: int = 1) -> Node | None:
        """The node that outputs a value, if it has the given type and the value has exactly `uses` uses."""
        node = self._makers.get(value)
        return node if node is not None and node.call.kind == kind and self._uses[value] == uses else None

    def _is(self, value: str, number: float) -> bool:
        """Whether a value is a constant equal to this number, in the precision of the constant."""
        constant = self._graph.constants.get(value)
        return constant is not None and constant.numel() == 1 and _equal(constant, number)

    def _pairs(self, node: Node | None, kind: str) -> Iterator[tuple[str, str]]:
        """The two operands in both orders."""
        if node is not None and node.call.kind == kind and len(node.inputs) == 2:
            yield node.inputs[0], node.inputs[1]
            yield node.inputs[1], node.inputs[0]

    def _times(self, value: str, number: float) -> tuple[str, Node] | None:
        """If a value is a product or quotient that equals `number` times another value: that value, and the node."""
        if product := self._made(value, "Mul"):
            for x, factor in self._pairs(product, "Mul"):
                if self._is(factor, number):
                    return x, product
        quotient = self._made(value, "Div")
        if quotient is not None and self._is(quotient.inputs[1], 1 / number):
            return quotient.inputs[0], quotient
        return None

    def _plus(self, value: str, number: float) -> tuple[str, Node] | None:
        node = self._made(value, "Add")
        for x, shift in self._pairs(node, "Add"):
            if node is not None and self._is(shift, number):
                return x, node
        return None

    # Patterns: each returns the new node and all old nodes, the last node last ----------------------------------------

    def _hard_swish(self, node: Node) -> tuple[Node, list[Node]] | None:
        """`x hardsigmoid(x)`, and `x relu6(x + 3) / 6` with the division at the end or inside."""
        for x, other in self._pairs(node, "Mul"):
            gate = self._made(other, "HardSigmoid")
            if gate is not None and gate.inputs[0] == x:
                alpha, beta = gate.call.get("alpha", 0.2), gate.call.get("beta", 0.5)
                if alpha in {1 / 6, _rounded(1 / 6)} and beta == 0.5:
                    return _single("HardSwish", x, node), [gate, node]
            if sixth := self._times(other, 1 / 6):
                inner = self._ramp(sixth[0], x)
                if inner is not None:
                    return _single("HardSwish", x, node), [*inner, sixth[1], node]
            inner = self._ramp(other, x)
            last = self._users.get(node.outputs[0])
            if inner is not None and last is not None and self._uses[node.outputs[0]] == 1:
                whole = self._scaled_by(last, node.outputs[0], 1 / 6)
                if whole:
                    return _single("HardSwish", x, last), [*inner, node, last]
        return None

    def _scaled_by(self, node: Node, x: str, number: float) -> bool:
        """Whether a node computes `number` times a value."""
        if node.call.kind == "Div":
            return node.inputs[0] == x and self._is(node.inputs[1], 1 / number)
        return any(a == x and self._is(b, number) for a, b in self._pairs(node, "Mul"))

    def _ramp(self, value: str, x: str) -> list[Node] | None:
        """`relu6(x + 3)`."""
        clip = self._made(value, "Clip")
        if clip is None:
            return None
        if clip.call.version < 11:
            limited = (clip.call.get("min", None), clip.call.get("max", None)) == (0.0, 6.0)
        else:
            limited = len(clip.inputs) == 3 and self._is(clip.inputs[1], 0.0) and self._is(clip.inputs[2], 6.0)
        shifted = self._plus(clip.inputs[0], 3.0) if limited else None
        return [shifted[1], clip] if shifted is not None and shifted[0] == x else None

    def _gelu(self, node: Node) -> tuple[Node, list[Node]] | None:
        """`x (1 + erf(x / sqrt 2)) / 2`, with the division by 2 in any of its three positions."""
        for a, b in self._pairs(node, "Mul"):
            if self._is(b, 0.5) and (product := self._made(a, "Mul")):
                for x, other in self._pairs(product, "Mul"):
                    if inner := self._bell(other, x):
                        return _single("Gelu", x, node), [*inner, product, node]
            if (half := self._times(b, 0.5)) and (inner := self._bell(half[0], a)):
                return _single("Gelu", a, node), [*inner, half[1], node]
            if (half := self._times(a, 0.5)) and (inner := self._bell(b, half[0])):
                return _single("Gelu", half[0], node), [*inner, half[1], node]
        return None

    def _bell(self, value: str, x: str) -> list[Node] | None:
        """`1 + erf(x / sqrt 2)`."""
        shifted = self._plus(value, 1.0)
        erf = None if shifted is None else self._made(shifted[0], "Erf")
        if shifted is None or erf is None:
            return None
        scaled = self._made(erf.inputs[0], "Div")
        if scaled is not None and scaled.inputs[0] == x and self._is(scaled.inputs[1], SQRT_2):
            return [scaled, erf, shifted[1]]
        scaled = self._made(erf.inputs[0], "Mul")
        for a, b in self._pairs(scaled, "Mul"):
            if scaled is not None and a == x and self._is(b, 1 / SQRT_2):
                return [scaled, erf, shifted[1]]
        return None

    def _layer_norm(self, node: Node) -> tuple[Node, list[Node]] | None:
        """`(x - mean) / sqrt(mean((x - mean)^2) + eps)` over the last axes, with optional scale and shift."""
        if node.call.kind != "Div":
            return None
        centred, root = node.inputs[0], self._made(node.inputs[1], "Sqrt")
        total = None if root is None else self._made(root.inputs[0], "Add")
        for variance, small in self._pairs(total, "Add"):
            eps, mean = self._graph.constants.get(small), self._made(variance, "ReduceMean")
            square = None if mean is None else self._makers.get(mean.inputs[0])
            if square is None or mean is None or eps is None or eps.numel() != 1 or not float(eps) > 0:
                continue
            axes, raised = self._axes(mean), self._square(square, centred)
            minus = self._made(centred, "Sub", raised + 1)
            first = None if minus is None else self._made(minus.inputs[1], "ReduceMean")
            if minus is None or first is None or not raised or not axes or self._axes(first) != axes:
                continue
            if first.inputs[0] != minus.inputs[0] or self._uses[mean.inputs[0]] != 1 or root is None or total is None:
                continue
            inner = [first, minus, square, mean, total, root, node]
            inputs = [minus.inputs[0]]
            for kind in ("Mul", "Add"):
                last = inner[-1]
                following = self._users.get(last.outputs[0])
                weight = [
                    b for a, b in self._pairs(following, kind)
                    if a == last.outputs[0] and b in self._graph.constants and self._uses[a] == 1
                    and self._graph.constants[b].dim() == axes
                ]  # fmt: skip
                if following is None or not weight:
                    break
                inner.append(following)
                inputs.append(weight[0])
            attributes = {"axis": -axes, "epsilon": float(eps)}
            return _node("LayerNormalization", inputs, inner[-1], attributes), inner
        return None

    def _square(self, node: Node, x: str) -> int:
        """The number of times that a squaring node uses a value; 0 if it does not square it."""
        if node.call.kind == "Pow":
            return int(node.inputs[0] == x and self._is(node.inputs[1], 2.0))
        return 2 * int(node.call.kind == "Mul" and node.inputs == (x, x))

    def _axes(self, node: Node) -> int:
        """The number of trailing axes over which a node computes the mean with kept dimensions; 0 for other axes."""
        axes: Any = node.call.get("axes", None)
        if len(node.inputs) > 1 and node.inputs[1]:
            constant = self._graph.constants.get(node.inputs[1])
            axes = None if constant is None else constant.reshape(-1).tolist()
        if not axes or not node.call.get("keepdims", 1):
            return 0
        return len(axes) if sorted(axes) == list(range(-len(axes), 0)) else 0


def _equal(value: torch.Tensor, number: float) -> bool:
    return bool(value.reshape(()) == torch.tensor(number, dtype=value.dtype))


def _rounded(number: float) -> float:
    return float(torch.tensor(number, dtype=torch.float32))


def _node(kind: str, inputs: list[str], last: Node, attributes: dict[str, Any]) -> Node:
    call = dataclasses.replace(last.call, kind=kind, attributes=attributes, outputs=1)
    return Node(call, tuple(inputs), last.outputs)


def _single(kind: str, x: str, last: Node) -> Node:
    return _node(kind, [x], last, {})
