"""The graph of an ONNX file, validated: every value is defined once and before its use, every operator is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .._loaded import ModelError, shown
from ..sources._requirements import needed
from ._call import OPERATORS, Call
from ._external import ExternalData
from ._tensors import FLOATING, read_tensor

OPSETS = (7, 22)
"""First and last supported version of ONNX's operators."""

MAX_NODES = 50_000

MAX_INPUTS = 10_000
"""Maximum number of inputs or outputs of one node."""

MAX_INPUT = 1 << 25
"""Maximum number of elements in one input image: 3 x 3300 x 3300. Preprocessing makes several copies."""

DOMAINS = frozenset({"", "ai.onnx"})

ATTRIBUTES = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}
"""Fields of `AttributeProto` by type. The other types hold graphs, sparse tensors and types."""

SUBGRAPHS = frozenset({"If", "Loop", "Scan", "SequenceMap"})


@dataclass(frozen=True)
class Node:
    """A node that computes something.

    Attributes:
        call: its operator, attributes and name.
        inputs: names of its input values; `""` for an omitted input.
        outputs: names of its output values; `""` for an omitted output.
    """

    call: Call
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """The network of an ONNX file.

    Attributes:
        path: path of the file.
        nodes: the nodes, in a valid order of computation.
        constants: constants by value name.
        input: name of the image input.
        shape: shape of the image input; `None` for sizes that are not fixed.
        outputs: names of the outputs.
    """

    path: Path
    nodes: tuple[Node, ...]
    constants: dict[str, torch.Tensor]
    input: str
    shape: tuple[int | None, ...]
    outputs: tuple[str, ...]


def read_graph(proto: Any, path: Path) -> Graph:
    """Validate a `ModelProto` and convert it.

    Raises:
        ModelError: an unsupported operator or type; a value that is defined twice, never, or in a cycle; not exactly
            one image input.
    """
    version = _version(proto, path)
    graph, outside = proto.graph, ExternalData(path)
    if proto.functions or graph.sparse_initializer or graph.quantization_annotation:
        kind = "functions of its own" if proto.functions else "sparse or quantised initialisers"
        raise ModelError(f"ONNX file {path} has {kind}, which are not supported; export the model again without them.")
    if len(graph.node) > MAX_NODES:
        raise ModelError(f"ONNX file {path} has {len(graph.node)} nodes; at most {MAX_NODES} are read.")
    constants: dict[str, torch.Tensor] = {}
    for item in graph.initializer:
        where = f"ONNX file {path}, initialiser {shown(item.name)}"
        if not item.name or item.name in constants:
            raise ModelError(f"{where}: its name is empty or that of another initialiser; each needs one of its own.")
        constants[item.name] = read_tensor(item, where, outside)
    name, shape = _pictures(graph, constants, path)
    nodes = _nodes(proto, path, version, {name}, constants, outside)
    return Graph(path, nodes, constants, name, shape, _outputs(graph, nodes, path))


def _version(proto: Any, path: Path) -> int:
    versions = [item.version for item in proto.opset_import if item.domain in DOMAINS]
    if len(versions) != 1 or not OPSETS[0] <= versions[0] <= OPSETS[1]:
        raise ModelError(
            f"ONNX file {path} is of opset {', '.join(map(str, versions[:4])) or 'none'}; one from {OPSETS[0]} to"
            f" {OPSETS[1]} is expected: export the model with one of these."
        )
    version: int = versions[0]
    return version


def _pictures(graph: Any, constants: dict[str, torch.Tensor], path: Path) -> tuple[str, tuple[int | None, ...]]:
    """Name and shape of the only input without a value in the file."""
    inputs = [item for item in graph.input if item.name not in constants]
    kinds = [item.type.tensor_type for item in inputs]
    shape = tuple(size.dim_value or None for size in kinds[0].shape.dim) if len(inputs) == 1 else ()
    if len(shape) != 4 or shape[1] not in {None, 3} or min(size or 1 for size in shape) < 1 or not inputs[0].name:
        listed = "; ".join(
            " x ".join(str(size.dim_value or size.dim_param[:20] or "?") for size in kind.shape.dim[:8])
            for kind in kinds[:8]
        )
        raise ModelError(
            f"ONNX file {path} takes {len(inputs)} inputs ({listed}); one of pictures, image x 3 x height x width, is"
            " expected."
        )
    if math.prod(size or 1 for size in shape) > MAX_INPUT:
        raise ModelError(f"ONNX file {path} takes pictures of shape {shape}; at most {MAX_INPUT} numbers are expected.")
    if kinds[0].elem_type not in FLOATING:
        raise ModelError(
            f"ONNX file {path} takes pictures of ONNX's type number {kinds[0].elem_type}; floating-point numbers are"
            " expected: export the model without its conversion from whole numbers."
        )
    return inputs[0].name, shape


