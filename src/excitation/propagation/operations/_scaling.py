"""Readers for batch normalisation and arithmetic with constants, sums of branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..._errors import TrainingModeError
from ._families import Gated, Product, Scaled, Sum
from ._reading import Number, Read, Reading, reads


@reads("batch_norm")
def batch_norm(
    reading: Reading,
    input: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: Number = 0.1,
    eps: Number = 1e-5,
    *args: Any,
    **kwargs: Any,
) -> Read:
    """Batch normalisation by stored statistics: a scale and a shift for each channel."""
    del args, kwargs, momentum
    if training:
        raise TrainingModeError(
            f"{reading.where} normalises by the statistics of this batch; call model.eval() first"
            " (a batch norm without running statistics cannot be explained)."
        )
    if any(map(reading.carries, (running_mean, running_var, weight, bias))):
        reading.refuse("its scale or its statistics are computed from the images.")
    factor: torch.Tensor | float = 1.0
    if weight is not None:
        factor = weight.reshape(-1, *(1,) * (input.dim() - 2))

    def gain() -> torch.Tensor | float:
        if running_var is None:
            return factor
        return factor / (running_var + eps).sqrt().reshape(-1, *(1,) * (input_dims - 2))

    input_dims = input.dim()
    return Scaled(scale=(1.0,), factor=factor, shift=None, shape=input.shape, gain=gain), (input,)


def _scaled(
    input: torch.Tensor,
    factor: torch.Tensor | float,
    shift: float | None,
    gain: Callable[[], torch.Tensor | float] | None = None,
) -> Read:
    return Scaled(scale=(1.0,), factor=factor, shift=shift, shape=input.shape, gain=gain), (input,)


@reads("neg", "negative")
def negation(reading: Reading, input: torch.Tensor) -> Read:
    """Swaps raised and lowered."""
    del reading
    return _scaled(input, -1.0, 0.0, lambda: -1.0)


@reads("add", "sub", "subtract", "rsub")
def addition(reading: Reading, input: Any, other: Any, *, alpha: Number = 1) -> Read:
    """A sum of branches, or a shift by a constant."""
    signs = {"add": (1, 1), "rsub": (-1, 1)}.get(reading.name, (1, -1))
    if reading.carries(input) and reading.carries(other):
        if alpha != 1:
            reading.refuse(f"a sum of two branches with alpha = {alpha} has no rule.", "Scale the branch first.")
        return Sum(scale=(1.0,), terms=(input, other), signs=signs), (input, other)
    at = 0 if reading.carries(input) else 1
    x, constant = (input, other)[at], (other, input)[at]
    # torch.add, sub: input + alpha other, input - alpha other; rsub: other - alpha input.
    scaled = 0 if reading.name == "rsub" else 1
    factor = signs[at] * (float(alpha) if at == scaled else 1.0)
    shift = (
        float(signs[1 - at] * constant * (1.0 if at == scaled else alpha))
        if isinstance(constant, (int, float))
        else None
    )
    return _scaled(x, float(factor), shift, lambda: float(factor))


@reads("mul", "multiply", "div", "divide", "true_divide")
def multiplication(reading: Reading, input: Any, other: Any, **kwargs: Any) -> Read:
    """Scaling by a constant (a negative factor swaps raised and lowered), or by a gate."""
    if kwargs.get("rounding_mode") is not None:
        reading.refuse("rounding has no rule.")
    if reading.carries(input) and reading.carries(other):
        return _gated(reading, input, other)
    if reading.carries(input):
        divided = reading.name not in {"mul", "multiply"}
        factor = other if isinstance(other, torch.Tensor) else float(other)
        return _scaled(input, factor, 0.0, lambda: 1 / factor if divided else factor)
    if reading.name not in {"mul", "multiply"}:
        reading.refuse("dividing by an activation has no rule.")
    number = input if isinstance(input, torch.Tensor) else float(input)
    return _scaled(other, number, 0.0, lambda: number)


@reads("addcmul")
def added_scaling(reading: Reading, input: Any, tensor1: Any, tensor2: Any, *, value: Number = 1) -> Read:
    """`input + value * tensor1 * tensor2`: a constant plus a constant times activations."""
    carrying = [reading.carries(tensor) for tensor in (tensor1, tensor2)]
    if reading.carries(input) or all(carrying):
        reading.refuse("only a constant plus a constant times activations has a rule.", "Multiply and add separately.")
    x, factor = (tensor1, tensor2) if carrying[0] else (tensor2, tensor1)
    return _scaled(x, factor * value, None, lambda: factor * value)


def _gated(reading: Reading, input: torch.Tensor, other: torch.Tensor) -> Read:
    """One of two activations is the gate, what came out of a sigmoid or softmax, else the smaller one; or neither."""
    if reading.name not in {"mul", "multiply"}:
        reading.refuse("it divides one activation by another, so which of them a winner chose is open.")
    gates = [reading.value(tensor).gate for tensor in (input, other)]
    if gates[0] == gates[1]:
        gates = [input.numel() < other.numel(), other.numel() < input.numel()]
    if not (input.is_floating_point() and other.is_floating_point()):
        reading.refuse("it multiplies activations by numbers that are no activations.")
    if gates[0] == gates[1]:
        # Whether such a product has a rule is a policy's choice, which the record does not know.
        return Product(scale=(1.0,), factors=(input, other), where=reading.where), (input, other)
    place = 0 if gates[1] else 1
    factor, x = ((other, input), (input, other))[place]
    return Gated(scale=(1.0,), place=place, factor=factor, shape=x.shape), (input, other)


@reads("layer_norm", "rms_norm")
def layer_norm(
    reading: Reading, input: torch.Tensor, normalized_shape: Any, weight: Any = None, *args: Any, **kwargs: Any
) -> Read:
    """Normalisation over the last dimensions: each neuron keeps its signal; a negative scale swaps its polarity."""
    del args, kwargs, normalized_shape
    if reading.carries(weight):
        reading.refuse("its scale is computed from the images.")
    return _scaled(input, 1.0 if weight is None else weight, None)


@reads("group_norm")
def group_norm(
    reading: Reading, input: torch.Tensor, num_groups: int, weight: Any = None, *args: Any, **kwargs: Any
) -> Read:
    """Normalisation over groups of channels, likewise."""
    del args, kwargs, num_groups
    if reading.carries(weight):
        reading.refuse("its scale is computed from the images.")
    return _scaled(input, 1.0 if weight is None else weight.reshape(-1, *(1,) * (input.dim() - 2)), None)


@reads("instance_norm")
def instance_norm(
    reading: Reading, input: torch.Tensor, running_mean: Any = None, running_var: Any = None, weight: Any = None,
    *args: Any, **kwargs: Any,
) -> Read:  # fmt: skip
    """Normalisation over each channel's space, likewise."""
    del running_mean, running_var
    return group_norm(reading, input, 1, weight, *args, **kwargs)  # type: ignore[return-value]
