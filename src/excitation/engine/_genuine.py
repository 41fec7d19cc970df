"""Identifies PyTorch's own functions by identity. A name is not sufficient: any function can have the name `relu`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch

NAMESPACES: tuple[ModuleType | type, ...] = (
    torch, torch.functional, torch.nn.functional, torch.nn.init, torch.special, torch.linalg, torch.fft,
    torch._C._nn, torch._C._VariableFunctions,
)  # fmt: skip
"""Where PyTorch keeps the functions that a function mode is shown, beside the methods of tensors."""


@lru_cache(maxsize=1)
def _own() -> dict[int, Any]:
    """Return PyTorch's functions and tensor methods by `id`. The references prevent the reuse of an `id`."""
    found: dict[int, Any] = {}
    for space in NAMESPACES:
        found.update({id(item): item for name in dir(space) if callable(item := getattr(space, name, None))})
    for kind in torch.Tensor.__mro__[:-1]:
        found.update({id(item): item for item in vars(kind).values()})
    return found


def is_genuine(func: Callable[..., Any]) -> bool:
    """Whether a function is part of PyTorch: a function, a tensor method, or access to a tensor attribute."""
    own = _own()
    if id(func) in own:
        return True
    # `Tensor.T.__get__` is a new object at each access, but its `__self__` is always the same.
    return getattr(func, "__name__", "") in {"__get__", "__set__", "__delete__"} and id(
        getattr(func, "__self__", None)
    ) in own  # fmt: skip


def counterpart(func: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the PyTorch function of a library operator: `torch.add_` for `torch.ops.aten.add_.Tensor`."""
    packet = func.overloadpacket if isinstance(func, torch._ops.OpOverload) else func
    if not isinstance(packet, torch._ops.OpOverloadPacket):
        return None
    space, _, name = packet._qualified_op_name.partition("::")
    if space != "aten":
        return None
    for place in (torch._C._VariableFunctions, torch._C._nn, torch.Tensor, torch):
        found = getattr(place, name, None)
        if found is not None:
            return found  # type: ignore[no-any-return]
    return None


def foreign(func: Callable[..., Any]) -> tuple[str, str]:
    """Return the name and the description of a function that is not part of PyTorch."""
    if isinstance(func, torch._ops.OpOverload):
        func = func.overloadpacket
    if isinstance(func, torch._ops.OpOverloadPacket):
        name = func._qualified_op_name.replace("::", ".")
        space = name.partition(".")[0]
        if space in {"quantized", "onednn"}:
            return name, "computes with quantised numbers"
        return name, "is an operator of PyTorch's internal library" if space == "aten" else "is a custom operator"
    if isinstance(func, torch._ops.HigherOrderOperator):
        return func.__name__, "has functions as arguments, and their operations are not recorded"
    name = getattr(func, "__name__", type(func).__name__)
    if isinstance(func, torch.jit.ScriptFunction):
        return name, "is a script function"
    module = getattr(func, "__module__", None) or "an unknown module"
    return name, f"is not a function of PyTorch but of {module}"
