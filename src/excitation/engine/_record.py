"""The record of one forward pass: the operations in order, their values, and the values of the layers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from ._values import Value
from .operations import Operation


@dataclass(eq=False)
class Opaque(Operation):
    """An operation without a rule. Paths pass through it, but signals do not."""


@dataclass(slots=True, eq=False)
class Entry:
    """One operation of the record.

    Attributes:
        name: canonical name of the torch function.
        address: unique address `module.path:name`, with `#2` for the second operation of this name in the module.
        operation: the operation and its data.
        inputs: values of its operands, in the order of its signals.
        outputs: values of its results that contain neurons.
        bit: the bit of a weighted operation in the bit sets `Value.weighted` of the values above it, else 0.
        carriers: the inputs that can receive a signal: all inputs except gates.
        above: whether no weighted operation lies between this operation and the top.
        fold: for a sum or average, the linear compositions among its inputs; `None` if there are none.
        silent: for a sum or average, the compositions among its inputs that are used where all inputs are silent;
            `None` if no input is a composition.
        wakes: whether silent results can receive a signal even if weighted operations give silent neurons none. This is
            the case if an operation above adds a constant to the results.
        alive: for the operation that computes rectified class scores, a mask of the scores that are not silent.
    """

    name: str
    address: str
    operation: Operation
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    bit: int = 0
    carriers: tuple[Value, ...] = field(init=False)
    above: bool = field(init=False, default=False)
    fold: Fold | None = field(init=False, default=None)
    silent: tuple[Composition | None, ...] | None = field(init=False, default=None)
    wakes: bool = field(init=False, default=False)
    alive: torch.Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        silent = self.operation.silent
        self.carriers = (
            tuple(value for place, value in enumerate(self.inputs) if place not in silent) if silent else self.inputs
        )


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """A value that is a linear composition of other neurons or of class scores, with fixed weights.

    Attributes:
        entry: the operation that computed the value.
        output: index of the value among the results of the operation.
        parts: one item per input of the operation: its composition, or `None` for neurons that are not decomposed.
        scores: whether the composition contains outputs of a last weighted operation.
    """

    entry: Entry
    output: int
    parts: tuple[Composition | None, ...]
    scores: bool


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """The compositions among the inputs of a sum or average.

    Attributes:
        parts: one item per input: its composition, or `None` for neurons that are not decomposed.
        scores: whether the compositions contain outputs of a last weighted operation.
    """

    parts: tuple[Composition | None, ...]
    scores: bool


@dataclass(slots=True, eq=False)
class Place:
    """The output of a layer in the record.

    Attributes:
        name: name for the argument `layer=`.
        value: value of the output; `None` if there is none.
        kind: `"module"` or `"operation"`.
        problem: the reason why it cannot have a map, or empty.
    """

    name: str
    value: Value | None
    kind: str
    problem: str = ""


@dataclass(eq=False)
class Record:
    """The operations of one forward pass, between the chosen layers and the top.

    Attributes:
        entries: operations in the order of execution. Only operations that depend on a root are included.
        places: layers and operations that ran, by name, in the order in which they finished.
        images: value of the network's input, or of the first of several inputs.
        inputs: values of all inputs.
        top: value of the class scores. It is set when the scores have been selected from the network's output.
        scores: tensor of the class scores.
    """

    entries: list[Entry] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    images: Value | None = None
    inputs: list[Value] = field(default_factory=list)
    top: Value | None = None
    scores: torch.Tensor | None = None

    def largest(self, layers: Iterable[Value]) -> int:
        """Return the number of entries of the largest activation between some layers (inclusive) and the top."""
        layers = list(layers)
        above = self.descendants(layers)
        outputs = [value for entry in self.entries for value in entry.outputs if value.serial in above]
        return max(math.prod(value.shape) for value in [*layers, *outputs])

    def descendants(self, roots: Iterable[Value]) -> set[int]:
        """Return the serials of all values that depend on the roots, including the roots."""
        reached = {value.serial for value in roots}
        for entry in self.entries:
            for value in entry.carriers:
                if value.serial in reached:
                    reached.update([value.serial for value in entry.outputs])
                    break
        return reached

    def ancestors(self, top: Value) -> set[int]:
        """Return the serials of all values that the top depends on, including the top."""
        reached = {top.serial}
        for entry in reversed(self.entries):
            if any(value.serial in reached for value in entry.outputs):
                reached.update(value.serial for value in entry.carriers)
        return reached

    def cuts(self, roots: Iterable[Value], top: Value) -> set[int]:
        """Return the serials of the values that every path from the roots to the top contains, by exact path counts."""
        begin = {value.serial for value in roots}
        down = dict.fromkeys(begin, 1)
        for entry in self.entries:
            paths = sum(down.get(value.serial, 0) for value in entry.carriers)
            for value in entry.outputs:
                if value.serial not in begin:
                    down[value.serial] = down.get(value.serial, 0) + paths
        up = {top.serial: 1}
        for entry in reversed(self.entries):
            paths = sum(up.get(value.serial, 0) for value in entry.outputs)
            for value in entry.carriers:
                up[value.serial] = up.get(value.serial, 0) + paths
        whole = down.get(top.serial, 0)
        return {serial for serial, count in down.items() if whole and count * up.get(serial, 0) == whole}
