"""Detection of a classifier's head: the chain of operations that ends in the class scores.

The network runs once under a `TorchFunctionMode` and is not modified. Later runs identify calls by name and number
("the third `linear`"). The control flow of the network must not change these numbers.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .._checks import check_model, check_size
from ..engine._functions import function
from ._loaded import ModelError

CallId = tuple[str, int]
"""Canonical name of a torch function, and its number among the calls with that name in one run."""

FLATTENING = frozenset({"flatten", "reshape", "view", "squeeze"})
PER_NEURON = frozenset(
    {"relu", "relu6", "dropout", "feature_dropout", "sigmoid", "tanh", "elu", "batch_norm", "hardswish", "silu", "gelu"}
)
OVER_CLASSES = frozenset({"softmax", "log_softmax"})
POOLING = frozenset({"adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d", "mean", "amax"})


@dataclass(frozen=True, eq=False)
class Call:
    """One torch call in the forward pass of a network.

    Attributes:
        name: canonical name.
        number: number among the calls with that name.
        input: the first tensor argument.
        arguments: the other positional arguments.
        options: the keyword arguments.
        result: the resulting tensor.
        window: for a linear layer, height and width of the map that was flattened before it.
        uses: number of calls that use the result.
    """

    name: str
    number: int
    input: torch.Tensor
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    result: torch.Tensor

    window: tuple[int, int] = (1, 1)
    uses: int = 1

    @property
    def key(self) -> CallId:
        """The name and number that identify the call in other runs."""
        return self.name, self.number


class _Probe(TorchFunctionMode):
    """Records every call that computes one tensor from a first tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._counts: Counter[str] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = dict(kwargs or {})
        if kwargs.get("inplace"):
            kwargs["inplace"] = False  # an in-place call returns its input and would not count as a step
        result = function(func).twin(*args, **kwargs)
        first = args[0] if args else kwargs.get("input")
        name = function(func).name
        # A call that returns its input, such as dropout in evaluation mode, is not a step of the chain.
        if isinstance(first, torch.Tensor) and isinstance(result, torch.Tensor) and result is not first:
            self.calls.append(Call(name, self._counts[name], first, args[1:], kwargs, result))
        self._counts[name] += 1
        return result


@dataclass(frozen=True)
class Weighted:
    """The replacement of a call with weights. It receives the current weights, which may have changed since the probe.

    Attributes:
        compute: function of the call's first tensor, its weight and its bias.
    """

    compute: Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


Replacement = Callable[[torch.Tensor], torch.Tensor] | Weighted
"""Function that replaces a call; its argument is the first tensor of the call."""


def parameters_of(arguments: Sequence[Any], options: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weight and bias from the arguments of a linear or convolution call."""
    given = dict(zip(("weight", "bias"), arguments, strict=False)) | dict(options)
    return given["weight"], given.get("bias")


class Replacing(TorchFunctionMode):
    """Runs a network with some calls replaced.

    Args:
        replaced: replacements by call.
    """

    def __init__(self, replaced: Mapping[CallId, Replacement]) -> None:
        super().__init__()
        self._replaced = replaced
        self._counts: Counter[str] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = dict(kwargs or {})
        name = function(func).name
        key = (name, self._counts[name])
        self._counts[name] += 1
        if key in self._replaced:
            first = args[0] if args else kwargs["input"]
            stand_in = self._replaced[key]
            if isinstance(stand_in, Weighted):
                return stand_in.compute(first, *parameters_of(args[1:], kwargs))
            return stand_in(first)
        return func(*args, **kwargs)


def find_head(model: torch.nn.Module, size: tuple[int, int], allowed: Iterable[str]) -> list[Call]:
    """Find the chain of calls that leads to the class scores.

    Args:
        model: in evaluation mode; takes images with three channels and returns one tensor.
        size: `(height, width)` of a valid input.
        allowed: names of calls that can belong to a head.

    Returns:
        The calls from the scores down to the first call that is not allowed, inclusive.

    Raises:
        ExcitationError: `model` is not a module, or `size` is invalid.
        ModelError: the model does not run at that size, or returns another type.
    """
    check_model(model)
    size = check_size("size", size)  # type: ignore[assignment]
    example = next(model.parameters(), torch.zeros(()))
    images = torch.zeros(1, 3, *size, dtype=example.dtype, device=example.device)
    probe = _Probe()
    try:
        with torch.no_grad(), probe:
            scores = model(images)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"the network does not take an image of {size[0]} x {size[1]}: {' '.join(str(error).split())[:200]}"
        ) from error
    if not isinstance(scores, torch.Tensor) or scores.dim() not in {2, 4}:
        raise ModelError("the network must return one tensor of class scores; wrap it so that it does.")
    made = {id(call.result): call for call in probe.calls}
    names = frozenset(allowed)
    head: list[Call] = []
    current = made.get(id(scores))
    while current is not None:
        head.append(current)
        if current.name not in names:
            break
        current = made.get(id(current.input))
    taken = Counter(
        id(item)
        for call in probe.calls
        for item in (call.input, *call.arguments, *call.options.values())
        if isinstance(item, torch.Tensor)
    )
    return _with_windows([dataclasses.replace(call, uses=taken[id(call.result)]) for call in head])


def _with_windows(head: Sequence[Call]) -> list[Call]:
    window, calls = (1, 1), []
    for call in reversed(head):
        if call.name in FLATTENING and call.input.dim() == 4:
            window = spatial(call.input.shape)
        calls.append(dataclasses.replace(call, window=window) if call.name == "linear" else call)
        if call.name == "linear":
            window = (1, 1)
    return calls[::-1]


def spatial(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of an image tensor; (1, 1) for a flat tensor."""
    return (shape[-2], shape[-1]) if len(shape) == 4 else (1, 1)
