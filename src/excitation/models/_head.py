"""Finding a classifier's head: the chain of operations, one into the next, that ends in the class scores.

The network is run once under a `TorchFunctionMode`; nothing in it is changed. Calls are known again in later runs by
their name and number ("the third `linear`"), which the network's own control flow must not change.
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
"""Canonical name of a torch function, and its number among the calls of that name in one run."""

FLATTENING = frozenset({"flatten", "reshape", "view", "squeeze"})
PER_NEURON = frozenset(
    {"relu", "relu6", "dropout", "feature_dropout", "sigmoid", "tanh", "elu", "batch_norm", "hardswish", "silu", "gelu"}
)
OVER_CLASSES = frozenset({"softmax", "log_softmax"})
POOLING = frozenset({"adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d", "mean", "amax"})


@dataclass(frozen=True, eq=False)
class Call:
    """One torch call of the network's forward pass.

    Attributes:
        name: canonical.
        number: among the calls of that name.
        input: the first tensor it takes.
        arguments: everything else it was called with, by place.
        options: the same by name.
        result: the tensor it made.
        window: of a linear layer: height and width of the map that was flattened for it.
        uses: how many calls take its result.
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
        """How it is known again."""
        return self.name, self.number


class _Probe(TorchFunctionMode):
    """Writes down every call that makes one tensor from a first one."""

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
            kwargs["inplace"] = False  # else it would give its input back, and be no step
        result = function(func).twin(*args, **kwargs)
        first = args[0] if args else kwargs.get("input")
        name = function(func).name
        # What gives its input back, as dropout in evaluation mode, is no step of a chain.
        if isinstance(first, torch.Tensor) and isinstance(result, torch.Tensor) and result is not first:
            self.calls.append(Call(name, self._counts[name], first, args[1:], kwargs, result))
        self._counts[name] += 1
        return result


@dataclass(frozen=True)
class Weighted:
    """What stands for a call with weights; it is given those of the moment, which may have been exchanged since.

    Attributes:
        compute: from the call's first tensor, its weight and its bias.
    """

    compute: Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


Replacement = Callable[[torch.Tensor], torch.Tensor] | Weighted
"""What is called in place of a call, with its first tensor."""


def parameters_of(arguments: Sequence[Any], options: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weight and bias among what a linear or convolutional call was given beside its input."""
    given = dict(zip(("weight", "bias"), arguments, strict=False)) | dict(options)
    return given["weight"], given.get("bias")


class Replacing(TorchFunctionMode):
    """Runs a network with some of its calls replaced.

    Args:
        replaced: by call.
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
    """The calls that lead, one into the next, to the class scores.

    Args:
        model: in evaluation mode; takes images of three channels and returns one tensor.
        size: `(height, width)` of an input it was made for.
        allowed: names of the calls that may belong to a head.

    Returns:
        From the scores down to the first call that is not allowed, which is included.

    Raises:
        ExcitationError: it is no module, or the size is none.
        ModelError: it does not run at that size, or returns something else.
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
    window, found = (1, 1), []
    for call in reversed(head):
        if call.name in FLATTENING and call.input.dim() == 4:
            window = spatial(call.input.shape)
        found.append(dataclasses.replace(call, window=window) if call.name == "linear" else call)
        if call.name == "linear":
            window = (1, 1)
    return found[::-1]


def spatial(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of an image tensor; 1 x 1 of a flat one."""
    return (shape[-2], shape[-1]) if len(shape) == 4 else (1, 1)