def _nodes(
    proto: Any, path: Path, version: int, known: set[str], constants: dict[str, torch.Tensor], outside: ExternalData
) -> tuple[Node, ...]:
    """All nodes except constants, whose values are added to `constants`."""
    known = known | constants.keys()
    context = _context(proto, version)
    nodes = []
    for item in proto.graph.node:
        name = item.name or next(iter(item.output), "")
        where = f"ONNX file {path}, {shown(item.op_type)[1:-1]} node {shown(name)}"
        if len(item.input) > MAX_INPUTS or len(item.output) > MAX_INPUTS:
            raise ModelError(f"{where} has more than {MAX_INPUTS} inputs or outputs.")
        _known_operator(item, where)
        if missing := [value for value in item.input if value and value not in known]:
            raise ModelError(
                f"{where} takes in {shown(missing[0])}, which nothing before it makes; nodes must be in the order"
                f" in which they are computed, without cycles."
            )
        made = [value for value in item.output if value]
        if not made or len(set(made)) != len(made) or not known.isdisjoint(made):
            raise ModelError(f"{where} makes no value, or one that is made elsewhere too; each value is made once.")
        known.update(made)
        attributes = _attributes(item, where, outside)
        if item.op_type == "Constant":
            constants[made[0]] = _constant(attributes, where)
            continue
        _check_node(item, where, context)
        value = attributes.get("value")
        if isinstance(value, torch.Tensor):  # the single element of ConstantOfShape
            if value.numel() != 1:
                raise ModelError(f"{where}: its value has {value.numel()} numbers; one is expected.")
            attributes["value"] = value.item(), value.dtype
        used = len(item.output)
        while used > 1 and not item.output[used - 1]:
            used -= 1
        call = Call(item.op_type, name, version, attributes, used, str(path))
        nodes.append(Node(call, tuple(item.input), tuple(item.output[:used])))
    return tuple(nodes)


def _known_operator(item: Any, where: str) -> None:
    if item.op_type in SUBGRAPHS:
        raise ModelError(
            f"{where}: {item.op_type} runs a graph of its own, which is not supported; export the model without control"
            " flow, by tracing."
        )
    if item.domain not in DOMAINS or (item.op_type not in OPERATORS and item.op_type != "Constant"):
        domain = "" if item.domain in DOMAINS else f" of domain {shown(item.domain)}"
        raise ModelError(
            f"{where}: the operator {shown(item.op_type)[1:-1]}{domain} is not supported; export the model without it."
            " docs/how-to/models.md lists what is supported."
        )


def _attributes(item: Any, where: str, outside: ExternalData) -> dict[str, Any]:
    """The attributes of a node as Python values."""
    values: dict[str, Any] = {}
    for attribute in item.attribute:
        what = f"{where}: attribute {shown(attribute.name)}"
        if attribute.name in values:
            raise ModelError(f"{what} is given twice.")
        if attribute.ref_attr_name or attribute.type not in ATTRIBUTES:
            raise ModelError(f"{what} is a graph, a sparse tensor or a reference, which are not supported.")
        value = getattr(attribute, ATTRIBUTES[attribute.type])
        if attribute.type == 4:
            value = read_tensor(value, what, outside)
        elif attribute.type in {3, 8}:
            texts = [value] if attribute.type == 3 else list(value)
            try:
                texts = [text.decode() for text in texts]
            except UnicodeDecodeError as error:
                raise ModelError(f"{what} is no text: {error.reason}.") from error
            value = texts[0] if attribute.type == 3 else tuple(texts)
        elif attribute.type in {6, 7}:
            value = tuple(value)
        values[attribute.name] = value
    return values


def _constant(attributes: dict[str, Any], where: str) -> torch.Tensor:
    """The value of a `Constant` node."""
    if len(attributes) == 1:
        ((kind, value),) = attributes.items()
        if kind == "value" and isinstance(value, torch.Tensor):
            return value
        types = {"value_float": float, "value_floats": float, "value_int": int, "value_ints": int}
        listed = value if isinstance(value, tuple) else (value,)
        if kind in types and all(type(number) is types[kind] for number in listed):
            dtype = torch.float32 if types[kind] is float else torch.long
            return torch.tensor(list(value) if isinstance(value, tuple) else value, dtype=dtype)
    raise ModelError(f"{where} must have one value: a tensor or numbers; text and sparse tensors are not supported.")


def _context(proto: Any, version: int) -> Any:
    """The context that onnx's node checker needs."""
    onnx = needed("onnx", "onnx")
    context = onnx.checker.C.CheckerContext()
    context.ir_version = min(max(proto.ir_version, 3), onnx.IR_VERSION)
    context.opset_imports = {"": version}
    return context


def _check_node(item: Any, where: str, context: Any) -> None:
    """Check the number of inputs and outputs, and the names and types of attributes, against the operator's schema."""
    onnx = needed("onnx", "onnx")
    try:
        # Existing files use versions of operators that were deprecated later, which the checker rejects.
        if not onnx.defs.get_schema(item.op_type, context.opset_imports[""]).deprecated:
            onnx.checker.check_node(item, context)
    except (onnx.checker.ValidationError, onnx.defs.SchemaError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"{where} is not as ONNX defines it: {' '.join(str(error).split())[:300]}") from error


def _outputs(graph: Any, nodes: Sequence[Node], path: Path) -> tuple[str, ...]:
    names = tuple(item.name for item in graph.output)
    made = {value for node in nodes for value in node.outputs if value}
    if not names or len(set(names)) != len(names):
        raise ModelError(f"ONNX file {path} has no outputs, or one twice; the class scores are expected.")
    if strange := [name for name in names if name not in made]:
        raise ModelError(f"ONNX file {path}: no node computes its output {shown(strange[0])}.")
    return names
