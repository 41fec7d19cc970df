"""Element-wise functions of one tensor, however they are written: each is one function of one neuron.

`x / (1 + x.abs())` is softsign, and `torch.where(x > 0, x, x.exp() - 1)` is ELU. The recording stores for each result
of element-wise calls how to compute it from other numbers. A call that combines several functions of one tensor, or
that has no rule of its own, is computed at samples. If it rises or falls, it is recorded as one function of this
tensor, with the limits of its values. Interval arithmetic would treat the parts as independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ._bounds import Bounds, compact, on_device, silent_within
from ._functions import Function
from ._monotone import Course, course, settled
from ._values import Formula, Kind, Value, ValueBook, mapped_tensors, shared_source
from .operations import Activation, Falling, Operation

LARGEST = 1 << 22
"""Numbers that the samples of a function can have, with all constants."""


def formula(book: ValueBook, how: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Formula | None:
    """Return how to compute the result of a call; `None` if it is not a function of one neuron for each result.

    Args:
        book: the values recorded so far.
        how: the function of the call.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    inputs: list[Value] = []

    def named(tensor: torch.Tensor) -> Any:
        value = book.get(tensor)
        if value is None or value.kind is Kind.CONSTANT:
            return tensor.detach()
        inputs.append(value)
        return value

    if how.name == "setitem" and not (isinstance(args[1], torch.Tensor) and args[1].dtype == torch.bool):
        return None  # a write to positions
    args, kwargs = mapped_tensors(args, named), mapped_tensors(kwargs, named)
    if not inputs or any(value.shape != inputs[0].shape for value in inputs):
        return None
    source = inputs[0]
    for value in inputs[1:]:
        found = shared_source(source, value)
        if found is None:
            return None
        source = found[0]
    if source.shape != inputs[0].shape:
        return None
    if how.name in CASTS:
        return Formula(_same, args[:1], {}, tuple(inputs[:1]), source)
    return Formula(how.twin, args, kwargs, tuple(inputs), source)


def _same(x: torch.Tensor) -> torch.Tensor:
    """Return the same numbers, whatever precision a call asks for."""
    return x.double()


def as_one_function(made: Formula, whole: Bounds | None = None) -> Operation | None:
    """Return a call as one function of its source; `None` if it does not rise or fall.

    A function that rises is silent at its lower limit. A function that falls is a rising one times -1, so that it is
    silent at its upper limit. A linear function keeps the neurons of its argument with their silent values.

    Args:
        made: the call.
        whole: for a sum, its bounds by interval arithmetic. If all terms have silent values, it keeps their sum. A
            linear sum has a rule of its own.
    """
    shape, argument = made.source.shape, on_device(made.source.bounds, "cpu")
    function = _on_source(made)
    found, fits = _course(function, argument)
    if not fits and len(shape) > 1:  # constants for each channel, which do not broadcast
        function = _on_source(made, shape[1])
        found, _ = _course(function, argument)
    if found is None or (found.linear and whole is not None):
        return None
    bounds = found.bounds if found.rises else found.bounds.silent_at(found.bounds.upper)
    if whole is not None and whole.limited:
        bounds = silent_within(bounds, on_device(whole, "cpu").origin)
    elif found.linear and argument.limited:
        bounds = silent_within(bounds, compact(function(torch.as_tensor(argument.origin).double())))
    bounds = on_device(bounds, _device(made.source.bounds))
    if found.rises:
        return Activation((1.0,), lambda _: bounds, sign=int(found.zero), rectifies=found.flat)
    return Falling((1.0,), factor=-1.0, shape=made.source.shape, exact=None, limits=bounds, sign=-int(found.zero))


def _device(bounds: Bounds) -> torch.device | str:
    """Return where the tensors of bounds are."""
    return next((limit.device for limit in (*bounds, bounds.silent) if isinstance(limit, torch.Tensor)), "cpu")


def note(value: Value | None, made: Formula, one: Operation | None) -> None:
    """Store in the value of a result how to compute it.

    Args:
        value: the value of the result.
        made: the call.
        one: the call as one function, if it is recorded in another way but has the bounds of this function.
    """
    if value is None or value.shape != made.source.shape:
        return
    value.formula = made
    if value.parent is None:
        value.parent = made.source
    if one is not None:
        value.bounds = one.bounds((made.source,))
        value.gate = value.gate or value.bounds.gate


def _course(function: Callable[[torch.Tensor], torch.Tensor], bounds: Bounds) -> tuple[Course | None, bool]:
    """Return the course of a function, and whether its constants fit to the samples."""
    try:
        with torch.no_grad():
            return course(function, bounds), True
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None, False


