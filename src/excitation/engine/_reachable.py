"""Finds tensors that the functions of a network refer to: global variables, closures and default arguments."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch

from ._values import tensor_list


def reachable(functions: Iterable[Any]) -> list[torch.Tensor]:
    """Return the tensors that functions, and the functions that they call by name, refer to.

    Tensors in lists, tuples and dictionaries are included. PyTorch's own functions are skipped. A tensor that exists
    before the forward pass cannot depend on the images.
    """
    found: list[torch.Tensor] = []
    seen: set[int] = set()
    waiting = list(functions)
    while waiting:
        item = waiting.pop()
        if isinstance(item, MethodType):
            item = item.__func__
        if isinstance(item, FunctionType):
            if id(item) not in seen and not (item.__module__ or "").startswith("torch."):
                seen.add(id(item))
                waiting += _referred(item)
        elif isinstance(item, (torch.Tensor, list, tuple, dict)):
            found += tensor_list(item)
    return found


def _referred(function: FunctionType) -> Iterator[Any]:
    """Yield the objects that a function refers to, except its arguments."""
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # the variable has no value yet
            yield cell.cell_contents
    known = function.__globals__
    for name in _names(function.__code__):
        if name in known:
            yield known[name]


@functools.lru_cache(maxsize=4096)
def _names(code: CodeType) -> tuple[str, ...]:
    inner = [name for part in code.co_consts if isinstance(part, CodeType) for name in _names(part)]
    return (*code.co_names, *inner)
