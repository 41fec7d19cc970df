"""Values: the data that the record stores about the tensors of the forward pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import torch

from .._errors import UnsupportedOperationError
from ._bounds import NONNEGATIVE, UNBOUNDED, Bounds, Limit
from ._grid import Grid, grid_of
from ._layout import Layout

if TYPE_CHECKING:
    from ._record import Entry


class Kind(IntEnum):
    """The origin of a tensor's information. The result of an operation has the largest kind of its inputs."""

    CONSTANT = 0
    """A parameter, a buffer, or made from such by recorded operations."""
    OUTSIDE = 1
    """From the images, but not through a chosen layer."""
    TRACKED = 2
    """Descends from a chosen layer."""


@dataclass(frozen=True, slots=True, eq=False)
class Formula:
    """An element-wise call, with values in place of the tensors that depend on the images.

    Attributes:
        call: the function.
        args: positional arguments.
        kwargs: keyword arguments.
        inputs: the values among the arguments.
        source: the latest value that all of them are functions of.
    """

    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[Value, ...]
    source: Value


@dataclass(slots=True, eq=False)
class Value:
    """A tensor of the forward pass, without its numbers.

    Attributes:
        serial: number of the value, unique in the record.
        kind: origin of the information.
        shape: shape of the tensor.
        bounds: interval that contains the activations.
        valid: mask, false where the tensor contains padding instead of neurons; `None` if all entries are neurons.
        layout: roles of the axes; `None` for constants and for some results of operations without a rule.
        weighted: bit set of the weighted operations below it.
        address: address `module.path:operation` of the operation that computed it.
        used: whether it is an operand of an operation.
        maker: family of the operation that computed it.
        gate: whether it is a gate, which controls how much of another activation passes: a sigmoid, a softmax, any
            activation between zero and one, a mask, or the inverse of a statistic. It remains a gate after averaging,
            rearranging, or arithmetic with constants, as long as its sign cannot change.
        parent: the value that it is an element-wise function of; `None` if it depends on several neurons.
        sign: sign of this function. 1 if the results have the sign of the parent's activations, -1 for the opposite
            sign, 0 if neither is known. A tensor of constants gives the sign by its signs.
        multiplied: axes along which its operation multiplied by a constant with more than one position. A sum over
            such an axis has learned weights.
        proportional: the value that this value is a linear function of, through factors, arrangements and averages, if
            it is such a function of one value; else `None`.
        averaged: whether this function averages or sums over neurons.
        centre: the value that one call took the mean of, over whole axes that are kept with size one; else `None`.
        over: the axes of this mean.
        formula: how to compute this value from the one that it is an element-wise function of; `None` if unknown.
        problem: the error for an operation without a rule below it, which no signal can pass. Gates can have a problem,
            because signals never reach them.
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
    proportional: Value | None = None
    averaged: bool = False
    centre: Value | None = None
    over: tuple[int, ...] = ()
    formula: Formula | None = None
    problem: UnsupportedOperationError | None = None

    @property
    def lower(self) -> Limit:
        """The largest known lower limit of the activations."""
        return self.bounds.lower

    @property
    def nonnegative(self) -> bool:
        """Whether all activations are zero or more."""
        return self.bounds.nonnegative

    def grid(self) -> Grid | str:
        """How the tensor is converted to maps, or the reason why it has none."""
        return grid_of(self.layout, self.shape)

    @property
    def has_other_tokens(self) -> bool:
        """Whether some tokens are no patches of the image, such as class and register tokens."""
        grid = self.grid()
        return isinstance(grid, Grid) and grid.patches is not None

    @property
    def stride(self) -> tuple[float, ...] | None:
        """Number of image pixels per position of each spatial axis; `None` without spatial axes of known scale."""
        grid = self.grid()
        if isinstance(grid, str):
            return None
        known = [stride for stride in grid.strides if stride is not None]
        return tuple(known) if len(known) == len(grid.strides) else None


def shared_source(a: Value, b: Value) -> tuple[Value, int, int] | None:
    """Return the latest value that both values are element-wise functions of, and the signs of the two functions.

    Args:
        a: a value.
        b: another value, or the same one.

    Returns:
        The common value and, for each of the two values, 1 if it has the sign of the common value, -1 for the opposite
        sign, 0 if neither is known. `None` if there is no common value.
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
    """Whether activations can be counted from a value other than zero (Eq. 5)."""
    bounds = value.bounds
    if bounds is UNBOUNDED or bounds is NONNEGATIVE:
        return False
    if bounds.uniform:
        return bool(bounds.origin != 0)
    return isinstance(bounds.lower, torch.Tensor) or bounds.lower != 0 or bounds.silent is not None


class ValueBook:
    """Maps tensors to values by identity, without keeping the tensors alive.

    Attributes:
        made: the recorded operations, in the order of execution.

    A weak reference to each tensor detects a new tensor with the `id` of a deleted one. A plain dictionary with this
    check takes a tenth of the time of `WeakIdKeyDictionary`.
    """

    def __init__(self) -> None:
        self.entries: dict[int, tuple[weakref.ref[torch.Tensor], Value, int]] = {}
        self.made: Sequence[Entry] = ()
        self._count = 0

    def get(self, tensor: torch.Tensor) -> Value | None:
        """Return the value of this tensor object, or `None`."""
        entry = self.entries.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def add(self, tensor: torch.Tensor, kind: Kind, **known: Any) -> Value:
        """Enter a tensor. A previous value of the tensor is replaced."""
        value = Value(self._count, kind, tensor.shape, **known)
        self._count += 1
        self.share(tensor, value)
        return value

    def share(self, tensor: torch.Tensor, value: Value) -> None:
        """Give a tensor the value of another tensor with the same numbers."""
        self.entries[id(tensor)] = (weakref.ref(tensor), value, version_of(tensor))

    def rewritten(self) -> Value | None:
        """Return a value whose tensor still exists and was written to after it was entered, or `None`."""
        for reference, value, version in self.entries.values():
            tensor = reference()
            if tensor is not None and was_written(tensor, version):
                return value
        return None

    def refresh(self) -> None:
        """Store the current versions of all tensors."""
        for reference, value, _ in list(self.entries.values()):
            tensor = reference()
            if tensor is not None:
                self.share(tensor, value)


def version_of(tensor: torch.Tensor) -> int:
    """Return the number of writes to a tensor and its views; -1 in inference mode, which does not count writes."""
    try:
        return tensor._version
    except RuntimeError:  # a call of `is_inference` first would take three times as long
        return -1


def was_written(tensor: torch.Tensor, version: int) -> bool:
    """Whether a tensor was written to since `version_of` returned `version`. False if this is unknown."""
    return version >= 0 and tensor._version != version


def mapped_tensors(item: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Apply a function to all tensors in nested tuples, lists and dictionaries. Lists and dictionaries are copied.

    A tuple without changes is returned unchanged, because its type can lack a constructor from parts (`torch.Size`).
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
    """Yield the tensors in nested tuples, lists and dictionaries, in order."""
    return iter(tensor_list(item))


def tensor_list(item: object) -> list[torch.Tensor]:
    """Return the tensors of `tensors_in` as a list. This is faster than the iterator."""
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
