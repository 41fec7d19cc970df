"""Readers for rounding. Rounding is an increasing step function, so that the signal passes to the neuron unchanged."""

from __future__ import annotations

from typing import Any

import torch

from ..._errors import TrainingModeError
from .._bounds import NONNEGATIVE, sign_kept
from ._elementwise import Activation
from ._readers import CallContext, Read, reads


@reads(
    "round", "floor", "ceil", "trunc", "fix", "fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine",
    "_fake_quantize_learnable_per_tensor_affine", "_fake_quantize_learnable_per_channel_affine",
)  # fmt: skip
def staircase(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Rounding and fake quantisation. Except for `floor`, only negative inputs give negative results."""
    if any(context.carries(item) for item in (*args, *kwargs.values())):
        context.refuse("the size of its steps depends on the images.", "Use the scale that calibration stored.")
    return _rounded(input)


def _rounded(input: torch.Tensor) -> Read:
    return Activation((1.0,), lambda bounds: sign_kept(bounds, lambda _: NONNEGATIVE)), (input,)


@reads("fused_moving_avg_obs_fake_quant")
def observed_staircase(
    context: CallContext, input: torch.Tensor, observer_on: torch.Tensor, *args: Any, **kwargs: Any
) -> Read:
    """Fake quantisation with an observer, as in training."""
    del args, kwargs
    if bool(observer_on.any()):
        raise TrainingModeError(
            f"{context.where} still adapts its scale to the images; call"
            " model.apply(torch.ao.quantization.disable_observer) first."
        )
    return _rounded(input)


@reads("quantize_per_tensor", "quantize_per_channel", "quantize_per_tensor_dynamic", "linear_dynamic")
def quantised(context: CallContext, *args: Any, **kwargs: Any) -> Read:
    """Quantised tensors, which are refused."""
    del args, kwargs
    context.refuse(
        "it computes with quantised numbers, and the recording cannot read their operations.",
        "Explain the float model before quantisation, or the model with fake quantisation.",
    )
