"""Backward passes with modified rectifiers: guided backpropagation (the paper's "Deconv") and deconvolution."""

from __future__ import annotations

from typing import Any

import torch

from ..core import Maps, Request
from ..engine import INPUT
from ._gradient import Channels, derivatives, magnitude
from ._registry import method
from ._requirements import require_rectifiers


class _RectifiedBackward(torch.autograd.Function):
    """Returns `y`; its backward pass sends the positive part of the signal to `x`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        del ctx, x
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        del ctx
        return grads[0].clamp(min=0), None


def guided(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The rectifier of guided backpropagation: the derivative's gate (through `y`) and a gate on the signal's sign."""
    del x
    result: torch.Tensor = _RectifiedBackward.apply(y, y.detach())  # type: ignore[no-untyped-call]
    return result


def deconvolving(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The rectifier of a deconvolution network: the backward signal is rectified like the activations."""
    result: torch.Tensor = _RectifiedBackward.apply(x, y.detach())  # type: ignore[no-untyped-call]
    return result


@method(
    "deconv",
    "The gradient through rectifiers that pass only positive signals to active neurons (guided backpropagation).",
    family="gradient",
    source="Springenberg et al., 2014 (reference 20 of the paper, its Deconv)",
    cost="1 F + T B",
    needs="rectified linear units",
    applies=require_rectifiers,
    steps=("blur",),
    aliases=("guided-backprop",),
)
def deconv(request: Request, *, channels: Channels = "max") -> Maps:
    """The method that the paper calls Deconv: gates on both signs, absolute values reduced over channels."""
    g, _ = derivatives(request, request.layer or INPUT, guided)
    return magnitude(g, channels)


@method(
    "deconvnet",
    "The gradient through rectifiers that pass only positive signals, for active and inactive neurons.",
    family="gradient",
    source="Zeiler, Fergus, ECCV 2014",
    cost="1 F + T B",
    needs="rectified linear units",
    applies=require_rectifiers,
    steps=("blur",),
    aliases=("zeiler-fergus",),
)
def deconvnet(request: Request, *, channels: Channels = "max") -> Maps:
    """Deconvolution network of Zeiler and Fergus: transposed filters, pooling switches, rectified signal."""
    g, _ = derivatives(request, request.layer or INPUT, deconvolving)
    return magnitude(g, channels)
