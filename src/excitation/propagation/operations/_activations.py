"""Readers for activation functions and other operations from one neuron to one neuron."""

from __future__ import annotations

import builtins
import math
from typing import Any

import torch

from ..._errors import TrainingModeError
from .._values import UNBOUNDED
from ._families import Activation
from ._reading import Number, Read, Reading, reads


def _gate(
    input: torch.Tensor, floor: float | None, *, zero_only: bool = False, gates: bool = False, rectifies: bool = False
) -> Read:  # fmt: skip
    return Activation(scale=(1.0,), floor=floor, zero_only=zero_only, gates=gates, rectifies=rectifies), (input,)


@reads("relu", "relu6", "sigmoid", "softplus", "hardsigmoid", "exp")
def rectifier(reading: Reading, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Bounded by zero from below."""
    del args, kwargs
    gates, rectifies = reading.name in {"sigmoid", "hardsigmoid"}, reading.name in {"relu", "relu6"}
    return _gate(input, 0.0, gates=gates, rectifies=rectifies)


@reads("tanh", "softsign", "erf")
def symmetric(reading: Reading, input: torch.Tensor) -> Read:
    """Bounded by -1 from below."""
    del reading
    return _gate(input, -1.0)


@reads("elu", "selu", "celu")
def exponential_linear(
    reading: Reading, input: torch.Tensor, alpha: Number = 1.0, scale: Number = 1.0, *args: Any, **kwargs: Any
) -> Read:
    """Bounded by `-alpha` from below (SELU: by `-scale alpha`)."""
    del args, kwargs
    if reading.name == "selu":
        return _gate(input, -1.0507009873554805 * 1.6732632423543772)
    if alpha < 0 or scale < 0:
        reading.refuse(f"alpha = {alpha} and scale = {scale} make it fall.")
    return _gate(input, -float(alpha) * float(scale))


@reads("leaky_relu", "rrelu")
def leaky(reading: Reading, input: torch.Tensor, negative_slope: Number = 0.01, *args: Any, **kwargs: Any) -> Read:
    """A neuron of both signs stays one."""
    if reading.name == "rrelu":
        if kwargs.get("training", len(args) > 1 and args[1]):
            raise TrainingModeError(f"{reading.where} draws random slopes; call model.eval() first.")
    elif negative_slope < 0:
        reading.refuse(f"its negative slope {negative_slope} makes it fall.")
    return _gate(input, None, zero_only=True)


@reads("silu", "gelu", "hardswish", "mish")
def smooth_rectifier(reading: Reading, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Smooth rectifiers keep the sign of their input and dip a little below zero.

    Beyond the paper: they have a minimum, so Eq. 5 could count from it, but then every silent neuron wins a part
    (11 to 25 % of all mass in trained networks). Their few negative values act as lowered neurons instead.
    """
    del reading, args, kwargs
    return _gate(input, None, zero_only=True)


@reads("prelu")
def prelu(reading: Reading, input: torch.Tensor, weight: torch.Tensor) -> Read:
    """Rising with learned slopes below zero."""
    if reading.carries(weight) or bool((weight < 0).any()):
        reading.refuse("a negative slope makes it fall.")
    return _gate(input, None, zero_only=True)


@reads("hardtanh")
def hard_tanh(
    reading: Reading, input: torch.Tensor, min_val: Number = -1.0, max_val: Number = 1.0, inplace: bool = False
) -> Read | None:
    """A gate between two numbers."""
    del inplace
    return clamp(reading, input, min_val, max_val)


@reads("clamp", "clip", "clamp_min", "clamp_max")
def clamp(reading: Reading, input: torch.Tensor, min: Any = None, max: Any = None) -> Read:
    """A gate between two numbers, either of them open; it does to a bound what it does to a neuron."""
    if reading.name == "clamp_max":
        min, max = None, min if max is None else max
    if isinstance(min, torch.Tensor) or isinstance(max, torch.Tensor):
        reading.refuse("limits given as tensors have no rule.", "Give them as numbers.")
    least, most = -math.inf if min is None else float(min), math.inf if max is None else float(max)
    lower = reading.value(input).lower
    rectifies = least == 0
    if isinstance(lower, torch.Tensor):
        return _gate(input, None if min is None else least, rectifies=rectifies)
    floor = builtins.min(builtins.max(least, lower), most) if lower > -math.inf else least
    return _gate(input, floor, rectifies=rectifies)


@reads("threshold", "_threshold")
def threshold(
    reading: Reading, input: torch.Tensor, threshold: Number, value: Number, inplace: bool = False
) -> Read:  # fmt: skip
    """A rectifier with a threshold of its own."""
    del inplace
    if value > threshold:
        reading.refuse(f"it replaces values up to {threshold} by the larger {value}, so it falls.")
    return _gate(input, float(value), rectifies=value == 0)


@reads("softmax", "log_softmax")
def softmax(reading: Reading, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """On top of a classifier: the signal on a probability is the signal on its score (a departure, see docs).

    A departure from the original program on purpose: there a softmax layer is swept like a layer without a rule.
    """
    del args, kwargs
    if reading.name == "log_softmax":  # the scores, less one number that all classes share
        return Activation(scale=(1.0,), floor=UNBOUNDED, linear=True), (input,)
    return _gate(input, 0.0, gates=True)


@reads("log1p", "sqrt")
def rising_from_zero(reading: Reading, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Rising functions without a bound of their own, zero at zero."""
    del reading, args, kwargs
    return _gate(input, None, zero_only=True)


@reads("log_sigmoid", "logsigmoid", "logit", "log")
def rising(reading: Reading, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Rising functions without a bound, negative also where their input is not."""
    del reading, args, kwargs
    return _gate(input, UNBOUNDED)


@reads("pow", "square")
def power(reading: Reading, input: Any, exponent: Any = 2) -> Read:
    """A power with a positive exponent, of a neuron that is never negative: it rises from zero.

    An odd whole exponent rises on both sides of zero. An even one falls below it, so there a neuron of both signs has
    no rule; other exponents do not exist there.
    """
    if reading.carries(exponent) or not reading.carries(input):
        reading.refuse("its exponent is computed from the images, so which of its two inputs a winner chose is open.")
    if isinstance(exponent, torch.Tensor) and exponent.numel() != 1:
        reading.refuse("an exponent for each neuron has no rule.", "Give it as one number.")
    number = float(exponent)
    if not number > 0:
        reading.refuse(f"its exponent {number:g} makes it fall or constant.")
    if reading.value(input).nonnegative:
        return _gate(input, 0.0)
    if number % 2 != 1:
        reading.refuse(f"its exponent is {number:g} and its input can be negative, where it does not rise.")
    return _gate(input, None, zero_only=True)


@reads("local_response_norm")
def local_response_norm(
    reading: Reading,
    input: torch.Tensor,
    size: int,
    alpha: Number = 1e-4,
    beta: Number = 0.75,
    k: Number = 1.0,
) -> Read:
    """Local response normalisation: signals pass unchanged (Sec. 3.4)."""
    del size
    if alpha < 0 or beta < 0 or k < 0:
        reading.refuse(f"alpha = {alpha}, beta = {beta}, k = {k}: a negative one makes it no normalisation.")
    return _gate(input, None, zero_only=True)


@reads("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout")
def dropout(
    reading: Reading, input: torch.Tensor, p: Number = 0.5, training: bool = True, *args: Any, **kw: Any
) -> Read:
    """Dropout in evaluation mode: the identity."""
    del args
    if kw.get("train", training) and p > 0:
        raise TrainingModeError(f"{reading.where} is active; call model.eval() first.")
    return Activation(scale=(1.0,), floor=None, linear=True), (input,)