def _on_source(made: Formula, channels: int = 1) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the formula as a function of numbers of the source: of samples, or of a limit for each of its neurons."""
    dims = len(made.source.shape)

    def function(x: torch.Tensor) -> torch.Tensor:
        if x.dim() == 1:  # samples, in place of images
            x = x.reshape(-1, *(1,) * (dims - 1))
        x = x.reshape(*(1,) * (dims - x.dim()), *x.shape)
        return _computed(made, made.source, x.expand(-1, channels, *x.shape[2:]) if channels > 1 else x)

    return function


def _computed(made: Formula, source: Value, x: torch.Tensor) -> torch.Tensor:
    """Return the result of a formula for numbers of the source. Its parts are computed in the order of their calls.

    At infinity, a part whose formula has no value there (`x / (1 + |x|)`) has its limit.
    """
    known, far = {source.serial: x}, bool(x.isinf().all())
    waiting = [value for value in made.inputs if value is not source]
    while waiting:
        value = waiting[-1]
        own = value.formula
        if own is None:
            raise ValueError("a part of the function is no element-wise call")
        rest = [inner for inner in own.inputs if inner.serial not in known]
        if rest:
            waiting += rest
            continue
        waiting.pop()
        if value.serial in known:
            continue
        found = _called(own, known)
        if far and bool(found.isnan().any()):
            found = torch.where(found.isnan(), settled(partial(_computed, own, source), x), found)
        known[value.serial] = found
    return _called(made, known)


def _called(made: Formula, known: dict[int, torch.Tensor]) -> torch.Tensor:
    def filled(item: Any) -> Any:
        if isinstance(item, Value):
            return known[item.serial]
        if isinstance(item, torch.Tensor):
            constant = _reduced(item.double() if item.is_floating_point() else item).cpu()
            if constant.numel() * len(known[made.source.serial]) > LARGEST:
                raise ValueError("too many constants")
            return constant
        if isinstance(item, (tuple, list)):
            return type(item)(map(filled, item)) if type(item) in {tuple, list} else item
        return item

    result: torch.Tensor = made.call(
        *map(filled, made.args), **{key: filled(item) for key, item in made.kwargs.items()}
    )
    return result.double() if result.dtype == torch.float32 else result


def _reduced(constant: torch.Tensor) -> torch.Tensor:
    """Return a constant with size one along the axes along which it is the same."""
    if constant.dim() > 1:  # a vector can belong to the channels
        for axis in range(constant.dim()):
            first = constant.narrow(axis, 0, 1)
            if constant.shape[axis] > 1 and bool((constant == first).all()):
                constant = first
    return constant


CASTS = frozenset({"to", "type", "type_as", "float", "double", "half", "bfloat16", "contiguous", "clone", "detach"})
"""Calls that return the numbers of their first argument."""


POINTWISE = frozenset(
    {"add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "rdiv", "neg", "negative"}
    | {"pow", "rpow", "square", "sqrt", "rsqrt", "reciprocal", "abs", "absolute", "sign", "sgn", "float_power"}
    | {"exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "sinh", "cosh", "tanh"}
    | {f"{prefix}{name}" for prefix in ("a", "arc") for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")}
    | {"erf", "erfc", "erfinv", "sigmoid", "logit", "floor", "ceil", "round", "trunc", "fix", "deg2rad", "rad2deg"}
    | {f"special_{name}" for name in ("exp2", "expm1", "log1p", "erf", "erfc", "expit", "logit", "ndtr", "log_ndtr")}
    | {"relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "softshrink"}
    | {"hardshrink", "tanhshrink", "hardtanh", "hardsigmoid", "hardswish", "leaky_relu", "prelu", "threshold"}
    | {"logsigmoid", "log_sigmoid", "clamp", "clip", "clamp_min", "clamp_max", "maximum", "minimum", "fmax", "fmin"}
    | {"where", "masked_fill", "setitem", "addcmul", "addcdiv", "lerp", "nan_to_num", "hypot", "copysign", "ldexp"}
    | {"logaddexp", "logaddexp2", "xlogy", "heaviside", "batch_norm", "fmod", "remainder", "_threshold"}
    | {"gt", "greater", "ge", "greater_equal", "lt", "less", "le", "less_equal", "eq", "ne", "not_equal"}
    | {"logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_not"}
    | {"and", "or", "xor", "invert", "isnan", "isinf", "isfinite"}
    | CASTS
)
"""Functions whose results each depend on one number of each tensor, at the same position."""
