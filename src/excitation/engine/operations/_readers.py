"""The registry of readers, which convert the arguments of a torch call to an operation, and the call context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import torch

from ..._errors import UnsupportedOperationError
from .._axes import Axes, Kept, Made
from .._bounds import UNBOUNDED, Bounds
from .._layout import Layout
from .._values import Kind, Value, ValueBook
from ._families import Operation


@dataclass(slots=True)
class CallContext:
    """The context of one call, for its reader. The call has not run yet.

    Attributes:
        name: canonical name of the function, such as `conv2d`, `add` or `relu`.
        path: name of the module that makes the call.
        book: the values recorded so far.
        training: returns whether this module is in training mode.
        bounds: bounds of the result of a refused call, which can still be used as a gate.
        gate: whether the result of a refused call is a gate.
        layout: layout of the result of a refused call; `None` if the reader cannot tell.
    """

    name: str
    path: str
    book: ValueBook
    training: Callable[[], bool] = lambda: False
    bounds: Bounds = UNBOUNDED
    gate: bool = False
    layout: Layout | None = None

    @property
    def where(self) -> str:
        """Name of the call for messages: `'relu' in layer 'features.3'`."""
        return place_of(self.name, self.path)

    def carries(self, item: object) -> bool:
        """Whether an argument is a tensor that depends on the images."""
        if not isinstance(item, torch.Tensor):
            return False
        value = self.book.get(item)
        return value is not None and value.kind > Kind.CONSTANT

    def value(self, tensor: torch.Tensor) -> Value:
        """Return the value of an argument that depends on the images."""
        value = self.book.get(tensor)
        assert value is not None
        return value

    def refuse(
        self,
        reason: str,
        remedy: str = "Choose a layer above it, or replace it in the model.",
        *,
        bounds: Bounds = UNBOUNDED,
        gate: bool = False,
    ) -> NoReturn:
        """Raise the error for a call that no signal can pass.

        Args:
            reason: the reason.
            remedy: advice for the user.
            bounds: bounds of the result, which can still be used as a gate.
            gate: whether the result is a gate.
        """
        self.bounds, self.gate = bounds, gate
        raise UnsupportedOperationError(f"{self.where}: {reason} {remedy}")


def place_of(name: str, path: str) -> str:
    """Return the name of a function for messages."""
    return f"{name!r} in layer {path!r}" if path else f"{name!r} in the model's own forward"


Number = int | float

Read = tuple[Operation, tuple[torch.Tensor | Value, ...]]
"""An operation and the tensors, or their values, whose neurons it takes in, in the order of its signals."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A call that is recorded as several operations.

    Attributes:
        run: computes the result of the call with torch functions that have rules. The network still receives the
            result of the original call.
    """

    run: Callable[[], Any]


Reader = Callable[..., Read | Parts | None]
"""`reader(context, *args, **kwargs)` of the torch call; `None` if the call is no operation on neurons after all."""

READERS: dict[str, Reader] = {}


Registered = TypeVar("Registered", bound=Reader)


def reads(*names: str) -> Callable[[Registered], Registered]:
    """Register a reader for torch functions by canonical name."""

    def register(reader: Registered) -> Registered:
        for name in names:
            assert name not in READERS, f"two readers for {name}"
            READERS[name] = reader
        return reader

    return register


def pair(item: Any, count: int) -> tuple[int, ...]:
    """Convert a number or a sequence to a tuple of `count` integers."""
    if isinstance(item, int):
        return (item,) * count
    numbers = tuple(int(part) for part in item)
    return numbers * count if len(numbers) == 1 else numbers


def reduced_dims(input: torch.Tensor, dim: Any) -> tuple[int, ...]:
    """Return the nonnegative sorted dimensions of a reduction; all dimensions if none is given."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(input.dim()))
    return tuple(sorted({d % max(input.dim(), 1) for d in ([dim] if isinstance(dim, int) else dim)}))


def reduced_axes(dims: int, gone: Sequence[int], *, keepdim: bool) -> Axes:
    """Return the axes of a reduction of `dims` dimensions over `gone`. Kept axes of size one have no role."""
    places = [place for place in range(dims) if keepdim or place not in gone]
    return tuple(Made() if place in gone else Kept(place) for place in places)


def common_shape(*shapes: Sequence[int]) -> torch.Size:
    """Return the broadcast shape of these shapes."""
    return torch.Size(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]
