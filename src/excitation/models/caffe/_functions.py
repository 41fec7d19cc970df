"""Elementwise layers without learned parameters: activation functions and arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from ._builders import Shape, axis_of, builds
from ._plan import Layer

Blob = Float[torch.Tensor, "image *blob"]


@builds("ReLU")
def relu(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`ReLU`, optionally with a negative slope."""
    slope = layer.message.relu_param.negative_slope
    return nn.LeakyReLU(slope) if slope else nn.ReLU()


@builds("ELU")
def elu(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`ELU`."""
    return nn.ELU(layer.message.elu_param.alpha)


@builds("Sigmoid")
def sigmoid(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`Sigmoid`."""
    return nn.Sigmoid()


@builds("TanH")
def tanh(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`TanH`."""
    return nn.Tanh()


@builds("Dropout")
def dropout(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`Dropout`: the identity in the TEST phase, in Caffe and PyTorch."""
    return nn.Dropout(layer.message.dropout_param.dropout_ratio)


@builds("Softmax")
def softmax(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Softmax`."""
    return nn.Softmax(axis_of(layer, layer.message.softmax_param.axis, len(shapes[0])))


class Power(nn.Module):
    """`(shift + scale x)^power`."""

    def __init__(self, power: float, scale: float, shift: float) -> None:
        super().__init__()
        self.power, self.scale, self.shift = power, scale, shift

    def forward(self, input: Blob) -> Blob:
        """Apply the function; the shape does not change."""
        result = input
        if self.scale != 1:
            result = result * self.scale
        if self.shift:
            result = result + self.shift
        return result if self.power == 1 else result**self.power


@builds("Power")
def power(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`Power`."""
    options = layer.message.power_param
    if options.power == 0 or options.scale == 0:
        layer.fail("a power or scale of zero makes a constant of the network.")
    return Power(options.power, options.scale, options.shift)


@builds("ReLU6")
def relu6(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`ReLU6` of Caffe forks: a ReLU clamped at 6."""
    if layer.message.relu_param.negative_slope:
        layer.fail("it has a negative_slope, which a ReLU6 has no agreed meaning for; remove it.")
    return nn.ReLU6()


@builds("BNLL")
def bnll(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`BNLL`: `log(1 + exp(x))`."""
    # PyTorch returns x above the threshold; at 40 the two are equal even in double precision.
    return nn.Softplus(threshold=40)


class AbsVal(nn.Module):
    """`|x|`."""

    def forward(self, input: Blob) -> Blob:
        """Apply the function; the shape does not change."""
        return input.abs()


@builds("AbsVal")
def abs_val(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`AbsVal`."""
    return AbsVal()


class Clip(nn.Module):
    """Clamp between two limits."""

    def __init__(self, least: float, most: float) -> None:
        super().__init__()
        self.least, self.most = least, most

    def forward(self, input: Blob) -> Blob:
        """Apply the function; the shape does not change."""
        return input.clamp(self.least, self.most)


@builds("Clip")
def clip(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`Clip`; both limits are required."""
    options = layer.message.clip_param
    if not options.HasField("min") or not options.HasField("max") or options.min > options.max:
        layer.fail("min and max are expected, min not above max.")
    return Clip(options.min, options.max)


class Swish(nn.Module):
    """`x sigmoid(beta x)`, computed with the smooth rectifier SiLU: `silu(beta x) / beta`."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, input: Blob) -> Blob:
        """Apply the function; the shape does not change."""
        if self.beta == 0:
            return input * 0.5
        return F.silu(input) if self.beta == 1 else F.silu(input * self.beta) * (1 / self.beta)


@builds("Swish")
def swish(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`Swish`."""
    beta = layer.message.swish_param.beta
    if beta and not 1e-6 <= abs(beta) <= 1e6:
        layer.fail(f"beta is {beta:g}; 0 or a number from 1e-6 to 1e6 or its negative is expected.")
    return Swish(beta)


class Exp(nn.Module):
    """`outer exp(inner x)`."""

    def __init__(self, inner: float, outer: float) -> None:
        super().__init__()
        self.inner, self.outer = inner, outer

    def forward(self, input: Blob) -> Blob:
        """Apply the function; the shape does not change."""
        result = torch.exp(input if self.inner == 1 else input * self.inner)
        return result if self.outer == 1 else result * self.outer


@builds("Exp")
def exp(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`Exp`: `base^(shift + scale x)`; base -1 stands for e."""
    options = layer.message.exp_param
    natural = _log_base(layer, options.base)
    if options.scale == 0:
        layer.fail("a scale of zero makes a constant of the network.")
    return Exp(natural * options.scale, math.exp(natural * options.shift))


class Log(nn.Module):
    """`factor log(shift + scale x)`."""

    def __init__(self, scale: float, shift: float, factor: float) -> None:
        super().__init__()
        self.scale, self.shift, self.factor = scale, shift, factor

    def forward(self, input: Blob) -> Blob:
        """Apply the function; the shape does not change."""
        result = input if self.scale == 1 else input * self.scale
        result = torch.log(result + self.shift if self.shift else result)
        return result if self.factor == 1 else result * self.factor


@builds("Log")
def log(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:  # noqa: ARG001
    """`Log`: the logarithm of `shift + scale x` to a base; base -1 stands for e."""
    options = layer.message.log_param
    if options.scale == 0:
        layer.fail("a scale of zero makes a constant of the network.")
    return Log(options.scale, options.shift, 1 / _log_base(layer, options.base))


def _log_base(layer: Layer, base: float) -> float:
    """The natural logarithm of a base; base -1 stands for e."""
    if base == -1:
        return 1.0
    if base <= 0 or base == 1:
        layer.fail(f"base is {base}; -1 (for e) or a positive number other than 1 is expected.")
    return math.log(base)
