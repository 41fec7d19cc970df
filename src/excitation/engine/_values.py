"""What the record knows about one tensor of the forward pass."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch

from .._errors import UnsupportedOperationError
from ._bounds import NONNEGATIVE, UNBOUNDED, Bounds, Limit
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


@dataclass(slots=True, eq=False)
class Value:
    """A tensor of the forward pass, without its numbers.

    Attributes:
        serial: unique in the record.
        kind: where its information comes from.
        shape: of the tensor.
        bounds: the interval its activations lie in.
        valid: false where the tensor holds padding, which is no neuron; `None` if all are neurons.
        layout: what its axes are; `None` for constants, and where an operation without a rule made it.
        weighted: bit set of the weighted operations it went through.
        address: `module.path:operation` that made it.
        used: whether an operation has taken it in.
        maker: the family of the operation that made it.
        gate: whether it decides how much of something passes: a sigmoid, a softmax, anything between zero and one, a
            mask, the inverse of a statistic; also after averaging, rearranging, or arithmetic with constants, as long
            as it cannot change its sign.
        parent: the value it is a function of, neuron by neuron; `None` if of several neurons.
        sign: of that function: 1 if its results have the sign of the parent's activations, -1 if the opposite one, 0 if
            neither is known; or constants whose signs say so.
        multiplied: axes along which the operation that made it multiplied by a constant of several positions. A sum
            over such an axis has learned weights.
        centre: the value whose mean it is, over whole axes that are kept with one position; `None` for all else.
        over: these axes.
        problem: why no signal can pass below it: an operation without a rule lies there. Gates may have one, since
            signals never reach them.
    """

    serial: int
    kind: Kind
    shape: torch.Size
    bounds: Bounds = UNBOUNDED
    valid: torch.Tensor | None = None
    layout: Layout | None = None
    weighted: int = 0
    address: str = ""
    used: bool = False
    maker: type | None = None
    gate: bool = False
    multiplied: frozenset[int] = frozenset()
    parent: Value | None = None
    sign: int | torch.Tensor = 0
    centre: Value | None = None
    over: tuple[int, ...] = ()
    problem: UnsupportedOperationError | None = None

    @property
    def lower(self) -> Limit:
        """Largest known lower limit of its activations."""
        return self.bounds.lower

    @property
    def nonnegative(self) -> bool:
        """Whether no activation can be below zero."""
        return self.bounds.nonnegative

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


def shared_source(a: Value, b: Value) -> tuple[Value, int, int] | None:
    """The latest value of which both are functions, neuron by neuron, and the signs of these two functions.

    Args:
        a: one value.
        b: another; it may be the same.

    Returns:
        The value and, for each of the two, 1 if it has that value's sign, -1 if the opposite one, 0 if neither is
        known; `None` if there is no such value.
    """
    signs: dict[int, int] = {}
    value: Value | None = a
    sign = 1
    while value is not None:
        signs[value.serial] = sign
        sign *= _sign(value.sign) if sign else 0
        value = value.parent
    value, sign = b, 1
    while value is not None:
        if value.serial in signs:
            return value, signs[value.serial], sign
        sign *= _sign(value.sign) if sign else 0
        value = value.parent
    return None


def _sign(sign: int | torch.Tensor) -> int:
    if isinstance(sign, torch.Tensor):
        if sign.dtype == torch.bool or bool((sign >= 0).all()):
            return 1
        return -1 if bool((sign <= 0).all()) else 0
    return sign


def counted_from_a_bound(value: Value) -> bool:
    """Whether neurons may be told by their distance from a bound other than zero (Eq. 5)."""
    bounds = value.bounds
    if bounds is UNBOUNDED or bounds is NONNEGATIVE:
        return False
    if not isinstance(bounds.lower, torch.Tensor) and bounds.lower == 0 and bounds.above is False:
        return False
    return any(isinstance(limit, torch.Tensor) or (math.isfinite(limit) and limit != 0) for limit in bounds)


class ValueBook:
    """Finds the value of a tensor by identity, without keeping the tensor alive.

    A weak reference beside each identity guards against a new tensor at a dead one's address; a plain dictionary
    with this guard costs a tenth of `WeakIdKeyDictionary`.
    """

    def __init__(self) -> None:
        self.entries: dict[int, tuple[weakref.ref[torch.Tensor], Value, int]] = {}
        self._count = 0

    def get(self, tensor: torch.Tensor) -> Value | None:
        """The value of this very tensor object, if it has one."""
        entry = self.entries.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def add(self, tensor: torch.Tensor, kind: Kind, **known: Any) -> Value:
        """Enter a tensor, replacing what was known about it."""
        value = Value(self._count, kind, tensor.shape, **known)
        self._count += 1
        self.share(tensor, value)
        return value

    def share(self, tensor: torch.Tensor, value: Value) -> None:
        """Give a tensor the value of another with the same numbers."""
        self.entries[id(tensor)] = (weakref.ref(tensor), value, version_of(tensor))

    def rewritten(self) -> Value | None:
        """A value whose tensor lives and was written into since it was entered."""
        for reference, value, version in self.entries.values():
            tensor = reference()
            if tensor is not None and was_written(tensor, version):
                return value
        return None

    def refresh(self) -> None:
        """Take all tensors as they are now."""
        for reference, value, _ in list(self.entries.values()):
            tensor = reference()
            if tensor is not None:
                self.share(tensor, value)


def version_of(tensor: torch.Tensor) -> int:
    """How often a tensor or a view of it was written into; -1 in inference mode, where that is not counted."""
    try:
        return tensor._version
    except RuntimeError:  # asking `is_inference` first takes three times as long, for every tensor of a pass
        return -1


def was_written(tensor: torch.Tensor, version: int) -> bool:
    """Whether a tensor was written into since `version_of` it was `version`; unknown counts as no."""
    return version >= 0 and tensor._version != version


def mapped_tensors(item: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same nested tuples, lists and dictionaries with other tensors; lists and dictionaries are new ones.

    A tuple in which nothing changes is returned itself: it can be of a type that cannot be made of parts, as sizes.
    """
    if isinstance(item, torch.Tensor):
        return change(item)
    if isinstance(item, tuple):
        parts = [mapped_tensors(part, change) for part in item]
        if all(new is old for new, old in zip(parts, item, strict=True)):
            return item
        return type(item)(*parts) if hasattr(item, "_fields") else tuple(parts)
    if isinstance(item, list):
        return [mapped_tensors(part, change) for part in item]
    if type(item) is dict:
        return {key: mapped_tensors(part, change) for key, part in item.items()}
    return item


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
