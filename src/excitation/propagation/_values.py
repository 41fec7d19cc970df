"""What the record knows about one tensor of the forward pass."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch

from .._errors import UnsupportedOperationError
from ._grid import Grid, grid_of
from ._layout import Layout


class Kind(IntEnum):
    """Where a tensor's information comes from; an operation's result has the largest kind of its inputs."""

    CONSTANT = 0
    """A parameter, a buffer, or made from such by recorded operations."""
    OUTSIDE = 1
    """From the images, but not through a chosen layer."""
    TRACKED = 2
    """Descends from a chosen layer."""


Bound = float | torch.Tensor
"""A lower bound on activations: one number, or one per neuron (broadcastable); minus infinity where none is known."""

UNBOUNDED = -math.inf


@dataclass(slots=True, eq=False)
class Value:
    """A tensor of the forward pass, without its numbers.

    Attributes:
        serial: unique in the record.
        kind: where its information comes from.
        shape: of the tensor.
        lower: largest known lower bound of its activations.
        valid: false where the tensor holds padding, which is no neuron; `None` if all are neurons.
        layout: what its axes are; `None` for constants, and where an operation without a rule made it.
        weighted: bit set of the weighted operations it went through.
        address: `module.path:operation` that made it.
        used: whether an operation has taken it in.
        gate: whether it came out of a sigmoid or softmax and was only rearranged or averaged since.
        multiplied: axes along which the operation that made it multiplied by a constant of several positions. A sum
            over such an axis has learned weights.
        problem: why no signal can pass below it: an operation without a rule lies there. Gates may have one, since
            signals never reach them.
    """

    serial: int
    kind: Kind
    shape: torch.Size
    lower: Bound = UNBOUNDED
    valid: torch.Tensor | None = None
    layout: Layout | None = None
    weighted: int = 0
    address: str = ""
    used: bool = False
    gate: bool = False
    multiplied: frozenset[int] = frozenset()
    problem: UnsupportedOperationError | None = None

    @property
    def nonnegative(self) -> bool:
        """Whether no activation can be below zero."""
        return isinstance(self.lower, float) and self.lower >= 0

    def grid(self) -> Grid | str:
        """How it becomes maps, or why it holds none."""
        return grid_of(self.layout, self.shape)

    @property
    def stride(self) -> tuple[float, ...] | None:
        """Image pixels per position of each axis of space; `None` without space of known scale."""
        grid = self.grid()
        if isinstance(grid, str):
            return None
        known = [stride for stride in grid.strides if stride is not None]
        return tuple(known) if len(known) == len(grid.strides) else None


class ValueBook:
    """Finds the value of a tensor by identity, without keeping the tensor alive.

    A weak reference beside each identity guards against a new tensor at a dead one's address; a plain dictionary
    with this guard costs a tenth of `WeakIdKeyDictionary`.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[torch.Tensor], Value]] = {}
        self._count = 0

    def get(self, tensor: torch.Tensor) -> Value | None:
        """The value of this very tensor object, if it has one."""
        entry = self._entries.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def add(self, tensor: torch.Tensor, kind: Kind, **known: Any) -> Value:
        """Enter a tensor, replacing what was known about it."""
        value = Value(self._count, kind, tensor.shape, **known)
        self._count += 1
        self.share(tensor, value)
        return value

    def share(self, tensor: torch.Tensor, value: Value) -> None:
        """Give a tensor the value of another with the same numbers."""
        self._entries[id(tensor)] = (weakref.ref(tensor), value)


def tensors_in(item: object) -> Iterator[torch.Tensor]:
    """The tensors in nested tuples, lists and dictionaries, in order."""
    return iter(tensor_list(item))


def tensor_list(item: object) -> list[torch.Tensor]:
    """The same as a list, which is quicker."""
    if isinstance(item, torch.Tensor):
        return [item]
    found: list[torch.Tensor] = []
    if isinstance(item, (tuple, list, dict)):
        _collect(item, found)
    return found


def _collect(items: tuple[Any, ...] | list[Any] | dict[Any, Any], found: list[torch.Tensor]) -> None:
    for part in items.values() if isinstance(items, dict) else items:
        if isinstance(part, torch.Tensor):
            found.append(part)
        elif isinstance(part, (tuple, list, dict)):
            _collect(part, found)
