"""Readers for activation functions and other element-wise operations."""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ..._errors import TrainingModeError, UnsupportedOperationError
from .._bounds import (
    NONNEGATIVE,
    NONPOSITIVE,
    UNBOUNDED,
    UNIT,
    Bounds,
    Limit,
    clipped,
    inverse,
    magnitude,
    rising,
    scaled_by_statistic,
    sign_kept,
)
from .._monotone import course
from ._elementwise import Activation, Interval, Inverse, Magnitude
from ._readers import CallContext, Number, Read, reads

Function = Callable[[torch.Tensor], torch.Tensor]


def _activation(
    input: torch.Tensor, interval: Interval, *, sign: int = 0, gates: bool = False, rectifies: bool = False
) -> Read:  # fmt: skip
    return Activation((1.0,), interval, gates=gates, sign=sign, rectifies=rectifies), (input,)


def _whole(least: Limit, most: Limit) -> Bounds:
    """Return the limits of a function. The limits of a ReLU are one shared object, which is fast to compare."""
    bounds = Bounds(least, most)
    return NONNEGATIVE if bounds == NONNEGATIVE else bounds


def _rising(function: Function, least: Limit, most: Limit) -> Interval:
    """Return the interval function of an increasing function. Its limits are computed once."""
    whole = _whole(least, most)

    def interval(bounds: Bounds) -> Bounds:
        return whole if bounds is UNBOUNDED else rising(bounds, function)

    return interval


@functools.lru_cache(maxsize=256)
def _between(least: float, most: float) -> Interval:
    """Return the interval function of a clamp."""
    whole = _whole(least, most)

    def interval(bounds: Bounds) -> Bounds:
        if bounds is UNBOUNDED:
            return whole
        return bounds if bounds is NONNEGATIVE is whole else clipped(bounds, least, most)

    return interval


SIMPLE: dict[str, tuple[Interval, int]] = {
    "relu": (_between(0.0, math.inf), 1),
    "relu6": (_between(0.0, 6.0), 1),
    "exp": (_rising(torch.exp, 0.0, math.inf), 0),
    "tanh": (_rising(torch.tanh, -1.0, 1.0), 1),
    "softsign": (_rising(F.softsign, -1.0, 1.0), 1),
    "erf": (_rising(torch.erf, -1.0, 1.0), 1),
    "log1p": (_rising(torch.log1p, -math.inf, math.inf), 1),
    "sqrt": (_rising(torch.sqrt, 0.0, math.inf), 1),
    "log_sigmoid": (_rising(F.logsigmoid, -math.inf, 0.0), 0),
    "logsigmoid": (_rising(F.logsigmoid, -math.inf, 0.0), 0),
    "logit": (_rising(torch.logit, -math.inf, math.inf), 0),
    "log": (_rising(torch.log, -math.inf, math.inf), 0),
}
"""Functions without settings that rise: their bounds, and whether they keep the sign."""

GATES: dict[str, Interval] = {
    "sigmoid": _rising(torch.sigmoid, 0.0, 1.0),
    "hardsigmoid": _rising(F.hardsigmoid, 0.0, 1.0),
}


