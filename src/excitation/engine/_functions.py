"""The canonical name of a torch function and how the recording treats it, computed once per function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ._genuine import counterpart, foreign, is_genuine
from .operations import READERS, CallContext, Parts, Read, Reader

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

# Functions that read values out of a tensor. The recording cannot follow computations with these values.
LEAKS = frozenset(
    {"item", "tolist", "numpy", "__array__", "__float__", "__int__", "__index__", "__complex__", "__dlpack__"}
    | {"data_ptr", "untyped_storage", "storage", "__reduce_ex__"}
)

# Allowed queries on tensors that depend on the images: the results are not tensors and do not depend on the values.
QUESTIONS = frozenset(
    {"size", "dim", "ndimension", "numel", "nelement", "element_size", "stride", "storage_offset", "len", "hash"}
    | {"get_device", "dense_dim", "sparse_dim", "is_pinned", "storage_type", "result_type", "promote_types"}
    | {"has_names", "dim_order", "register_hook", "dlpack_device"}
)

# The result has the shape of the tensor, but does not depend on its values.
SHAPE_ONLY = frozenset(
    {"zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like"}
    | {"new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"}
)

# The result has the values of the first tensor, and the shape or type of another.
FIRST_ONLY = frozenset({"view_as", "reshape_as", "expand_as", "type_as", "to"})


# Functions that share their name with a function of `torch.nn.functional`, but have another order of arguments.
OTHER_ORDER = frozenset({"batch_norm", "instance_norm"})


@dataclass(frozen=True)
class Function:
    """A torch function and how the recording treats it.

    Attributes:
        name: canonical name: `add` for `torch.add`, `Tensor.add_`, `+` and `+=`.
        reader: reads the arguments of a call; `None` for functions without a rule.
        in_place: whether it writes to its first argument.
        twin: the function that the recording calls instead. For in-place functions, this is the out-of-place form.
        leaks: whether it reads values out of a tensor.
        shape_only: whether its result depends only on the shapes of its inputs.
        sets: whether it sets an attribute of a tensor, such as `.data`.
        foreign: a description of the function if it is not part of PyTorch, else empty.
    """

    name: str
    reader: Reader | None
    in_place: bool
    twin: Callable[..., Any]
    leaks: bool = False
    shape_only: bool = False
    sets: bool = False
    foreign: str = ""


_known: dict[Callable[..., Any], Function] = {}


def function(func: Callable[..., Any]) -> Function:
    """Return how to treat a torch function. The result is cached."""
    try:
        return _known[func]
    except KeyError:
        return _known.setdefault(func, _describe(func))


def _describe(func: Callable[..., Any]) -> Function:
    own = func
    if not is_genuine(func):
        match = counterpart(func)
        if match is None:
            name, kind = foreign(func)
            return Function(name, None, False, func, foreign=kind)
        own = match
    raw = getattr(own, "__name__", type(own).__name__)
    if raw in {"__get__", "__set__", "__delete__"}:
        raw = f"{_attribute_name(own)}.{raw}"
    in_place = raw in IN_PLACE_DUNDERS or raw == "__setitem__" or (raw.endswith("_") and not raw.endswith("__"))
    if raw in IN_PLACE_DUNDERS:
        name = IN_PLACE_DUNDERS[raw]
    elif raw in DUNDERS:
        name = DUNDERS[raw]
    elif raw.startswith("__") and raw.endswith("__"):
        name = raw if raw in LEAKS else raw.strip("_")
    else:
        name = raw[:-1] if in_place else raw
    if raw in {"detach_", "requires_grad_"}:  # they do not change values
        in_place, name = False, "detach"
        twin: Callable[..., Any] = _detached if raw == "detach_" else _itself
    elif name == "requires_grad.__set__":
        return Function(name, None, False, _nothing)
    else:
        twin = _twin(func, name) if in_place else func
    reader = READERS.get(name)
    if name in OTHER_ORDER and own is not getattr(torch.nn.functional, name) and reader is not None:
        reader = _reordered(reader)
    sets = name.endswith((".__set__", ".__delete__"))
    return Function(name, reader, in_place, twin, name in LEAKS, name in SHAPE_ONLY, sets)


def _attribute_name(access: Callable[..., Any]) -> str:
    """Return the name of the attribute that an access function such as `Tensor.T.__get__` reads."""
    attribute = getattr(access, "__self__", None)
    name = getattr(attribute, "__name__", None) or getattr(getattr(attribute, "fget", None), "__name__", "?")
    return str(name)


def _detached(input: torch.Tensor) -> torch.Tensor:
    return input.detach()


def _itself(input: torch.Tensor, requires_grad: bool = True) -> torch.Tensor:
    """Return the input unchanged: the caller of the recording decides whether autograd is active."""
    del requires_grad
    return input


def _nothing(input: torch.Tensor, requires_grad: bool) -> None:
    del input, requires_grad


def _reordered(reader: Reader) -> Reader:
    """Adapt the reader of a `torch.nn.functional` function to the inner function, which takes weights first."""

    def read(
        context: CallContext, input: torch.Tensor, weight: Any, bias: Any, running_mean: Any, running_var: Any,
        training: bool, momentum: Any, eps: Any, *flags: bool,
    ) -> Read | Parts | None:  # fmt: skip
        del flags
        return reader(context, input, running_mean, running_var, weight, bias, training, momentum, eps)

    return read


def tells_numbers(how: Function, result: object) -> bool:
    """Whether a result that contains no tensor can depend on the values of a tensor.

    Booleans and text are allowed: booleans act like masks, and text does not enter the computation.
    """
    if how.name in QUESTIONS or how.name.endswith(".__get__") or result is None:
        return False
    if isinstance(result, (tuple, list)) and not result:
        return False
    return not isinstance(result, (bool, str, torch.Size, torch.dtype, torch.device, torch.layout))


def moved_target(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments with the modified tensor first: `relu_(input=x)` becomes `relu_(x)`."""
    for name in ("input", "self"):
        if not args and name in kwargs:
            return (kwargs[name],), {key: item for key, item in kwargs.items() if key != name}
    return args, kwargs


def _twin(func: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return the out-of-place form of an in-place function."""
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
