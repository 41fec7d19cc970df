"""Construction of a module from a validated graph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ._call import OPERATORS, Call
from ._graph import Graph, Node
from ._network import MAX_NUMBERS, Computed, OnnxNet, Slot, Step

MAX_NAME = 120
"""Maximum length of a layer name."""

NAMED = dict.fromkeys(
    (
        "Conv", "ConvTranspose", "Gemm", "MatMul", "PRelu", "BatchNormalization", "InstanceNormalization",
        "LayerNormalization", "GroupNormalization",
    ),
    ("", "weight", "bias", "mean", "variance"),
)  # fmt: skip
"""Names of a node's constants, by input position; those of other operators are numbered."""

CONVOLUTIONS: dict[int, Any] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {3: nn.ConvTranspose1d, 4: nn.ConvTranspose2d, 5: nn.ConvTranspose3d}


@dataclass(frozen=True)
class _Use:
    module: nn.Module
    name: str
    tensor: torch.Tensor
    turned: bool
    buffer: bool


class Weights:
    """The weights of a network that is built on the meta device; they are loaded after all checks."""

    def __init__(self) -> None:
        self._uses: list[_Use] = []

    def keep(
        self, module: nn.Module, name: str, tensor: torch.Tensor, *, turned: bool = False, buffer: bool = False
    ) -> None:
        """Register a parameter or buffer on the meta device, and store its values.

        Args:
            module: the module that owns it.
            name: its attribute name in the module.
            tensor: its values.
            turned: whether the parameter is the transposed matrix.
            buffer: whether it is a statistic, an index or a mask, which training does not change.
        """
        buffer = buffer or not tensor.is_floating_point()
        shape = tensor.shape[::-1] if turned else tensor.shape
        empty = torch.empty(shape, dtype=_kept_type(tensor), device="meta")
        if buffer:
            module.register_buffer(name, empty)
        else:
            module.register_parameter(name, nn.Parameter(empty))
        self._uses.append(_Use(module, name, tensor, turned, buffer))

    def place(self) -> None:
        """Load the values into the modules; tensors shared in the file stay shared."""
        made: dict[tuple[int, bool, bool], torch.Tensor] = {}
        for use in self._uses:
            key = id(use.tensor), use.turned, use.buffer
            if key not in made:
                numbers = (use.tensor.t() if use.turned else use.tensor).to(_kept_type(use.tensor)).contiguous()
                made[key] = numbers if use.buffer else nn.Parameter(numbers)
            holder = use.module._buffers if use.buffer else use.module._parameters
            holder[use.name] = made[key]  # type: ignore[assignment]


def _kept_type(tensor: torch.Tensor) -> torch.dtype:
    return torch.float32 if tensor.is_floating_point() else tensor.dtype


def build(graph: Graph) -> tuple[OnnxNet, Weights]:
    """Build the network on the meta device, which uses no memory, and collect its weights.

    Raises:
        ModelError: a node has an activation as an input that must be a number, or computes only constants.
    """
    net, weights, names = OnnxNet(graph.shape, {}), Weights(), _Names()
    nodes = _needed(graph)
    host = _host_values(nodes, graph.constants)
    numbers = {graph.input: 0}
    rows: list[tuple[str, Call, tuple[int, ...], tuple[int, ...], Computed | None]] = []
    for node in nodes:
        operator = OPERATORS[node.call.kind]
        if operator.constants_only:
            node.call.fail(f"it acts on activations; {operator.constants_only}.")
        hosted = any(value in host for value in node.outputs)
        module = None if hosted else _module(node, graph, host, weights)
        if module is None:
            module = _computed(node, graph, host, weights, hosted=hosted)
        given = [value for value in node.inputs if value and value not in graph.constants]
        for value in node.outputs:
            if value:
                numbers[value] = len(numbers)
        name = "" if hosted else names.take(node.call.name or node.call.kind)
        if name:
            net.add_module(name, module)
        rows.append(
            (
                name, node.call, tuple(numbers[value] for value in given),
                tuple(numbers[value] if value else -1 for value in node.outputs),
                module if hosted and isinstance(module, Computed) else None,
            )
        )  # fmt: skip
    net.outputs = {name: numbers[name] for name in graph.outputs}
    kept, steps = set(net.outputs.values()), []
    for name, call, inputs, outputs, computed in reversed(rows):
        done = {*inputs, *outputs} - kept
        kept |= done
        steps.append(Step(name, call, inputs, outputs, tuple(sorted(done)), computed))
    net.steps = tuple(reversed(steps))
    return net.eval(), weights


def _needed(graph: Graph) -> list[Node]:
    """The nodes on which an output depends."""
    required, nodes = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if not required.isdisjoint(node.outputs):
            required.update(node.inputs)
            nodes.append(node)
    return nodes[::-1]


def _host_values(nodes: Sequence[Node], constants: dict[str, torch.Tensor]) -> set[str]:
    """Values that depend only on shapes, not on the images."""
    host: set[str] = set()
    for node in nodes:
        given = [value for value in node.inputs if value and value not in constants]
        if node.call.kind in {"Shape", "Size"} or all(value in host for value in given):
            host.update(value for value in node.outputs if value)
    return host


