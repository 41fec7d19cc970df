"""Arithmetic, comparisons and logic."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ._call import Call, computes

Operand = Any
"""A tensor, or a Python number for a scalar constant in the file."""

PER_NUMBER: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Sqrt": torch.sqrt, "Neg": torch.neg, "Abs": torch.abs, "Exp": torch.exp, "Log": torch.log,
    "Reciprocal": torch.reciprocal, "Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round, "Sign": torch.sign,
    "Not": torch.logical_not, "Sin": torch.sin, "Cos": torch.cos, "Relu": F.relu, "Sigmoid": torch.sigmoid,
    "HardSwish": F.hardswish, "Mish": F.mish, "Erf": torch.erf, "Softplus": F.softplus, "Softsign": F.softsign,
    "Tanh": torch.tanh,
}  # fmt: skip

PAIRS: dict[str, Callable[[Any, Any], torch.Tensor]] = {
    "Equal": torch.eq, "Less": torch.lt, "Greater": torch.gt, "LessOrEqual": torch.le, "GreaterOrEqual": torch.ge,
    "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor,
}  # fmt: skip


@computes(*PER_NUMBER)
def per_number(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Elementwise functions."""
    return PER_NUMBER[call.kind](x)


@computes("Add", "Sub", "Mul", "Div", "Pow", scalars=True)
def arithmetic(call: Call, a: Operand, b: Operand) -> torch.Tensor:
    """Binary arithmetic with broadcasting; integer division truncates towards zero."""
    if call.kind == "Add":
        return a + b  # type: ignore[no-any-return]
    if call.kind == "Sub":
        return a - b  # type: ignore[no-any-return]
    if call.kind == "Mul":
        return a * b  # type: ignore[no-any-return]
    if call.kind == "Pow":
        return torch.pow(a, b)
    if not (_floating(a) or _floating(b)):
        return _whole_quotient(a, b)
    return a / b  # type: ignore[no-any-return]


def _whole_quotient(a: Operand, b: Operand) -> torch.Tensor:
    """Integer division, truncated towards zero."""
    # Negate for a divisor of -1: dividing the smallest integer by -1 crashes the process.
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    opposite = b == -1
    return torch.where(opposite, -a, torch.div(a, torch.where(opposite, 1, b), rounding_mode="trunc"))


def _floating(item: Operand) -> bool:
    return item.is_floating_point() if isinstance(item, torch.Tensor) else isinstance(item, float)


@computes("Mod", scalars=True)
def remainder(call: Call, a: Operand, b: Operand) -> torch.Tensor:
    """Remainder of a division, with the sign of the divisor; with `fmod`, the sign of the dividend."""
    function = torch.fmod if call.get("fmod", 0) else torch.remainder
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    if _floating(a) or _floating(b):
        return function(a, b)
    return torch.where(b == -1, 0, function(a, torch.where(b == -1, 1, b)))


@computes(*PAIRS)
def compare(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Comparisons and logic."""
    return PAIRS[call.kind](a, b)


@computes("Where", scalars=True)
def where(call: Call, condition: torch.Tensor, a: Operand, b: Operand) -> torch.Tensor:
    """Select elements of two operands by a mask."""
    del call
    return torch.where(condition, a, b)


@computes("Max", "Min", scalars=True)
def extreme(call: Call, *items: Operand) -> torch.Tensor:
    """Elementwise maximum or minimum of several operands; with a Python number, a clamp."""
    largest = call.kind == "Max"

    def pair(a: Operand, b: Operand) -> torch.Tensor:
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            return (torch.maximum if largest else torch.minimum)(a, b)
        x, limit = (a, b) if isinstance(a, torch.Tensor) else (b, a)
        return torch.clamp(x, min=limit) if largest else torch.clamp(x, max=limit)

    # Sort tensors first, so that each pair contains a tensor.
    made: torch.Tensor = functools.reduce(pair, sorted(items, key=lambda item: not isinstance(item, torch.Tensor)))
    return made


@computes("Sum", "Mean")
def total(call: Call, *items: torch.Tensor) -> torch.Tensor:
    """Sum or mean of several tensors."""
    made = functools.reduce(torch.add, items)
    return made / len(items) if call.kind == "Mean" and len(items) > 1 else made
