"""The record of one forward pass: operations in order, their values, the layers' places among them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from ._values import Value
from .operations import Operation


@dataclass(eq=False)
class Opaque(Operation):
    """An operation without a rule: paths lead through it, but no signal."""


@dataclass(slots=True, eq=False)
class Entry:
    """One operation of the record.

    Attributes:
        name: canonical name of the torch function.
        address: `module.path:name`, with `#2` for the second of its kind there; unique.
        operation: what was computed.
        inputs: values of its operands, in the order of its signals.
        outputs: values of its results that carry neurons.
        bit: of a weighted operation in the bit sets of values above it, else 0.
        carriers: the inputs a signal can go to: all but gates.
        above: whether no weighted operation lies between it and the top.
        fold: of a sum or average, which of its inputs are linear compositions; `None` if none is.
        silent: of a sum or average, what its inputs are made of where it matters: where all of them are silent;
            `None` if none is a composition.
        wakes: whether a signal can stand on its results where these are silent, if weighted operations give silent
            neurons none: something above adds a constant to them.
        alive: of the operation that makes the class scores, where these are rectified: which of them are not silent.
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
    """A value that is a linear composition with fixed weights: of other neurons, or of class scores.

    Attributes:
        entry: the operation that made it.
        output: which of its results it is.
        parts: the compositions among the operation's inputs, `None` for neurons that count as they stand.
        scores: whether outputs of a last weighted operation take part.
    """

    entry: Entry
    output: int
    parts: tuple[Composition | None, ...]
    scores: bool


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """The compositions among the inputs of a sum or average.

    Attributes:
        parts: one for each input, `None` for neurons that count as they stand.
        scores: whether outputs of a last weighted operation take part.
    """

    parts: tuple[Composition | None, ...]
    scores: bool


@dataclass(slots=True, eq=False)
class Place:
    """Where a layer's output is found.

    Attributes:
        name: as `layer=` takes it.
        value: the output.
        kind: `"module"` or `"operation"`.
        problem: why it cannot hold a map, or empty.
    """

    name: str
    value: Value | None
    kind: str
    problem: str = ""


@dataclass(eq=False)
class Record:
    """What one forward pass did, between the chosen layers and the top.

    Attributes:
        entries: operations in the order they ran; only those that descend from a root.
        places: layers and operations that ran, by name, in the order they finished.
        images: the value of the network's input, the first if there are several.
        inputs: the values of all inputs.
        top: the value of the class scores; set once they have been picked from what the network returned.
        scores: the class scores themselves.
    """

    entries: list[Entry] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    images: Value | None = None
    inputs: list[Value] = field(default_factory=list)
    top: Value | None = None
    scores: torch.Tensor | None = None

    def largest(self, layers: Iterable[Value]) -> int:
        """Entries of the largest activation between some layers and the top, the layers included."""
        layers = list(layers)
        above = self.descendants(layers)
        outputs = [value for entry in self.entries for value in entry.outputs if value.serial in above]
        return max(math.prod(value.shape) for value in [*layers, *outputs])

    def descendants(self, roots: Iterable[Value]) -> set[int]:
        """Serials of all values that descend from the roots, the roots included."""
        reached = {value.serial for value in roots}
        for entry in self.entries:
            for value in entry.carriers:
                if value.serial in reached:
                    reached.update([value.serial for value in entry.outputs])
                    break
        return reached

    def ancestors(self, top: Value) -> set[int]:
        """Serials of all values the top descends from, the top included."""
        reached = {top.serial}
        for entry in reversed(self.entries):
            if any(value.serial in reached for value in entry.outputs):
                reached.update(value.serial for value in entry.carriers)
        return reached

    def cuts(self, roots: Iterable[Value], top: Value) -> set[int]:
        """Serials of the values every path from the roots to the top goes through, found by counting paths exactly."""
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