@reads(*SIMPLE)
def simple(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Increasing functions."""
    del args, kwargs
    interval, sign = SIMPLE[context.name]
    return _activation(input, interval, sign=sign, rectifies=context.name in {"relu", "relu6"})


@reads(*GATES)
def sigmoid(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Functions that increase from zero to one. They act as gates."""
    del args, kwargs
    return _activation(input, GATES[context.name], gates=True)


@reads("softplus")
def softplus(context: CallContext, input: torch.Tensor, beta: Number = 1.0, threshold: Number = 20.0) -> Read:
    """Softplus. It increases from zero; with a negative `beta`, it increases towards zero."""
    del context
    return _activation(input, _softplus(float(beta), float(threshold)))


@functools.lru_cache(maxsize=64)
def _softplus(beta: float, threshold: float) -> Interval:
    ends = (0.0, math.inf) if beta > 0 else (-math.inf, 0.0)
    return _rising(lambda x: F.softplus(x, beta, threshold), *ends)


@reads("elu", "selu", "celu")
def exponential_linear(
    context: CallContext, input: torch.Tensor, alpha: Number = 1.0, scale: Number = 1.0, *args: Any, **kwargs: Any
) -> Read:
    """ELU and SELU. They increase from `-alpha` (SELU: from `-scale * alpha`)."""
    del args, kwargs
    if context.name == "selu":
        alpha = scale = 1
    elif context.name == "celu":
        scale = 1
    if (alpha < 0 and context.name == "elu") or scale < 0:
        context.refuse(f"alpha = {alpha} and scale = {scale} make it fall.")
    return _activation(input, _exponential_linear(context.name, float(alpha), float(scale)), sign=1)


@functools.lru_cache(maxsize=64)
def _exponential_linear(name: str, alpha: float, scale: float) -> Interval:
    function: Function = {
        "elu": lambda x: scale * F.elu(x, alpha),
        "selu": F.selu,
        "celu": lambda x: F.celu(x, alpha),
    }[name]
    ends = rising(UNBOUNDED, function)
    return _rising(function, ends.lower, ends.upper)


@reads("leaky_relu")
def leaky(context: CallContext, input: torch.Tensor, negative_slope: Number = 0.01, inplace: bool = False) -> Read:
    """Leaky ReLU. A neuron that can have both signs still can have both signs."""
    del inplace
    if negative_slope < 0:
        context.refuse(f"its negative slope {negative_slope} makes it fall.")
    return _activation(input, _leaky(float(negative_slope)), sign=1)


@reads("rrelu")
def random_leaky(
    context: CallContext, input: torch.Tensor, lower: Number = 1 / 8, upper: Number = 1 / 3, training: bool = False,
    *args: Any, **kwargs: Any,
) -> Read:  # fmt: skip
    """Randomized leaky ReLU. In evaluation mode, it is a leaky ReLU with the mean of the slopes."""
    del args, kwargs
    if training:
        raise TrainingModeError(f"{context.where} draws random slopes; {_remedy(context, 'nn.RReLU')}.")
    return _activation(input, _leaky((float(lower) + float(upper)) / 2), sign=1)


@functools.lru_cache(maxsize=64)
def _leaky(slope: float) -> Interval:
    return _rising(lambda x: F.leaky_relu(x, slope), 0.0 if slope == 0 else -math.inf, math.inf)


@reads("silu", "gelu", "hardswish", "mish")
def smooth_rectifier(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Smooth rectifiers (GELU, SiLU). They keep the sign of their input and have a minimum slightly below zero.

    Beyond the paper: their negative values act as lowered neurons (see `sign_kept`).
    """
    named: Function = getattr(F, context.name)

    def function(x: torch.Tensor) -> torch.Tensor:
        return named(x, *args, **kwargs)

    def interval(bounds: Bounds) -> Bounds:
        if bounds is UNBOUNDED or bounds.one_sign:
            return sign_kept(bounds, lambda b: rising(b, function))
        found = course(function, bounds)  # a function that rises where the minimum is out of reach
        return found.bounds if found is not None and found.rises else UNBOUNDED

    return _activation(input, interval, sign=1)


@reads("prelu")
def prelu(context: CallContext, input: torch.Tensor, weight: torch.Tensor) -> Read:
    """PReLU: a leaky ReLU with learned slopes."""
    if context.carries(weight) or bool((weight < 0).any()):
        context.refuse("a negative slope makes it fall.")
    if weight.numel() > 1:
        weight = weight.reshape(-1, *(1,) * (input.dim() - 2))
    slopes = weight.detach().double()
    return _activation(input, _rising(lambda x: torch.where(x > 0, x, x * slopes), -math.inf, math.inf), sign=1)


@reads("hardtanh")
def hard_tanh(
    context: CallContext, input: torch.Tensor, min_val: Number = -1.0, max_val: Number = 1.0, inplace: bool = False
) -> Read | None:
    """Hardtanh: a clamp to an interval."""
    del inplace
    return clamp(context, input, min_val, max_val)


@reads("clamp", "clip", "clamp_min", "clamp_max")
def clamp(context: CallContext, input: torch.Tensor, min: Any = None, max: Any = None) -> Read:
    """Clamp, with one or two limits. The same clamp maps the bounds of the input to the bounds of the result."""
    if context.name == "clamp_max":
        min, max = None, min if max is None else max
    if isinstance(min, torch.Tensor) or isinstance(max, torch.Tensor):
        context.refuse("limits given as tensors have no rule.", "Give them as numbers.")
    least, most = -math.inf if min is None else float(min), math.inf if max is None else float(max)
    interval = _between(builtins.min(least, most), most)
    return _activation(input, interval, sign=int(least <= 0 <= most), rectifies=least == 0)


@reads("threshold", "_threshold")
def threshold(
    context: CallContext, input: torch.Tensor, threshold: Number, value: Number, inplace: bool = False
) -> Read:  # fmt: skip
    """A rectifier with a given threshold."""
    del inplace
    if value > threshold:
        context.refuse(f"it replaces values up to {threshold} by the larger {value}, so it falls.")
    interval = _rising(lambda x: F.threshold(x, threshold, value), float(value), math.inf)
    return _activation(input, interval, sign=int(value == 0 or threshold < 0), rectifies=value == 0)


@reads("softmax", "log_softmax")
def softmax(context: CallContext, input: torch.Tensor, dim: int | None = None, *args: Any, **kwargs: Any) -> Read:
    """Softmax. At the top of a classifier, the signal on a probability is the signal on its score.

    This differs from the original program, which treats a softmax layer like a layer without a rule (see the docs).
    """
    del args, kwargs
    # Without `dim`, PyTorch selects the first or the second axis, depending on the number of axes.
    over = (dim if dim is not None else 0 if input.dim() in {0, 1, 3} else 1,)
    if context.name == "log_softmax":  # the scores minus one number for all classes
        return Activation((1.0,), lambda _: NONPOSITIVE, alone=False, linear=True, over=over), (input,)
    return Activation((1.0,), lambda _: UNIT, gates=True, alone=False, over=over), (input,)


@reads("pow", "square")
def power(context: CallContext, input: Any, exponent: Any = 2) -> Read:
    """A power with a positive exponent. For nonnegative neurons, it increases from zero.

    An odd integer exponent also increases below zero. An even integer exponent decreases below zero, so that neurons
    with both signs have no rule. Other exponents are not defined below zero.
    """
    if context.carries(exponent) or not context.carries(input):
        context.refuse("its exponent is computed from the images, so which of its two inputs a winner chose is open.")
    if isinstance(exponent, torch.Tensor) and exponent.numel() != 1:
        context.refuse("an exponent for each neuron has no rule.", "Give it as one number.")
    number = float(exponent)
    if not number > 0:
        bounds = context.value(input).bounds
        steers = number < 0 and bounds.nonnegative
        context.refuse(
            f"its exponent {number:g} makes it fall or constant.",
            bounds=inverse(rising(bounds, lambda x: x.pow(-number))) if steers else UNBOUNDED,
            gate=steers,
        )
    value = context.value(input)
    if number % 2 == 1:
        return _activation(input, _rising(lambda x: x.pow(number), -math.inf, math.inf), sign=1)
    if not value.nonnegative:
        context.refuse(
            f"its exponent is {number:g} and its input can be negative, where it does not rise.",
            bounds=rising(magnitude(value.bounds), lambda x: x.pow(number)) if number % 2 == 0 else UNBOUNDED,
        )
    return _activation(input, _rising(lambda x: x.pow(number), 0.0, math.inf), sign=1)


@reads("abs", "absolute")
def absolute(context: CallContext, input: torch.Tensor) -> Read:
    """Absolute value. A raised `|x|` means a raised neuron where `x > 0`, and a lowered neuron where `x < 0`."""
    if input.is_complex():
        context.refuse(
            "it takes the magnitude of complex numbers (a spectrogram), for which there is no rule.",
            "Give the network the magnitudes, or choose a layer above it.",
            bounds=NONNEGATIVE,
        )
    if context.value(input).nonnegative:
        return _activation(input, _between(0.0, math.inf), sign=1)
    return Magnitude(scale=(1.0,), input=input), (input,)


@reads("rsqrt", "reciprocal")
def falling(context: CallContext, input: torch.Tensor) -> Read:
    """The inverse of positive neurons, or the inverse of a statistic, which acts as a scale in a product."""
    return inverted(context, input, root=context.name == "rsqrt")


def inverted(context: CallContext, input: torch.Tensor, numerator: Any = 1.0, *, root: bool = False) -> Read:
    """`numerator / input` or `numerator / sqrt(input)`: a decreasing function of positive neurons.

    If the input can be zero, the result can only scale other activations.
    """
    bounds = context.value(input).bounds
    factor = -numerator if isinstance(numerator, torch.Tensor) else -float(numerator)
    result = Inverse((1.0,), factor, input.shape, None, root=root)
    if not bounds.positive:
        known = result.of(bounds) if bounds.nonnegative else UNBOUNDED
        context.refuse(
            "it falls where its input rises and has no limit at zero; it can scale activations, but it is none.",
            bounds=known, gate=known.one_sign,
        )  # fmt: skip
    return result, (input,)


@reads("norm", "linalg_norm", "linalg_vector_norm", "vector_norm", "std", "var", "linalg_matrix_norm")
def statistic(context: CallContext, *args: Any, **kwargs: Any) -> Read:
    """A statistic of several neurons. In a division by a statistic, the signal passes to the dividend unchanged."""
    del args, kwargs
    context.bounds, context.gate = NONNEGATIVE, True
    raise UnsupportedOperationError(
        f"{context.where} carries information and has no rule: it is a statistic of several neurons, which can scale"
        " activations but is none itself. Choose a layer above it, or replace it in the model."
    )


@reads("local_response_norm")
def local_response_norm(
    context: CallContext,
    input: torch.Tensor,
    size: int,
    alpha: Number = 1e-4,
    beta: Number = 0.75,
    k: Number = 1.0,
) -> Read:
    """Local response normalisation: signals pass unchanged (Sec. 3.4)."""
    del size
    if alpha < 0 or beta < 0 or k < 0:
        context.refuse(f"alpha = {alpha}, beta = {beta}, k = {k}: a negative one makes it no normalisation.")
    return Activation(scale=(1.0,), interval=lambda bounds: sign_kept(bounds, scaled_by_statistic), alone=False), (
        input,
    )


@reads("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout")
def dropout(
    context: CallContext, input: torch.Tensor, p: Number = 0.5, training: bool = True, *args: Any, **kw: Any
) -> Read:
    """Dropout in evaluation mode: the identity."""
    del args
    if kw.get("train", training) and p > 0:
        raise TrainingModeError(f"{context.where} is active; {_remedy(context, 'nn.Dropout')}.")
    return Activation((1.0,), _between(-math.inf, math.inf), sign=1, linear=True), (input,)


def _remedy(context: CallContext, module: str) -> str:
    """Return how to turn off behaviour that is only used in training."""
    if context.training():
        return "call model.eval() first"
    return (
        "the model is in evaluation mode, but its code asks for training: pass `training=self.training` there, or use"
        f" {module}"
    )
