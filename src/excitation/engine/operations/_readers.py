"""How the arguments of a torch call become an operation: the registry of readers and what they can ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import torch

from ..._errors import UnsupportedOperationError
from .._axes import Axes, Kept, Made
from .._bounds import UNBOUNDED, Bounds
from .._values import Kind, Value, ValueBook
from ._families import Operation


@dataclass(slots=True)
class CallContext:
    """One call as a reader sees it, before it has run.

    Attributes:
        name: canonical name of the function: `conv2d`, `add`, `relu`.
        path: the module it is called in.
        book: the values known so far.
        training: whether the module it is called in is in training mode.
        bounds: of what a refused call makes: it can still steer.
        gate: whether that is a gate.
    """

    name: str
    path: str
    book: ValueBook
    training: Callable[[], bool] = lambda: False
    bounds: Bounds = UNBOUNDED
    gate: bool = False

    @property
    def where(self) -> str:
        """What to call it in messages: `'relu' in layer 'features.3'`."""
        return place_of(self.name, self.path)

    def carries(self, item: object) -> bool:
        """Whether an argument is a tensor that depends on the images."""
        if not isinstance(item, torch.Tensor):
            return False
        value = self.book.get(item)
        return value is not None and value.kind > Kind.CONSTANT

    def value(self, tensor: torch.Tensor) -> Value:
        """What is known about an argument that carries information."""
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
        """Say that no signal can pass this call.

        Args:
            reason: why.
            remedy: what to do about it.
            bounds: of its result, which can still decide how much of something else passes.
            gate: whether that is a gate.
        """
        self.bounds, self.gate = bounds, gate
        raise UnsupportedOperationError(f"{self.where}: {reason} {remedy}")


def place_of(name: str, path: str) -> str:
    """What to call a function in messages."""
    return f"{name!r} in layer {path!r}" if path else f"{name!r} in the model's own forward"


Number = int | float

Read = tuple[Operation, tuple[torch.Tensor, ...]]
"""An operation and the tensors whose neurons it takes in, in the order of its signals."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A call that is recorded as the operations it is made of.

    Attributes:
        run: does what the call does, by torch functions that have rules. The network gets the call's own result.
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
    """A number, or a sequence, as `count` integers."""
    if isinstance(item, int):
        return (item,) * count
    numbers = tuple(int(part) for part in item)
    return numbers * count if len(numbers) == 1 else numbers


def reduced_dims(input: torch.Tensor, dim: Any) -> tuple[int, ...]:
    """The dimensions that a reduction is over, in order, as non-negative numbers; all where none is given."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(input.dim()))
    return tuple(sorted({d % max(input.dim(), 1) for d in ([dim] if isinstance(dim, int) else dim)}))


def reduced_axes(dims: int, gone: Sequence[int], *, keepdim: bool) -> Axes:
    """The axes that a reduction leaves of so many; those it keeps with one position have no meaning."""
    places = [place for place in range(dims) if keepdim or place not in gone]
    return tuple(Made() if place in gone else Kept(place) for place in places)


def common_shape(*shapes: Sequence[int]) -> torch.Size:
    """The shape to which PyTorch repeats tensors of these shapes."""
    return torch.Size(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]