class _Names:
    """Unique layer names that are valid in PyTorch and unambiguous in `layer=`."""

    def __init__(self) -> None:
        self._taken = {"input", *dir(OnnxNet(shape=(), outputs={}))}
        self._next: dict[str, int] = {}

    def take(self, wanted: str) -> str:
        """A name of letters, digits and `_`; a number is appended to a name that is in use."""
        base = re.sub("[^A-Za-z0-9]+", "_", wanted[: 4 * MAX_NAME]).strip("_")[:MAX_NAME] or "node"
        name = base
        while name in self._taken:
            self._next[base] = self._next.get(base, 1) + 1
            name = f"{base}_{self._next[base]}"
        self._taken.add(name)
        return name


def _computed(node: Node, graph: Graph, host: set[str], weights: Weights, *, hosted: bool) -> Computed:
    """A node as a module that calls its operator's function, with constant inputs as parameters or buffers."""
    operator, slots = OPERATORS[node.call.kind], []
    module = Computed(node.call, ())
    for place, value in enumerate(node.inputs):
        constant = graph.constants.get(value)
        if not value:
            slots.append(Slot("plain"))
        elif constant is None:
            if place in operator.host and value not in host:
                node.call.fail(
                    f"its input {place} is computed from the pictures; a number that is the same for all is expected."
                )
            moved = value in host and not hosted and node.call.kind not in {"Shape", "Size"}
            slots.append(Slot("listed" if place in operator.host else "moved" if moved else "given"))
        elif place in operator.host or hosted or (operator.scalars and constant.dim() == 0):
            if constant.numel() > MAX_NUMBERS:
                node.call.fail(f"its input {place} has {constant.numel()} numbers; at most {MAX_NUMBERS} are read.")
            plain = place in operator.host or (operator.scalars and constant.dim() == 0)
            numbers = constant.tolist()
            slots.append(Slot("plain", numbers) if plain else Slot("small", (numbers, constant.dtype)))
        else:
            names = NAMED.get(node.call.kind, ())
            name = names[place] if 0 < place < len(names) else f"constant_{place}"
            weights.keep(module, name, constant, buffer=place in operator.statistics)
            slots.append(Slot("own", name))
    module.slots = slots
    return module


def _module(node: Node, graph: Graph, host: set[str], weights: Weights) -> nn.Module | None:
    """The standard PyTorch layer for a node with constant weights, if one supports its attributes."""
    constants = [graph.constants.get(value) for value in node.inputs]
    if len(constants) < 2 or constants[0] is not None or node.inputs[0] in host or constants[1] is None:
        return None
    weight, bias = constants[1], constants[2] if len(constants) > 2 else None
    if not weight.is_floating_point() or (len(node.inputs) > 2 and node.inputs[2] and bias is None):
        return None
    if bias is not None and (bias.dim() != 1 or not bias.is_floating_point()):
        return None
    if node.call.kind in {"Gemm", "MatMul"}:
        return _linear(node.call, weight, bias, weights)
    if node.call.kind in {"Conv", "ConvTranspose"}:
        return _filter(node.call, weight, bias, weights)
    return None


def _linear(call: Call, weight: torch.Tensor, bias: torch.Tensor | None, weights: Weights) -> nn.Module | None:
    plain = call.get("alpha", 1.0) == 1 and not call.get("transA", 0) and (bias is None or call.get("beta", 1.0) == 1)
    if weight.dim() != 2 or not plain:
        return None
    turned = not call.get("transB", 0)
    inputs, outputs = weight.shape if turned else weight.shape[::-1]
    if bias is not None and bias.shape[0] != outputs:
        return None
    layer = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    weights.keep(layer, "weight", weight, turned=turned)
    if bias is not None:
        weights.keep(layer, "bias", bias)
    return layer


def _filter(call: Call, weight: torch.Tensor, bias: torch.Tensor | None, weights: Weights) -> nn.Module | None:
    dims, groups = weight.dim() - 2, call.get("group", 1)
    pads: tuple[int, ...] = call.get("pads", (0,) * (2 * dims))
    settings: dict[str, Any] = {
        "stride": call.get("strides", (1,) * dims),
        "padding": pads[:dims],
        "dilation": call.get("dilations", (1,) * dims),
    }
    kernel = tuple(weight.shape[2:])
    if (
        weight.dim() not in CONVOLUTIONS
        or pads[:dims] != pads[dims:]
        or call.get("auto_pad", "NOTSET") != "NOTSET"
        or call.get("kernel_shape", kernel) != kernel
        or any(len(setting) != dims or not all(0 <= n < 1 << 31 for n in setting) for setting in settings.values())
        or min(*settings["stride"], *settings["dilation"], *weight.shape, groups) < 1
    ):
        return None
    transposed = call.kind == "ConvTranspose"
    outputs = weight.shape[1] * groups if transposed else weight.shape[0]
    if (weight.shape[0] if transposed else outputs) % groups or (bias is not None and bias.shape[0] != outputs):
        return None
    if transposed:
        settings["output_padding"] = call.get("output_padding", (0,) * dims)
        if "output_shape" in call.attributes or len(settings["output_padding"]) != dims:
            return None
        layer: nn.Module = TRANSPOSED[weight.dim()](
            weight.shape[0], outputs, kernel, groups=groups, bias=bias is not None, device="meta", **settings
        )
    else:
        layer = CONVOLUTIONS[weight.dim()](
            weight.shape[1] * groups, outputs, kernel, groups=groups, bias=bias is not None, device="meta", **settings
        )
    weights.keep(layer, "weight", weight)
    if bias is not None:
        weights.keep(layer, "bias", bias)
    return layer
