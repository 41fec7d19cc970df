"""Activation functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from .._loaded import shown
from ._call import Call, axis_of, computes

SELU = (1.6732632423543772, 1.0507009873554805)
"""alpha and gamma of Klambauer et al. 2017, the constants of PyTorch's SELU."""


@computes("LeakyRelu")
def leaky_relu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """`alpha x` for negative `x`, otherwise `x`."""
    return F.leaky_relu(x, call.get("alpha", 0.01))


@computes("PRelu")
def prelu(call: Call, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Learned slopes for negative values. PyTorch's `prelu` supports one slope, or one per channel."""
    whole = (1,) * (x.dim() - slope.dim()) + tuple(slope.shape)
    channels = x.dim() > 1 and whole == (1, x.shape[1], *(1,) * (x.dim() - 2))
    if slope.numel() == 1 or channels:
        return F.prelu(x, slope.reshape(-1))
    del call
    return torch.where(x < 0, x * slope, x)


@computes("Elu", "Celu")
def elu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Exponential linear unit."""
    alpha = call.get("alpha", 1.0)
    if call.kind == "Celu" and alpha == 0:
        call.fail("alpha is 0; it divides by alpha.")
    function: Callable[..., torch.Tensor] = F.elu if call.kind == "Elu" else F.celu
    return function(x, alpha)


@computes("Selu")
def selu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Scaled exponential linear unit."""
    alpha: float = call.get("alpha", SELU[0])
    gamma: float = call.get("gamma", SELU[1])
    if math.isclose(alpha, SELU[0], rel_tol=1e-6) and math.isclose(gamma, SELU[1], rel_tol=1e-6):
        return F.selu(x)
    return F.elu(x, alpha) * gamma


@computes("HardSigmoid")
def hard_sigmoid(call: Call, x: torch.Tensor) -> torch.Tensor:
    """`alpha x + beta`, clamped to [0, 1]; PyTorch's version has the fixed slope 1/6."""
    alpha, beta = call.get("alpha", 0.2), call.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


@computes("ThresholdedRelu")
def thresholded_relu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """`x` above `alpha`, otherwise zero."""
    return F.threshold(x, call.get("alpha", 1.0), 0.0)


@computes("Gelu")
def gelu(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Gaussian error linear unit, exact or with the tanh approximation."""
    how = call.get("approximate", "none")
    if how not in {"none", "tanh"}:
        call.fail(f"approximate is {shown(how)}; none or tanh is expected.")
    return F.gelu(x, approximate=how)


@computes("Clip", host=(1, 2))
def clip(call: Call, x: torch.Tensor, low: Any = None, high: Any = None) -> torch.Tensor:
    """Clamp between two limits (attributes up to opset 10, inputs since 11); computed as a ReLU where equivalent."""
    if call.version < 11:
        low, high = call.get("min", None), call.get("max", None)
    low, high = (number(call, limit) for limit in (low, high))
    if low == 0 and x.is_floating_point() and high in {None, 6, math.inf}:
        return F.relu6(x) if high == 6 else F.relu(x)
    if low is None and high is None:
        return x
    return torch.clamp(x, low, high)


def number(call: Call, item: Any) -> Any:
    """A host input as one number; `None` if omitted."""
    while isinstance(item, (list, tuple)) and len(item) == 1:
        (item,) = item
    if isinstance(item, (list, tuple)):
        call.fail(f"an input has {len(item)} numbers; one is expected.")
    return item


@computes("Softmax", "LogSoftmax")
def softmax(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Softmax along one axis since opset 13; before, over all axes from the given one, flattened."""
    function: Callable[[torch.Tensor, int], torch.Tensor] = F.softmax if call.kind == "Softmax" else F.log_softmax
    if call.version >= 13:
        return function(x, axis_of(call, x, call.get("axis", -1)))
    axis = axis_of(call, x, call.get("axis", 1))
    if all(size == 1 for size in x.shape[axis + 1 :]):
        return function(x, axis)
    return function(x.flatten(axis), axis).reshape(x.shape)
