"""What a torch function is called and how the recording treats it, decided once per function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .operations import READERS, Reader

DUNDERS = {
    "__radd__": "add",
    "__rsub__": "rsub",
    "__rmul__": "mul",
    "__truediv__": "div",
    "__rtruediv__": "rdiv",
    "__rdiv__": "rdiv",
    "__rmatmul__": "rmatmul",
}
IN_PLACE_DUNDERS = {"__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div"}

# Reading a tensor's numbers out of the record: what is computed from them could come back unseen.
LEAKS = frozenset(
    {"item", "tolist", "numpy", "__array__", "__float__", "__int__", "__index__", "__complex__", "__dlpack__"}
    | {"data_ptr", "untyped_storage", "storage", "__reduce_ex__"}
)

# Results with a tensor's shape and none of its numbers.
SHAPE_ONLY = frozenset(
    {"zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like"}
    | {"new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"}
)

# Results with the first tensor's numbers and another's shape or type.
FIRST_ONLY = frozenset({"view_as", "reshape_as", "expand_as", "type_as", "to"})


@dataclass(frozen=True)
class Function:
    """A torch function as the recording sees it.

    Attributes:
        name: canonical: `add` for `torch.add`, `Tensor.add_`, `+` and `+=`.
        reader: of its arguments, if it has a rule.
        in_place: whether it writes into its first argument.
        twin: what is called in its place: for in-place functions the one that makes a new tensor.
        leaks: whether it takes numbers out of the record.
        shape_only: whether its result depends on its inputs' shapes alone.
        sets: whether it sets a tensor's attribute, such as `.data`.
    """

    name: str
    reader: Reader | None
    in_place: bool
    twin: Callable[..., Any]
    leaks: bool
    shape_only: bool
    sets: bool


_known: dict[Callable[..., Any], Function] = {}


def function(func: Callable[..., Any]) -> Function:
    """Look up, or work out once, how to treat a torch function."""
    try:
        return _known[func]
    except KeyError:
        return _known.setdefault(func, _describe(func))


def _describe(func: Callable[..., Any]) -> Function:
    raw = getattr(func, "__name__", type(func).__name__)
    if raw in {"__get__", "__set__"}:
        raw = f"{getattr(getattr(func, '__self__', None), '__name__', '?')}.{raw}"
    in_place = raw in IN_PLACE_DUNDERS or raw == "__setitem__" or (raw.endswith("_") and not raw.endswith("__"))
    if raw in IN_PLACE_DUNDERS:
        name = IN_PLACE_DUNDERS[raw]
    elif raw in DUNDERS:
        name = DUNDERS[raw]
    elif raw.startswith("__") and raw.endswith("__"):
        name = raw if raw in LEAKS else raw.strip("_")
    else:
        name = raw[:-1] if in_place else raw
    if raw in {"detach_", "requires_grad_"}:  # they change no number
        in_place, name = False, "detach"
        twin: Callable[..., Any] = torch.Tensor.detach
    else:
        twin = _twin(func, name) if in_place else func
    return Function(
        name, READERS.get(name), in_place, twin, name in LEAKS, name in SHAPE_ONLY, name.endswith(".__set__")
    )


def _twin(func: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function that makes a new tensor where `func` writes into its first argument."""
    plain = getattr(torch.Tensor, name, None) or getattr(torch, name, None) or getattr(torch.nn.functional, name, None)

    def twin(target: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if plain is not None and name not in {"setitem", "copy", "fill", "zero", "resize", "set"}:
            result = plain(target, *args, **kwargs)
            if isinstance(result, torch.Tensor) and result.shape == target.shape:
                return result.to(target.dtype)
        copy = target.clone()
        func(copy, *args, **kwargs)
        return copy

    return twin
