"""One call of an operator, and the table of operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch

from ..._errors import ExcitationError
from .._loaded import ModelError, shown

MAX_COUNT = 1 << 27
"""Maximum number of elements of one tensor per image: half a gigabyte in single precision."""

MAX_MADE = 1 << 24
"""Maximum number of elements of one tensor that a node creates from a shape."""

Function = Callable[..., Any]
"""`function(call, *inputs)`: inputs are tensors, Python numbers and lists for host inputs, or `None` if omitted.
Returns a tensor, or a tuple of tensors if the node has several outputs."""


@dataclass(frozen=True)
class Call:
    """The operator and attributes of a node.

    Attributes:
        kind: name of the operator, such as `Conv`.
        name: name of the node, else of its first output, as in the file.
        version: opset of the file.
        attributes: attributes by name, as Python values.
        outputs: number of outputs in use.
        path: path of the file, for messages.
    """

    kind: str
    name: str
    version: int
    attributes: dict[str, Any]
    outputs: int
    path: str

    @property
    def where(self) -> str:
        """The name of the node in messages. It comes from the file, so it is quoted and truncated."""
        return f"ONNX file {self.path}, {self.kind} node {shown(self.name)}"

    def get(self, name: str, default: Any) -> Any:
        """An attribute, or its default value."""
        return self.attributes.get(name, default)

    def fail(self, reason: str) -> NoReturn:
        """Raise an error that states why the node cannot be computed.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"{self.where}: {reason}")

    def room(self, shape: Sequence[int], most: int = MAX_COUNT) -> tuple[int, ...]:
        """Check a shape from the file against the limit before memory is allocated.

        Args:
            shape: the shape, with the batch axis first.
            most: maximum number of elements per image.

        Returns:
            The shape as a tuple.

        Raises:
            ModelError: a negative size, or more than `most` elements per image.
        """
        sizes = tuple(int(size) for size in shape)
        if any(size < 0 for size in sizes) or math.prod(sizes[1:]) > most or math.prod(sizes) > 1 << 40:
            self.fail(f"it asks for a tensor of shape {sizes[:16]}; at most {most} numbers an image are made.")
        return sizes


@dataclass(frozen=True)
class Operator:
    """An operator of the table.

    Attributes:
        function: the function that computes it.
        host: positions of inputs that are read as numbers (shapes, axes, limits) and cannot depend on the images.
        scalars: whether scalar constants are passed as Python numbers.
        statistics: positions of inputs that are stored statistics: buffers, not parameters.
        constants_only: if not empty, the operator is supported only for constants, computed when the file is loaded.
    """

    function: Function
    host: tuple[int, ...] = ()
    scalars: bool = False
    statistics: tuple[int, ...] = ()
    constants_only: str = ""


OPERATORS: dict[str, Operator] = {}
"""Operators by ONNX name."""


@dataclass
class _Registration:
    names: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, function: Function) -> Function:
        for name in self.names:
            assert name not in OPERATORS, f"two functions for {name}"
            OPERATORS[name] = Operator(function, **self.options)
        return function


def computes(*names: str, **options: Any) -> _Registration:
    """Register a function as the implementation of operators; `options` are fields of `Operator`."""
    return _Registration(names, options)


FAULTS = (RuntimeError, ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError)
"""Errors that PyTorch functions raise for invalid inputs."""

SENTENCES = (ExcitationError, torch.cuda.OutOfMemoryError)
"""Errors that are not converted: errors of this package, and out-of-memory errors, which callers may handle."""


def compute(call: Call, arguments: Sequence[Any]) -> Any:
    """Compute a node.

    Args:
        call: the node.
        arguments: one argument per input.

    Returns:
        A tensor, or a tuple of tensors.

    Raises:
        ModelError: the inputs do not match each other or the attributes.
    """
    try:
        return OPERATORS[call.kind].function(call, *arguments)
    except SENTENCES:
        raise
    except FAULTS as error:
        raise as_sentence(call, error) from error


def as_sentence(call: Call, error: Exception) -> ModelError:
    """Convert an error of PyTorch to one sentence that names the node."""
    return ModelError(f"{call.where} does not fit its inputs: {' '.join(str(error).split())[:300]}")


def results(made: Any) -> list[torch.Tensor]:
    """The outputs of a node as a list."""
    return list(made) if isinstance(made, tuple) else [made]


def axis_of(call: Call, x: torch.Tensor, axis: int, *, end: bool = False) -> int:
    """An axis as a non-negative index; `end` also allows the position after the last axis."""
    dims = x.dim() + (1 if end else 0)
    if not -x.dim() <= axis < max(dims, 1):
        call.fail(f"axis {axis} does not exist in its input of shape {tuple(x.shape)}.")
    return axis % x.dim() if x.dim() and axis < x.dim() else axis


def axes_of(call: Call, x: torch.Tensor, axes: Sequence[int]) -> list[int]:
    """Unique axes as non-negative indices."""
    positive = [axis_of(call, x, int(axis)) for axis in axes]
    if len(set(positive)) != len(positive):
        call.fail(f"axes {tuple(axes)[:16]} name one axis twice.")
    return positive


def spatial(call: Call, name: str, dims: int, default: int, least: int) -> tuple[int, ...]:
    """An attribute with one integer per spatial dimension."""
    values = tuple(call.get(name, (default,) * dims))
    if len(values) != dims or any(not least <= number < 1 << 31 for number in values):
        call.fail(f"{name} is {values[:16]}; {dims} whole numbers of at least {least} are expected.")
    return values


def space_of(call: Call, x: torch.Tensor, most: int = 3) -> int:
    """The number of spatial dimensions of an input."""
    if not 3 <= x.dim() <= 2 + most:
        call.fail(f"its input has shape {tuple(x.shape)}; images, channels and 1 to {most} dimensions are expected.")
    return x.dim() - 2


def padding(
    call: Call, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding before and after each spatial dimension, from `pads` and `auto_pad`."""
    dims, how = len(kernel), call.get("auto_pad", "NOTSET")
    if how == "NOTSET":
        pads = tuple(call.get("pads", (0,) * (2 * dims)))
        if len(pads) != 2 * dims or any(not 0 <= pad < 1 << 31 for pad in pads):
            call.fail(f"pads is {pads[:16]}; {2 * dims} whole numbers of at least 0 are expected.")
        return pads[:dims], pads[dims:]
    if how == "VALID":
        return (0,) * dims, (0,) * dims
    if how not in {"SAME_UPPER", "SAME_LOWER"}:
        call.fail(f"auto_pad is {shown(how)}; NOTSET, VALID, SAME_UPPER or SAME_LOWER is expected.")
    total = [
        max((-(-length // step) - 1) * step + wide * (window - 1) + 1 - length, 0)
        for length, window, step, wide in zip(size, kernel, stride, dilation, strict=True)
    ]
    less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return (less, more) if how == "SAME_UPPER" else (more, less)


def sides(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Padding in the order of `torch.nn.functional.pad`: last dimension first."""
    return [side for pair in zip(before[::-1], after[::-1], strict=True) for side in pair]
