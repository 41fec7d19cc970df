"""Readers for operations with learned weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ._families import Affine
from ._reading import Number, Read, Reading, pair, reads

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _check_weight(reading: Reading, x: torch.Tensor, weight: torch.Tensor, bias: object, space: int) -> None:
    if reading.carries(weight) or reading.carries(bias):
        reading.refuse("its weights are computed from the images, so which of its two inputs a winner chose is open.")
    if not reading.carries(x):
        reading.refuse("a constant is filtered by something computed from the images.")
    if x.dim() != space + 2:
        reading.refuse(f"its input has {x.dim()} dimensions; signals need (image, channel, {space} of space).")


@reads("conv1d", "conv2d", "conv3d")
def convolution(
    reading: Reading,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Read:
    """Convolution of any dimension, grouped, dilated, strided, padded with zeros."""
    n = weight.dim() - 2
    _check_weight(reading, input, weight, bias, n)
    strides, dilations, kernel = pair(stride, n), pair(dilation, n), tuple(weight.shape[2:])
    before = after = pair(0 if isinstance(padding, str) else padding, n)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        before = tuple(t // 2 for t in total)
        after = tuple(t - b for t, b in zip(total, before, strict=True))
    # One-sided padding ("same" with an even kernel) has no transposed form of its own: it is done beside the product.
    common = tuple(min(b, a) for b, a in zip(before, after, strict=True))
    extra = [side for b, a, c in zip(before[::-1], after[::-1], common[::-1], strict=True) for side in (b - c, a - c)]
    shift = tuple(b - c for b, c in zip(before, common, strict=True))
    size = input.shape[2:]
    padded = tuple(s + e for s, e in zip(size, [sum(extra[i : i + 2]) for i in range(0, 2 * n, 2)][::-1], strict=True))

    def forward(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, extra) if any(extra) else x
        return CONVOLUTIONS[n](x, w, None, strides, common, dilations, groups)

    def adjoint(q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        rest = [
            p + 2 * c - d * (k - 1) - 1 - (o - 1) * s
            for p, c, d, k, o, s in zip(padded, common, dilations, kernel, q.shape[2:], strides, strict=True)
        ]
        x: torch.Tensor = TRANSPOSED[n](q, w, None, strides, common, rest, groups, dilations)
        if any(extra):
            for dim, (start, length) in enumerate(zip(shift, size, strict=True), 2):
                x = x.narrow(dim, start, length)
        return x

    scale = tuple(float(s) for s in strides)
    return Affine(scale=scale, input=input, weight=weight, forward=forward, adjoint=adjoint), (input,)


@reads("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def transposed_convolution(
    reading: Reading,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Read:
    """Transposed convolution: the same weights, read the other way."""
    n = weight.dim() - 2
    _check_weight(reading, input, weight, bias, n)
    strides = pair(stride, n)

    def forward(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return TRANSPOSED[n](x, w, None, stride, padding, output_padding, groups, dilation)

    def adjoint(q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        back: torch.Tensor = CONVOLUTIONS[n](q, w, None, stride, padding, dilation, groups)
        # Output padding can leave room for one more window than the input had.
        for dim, length in enumerate(input.shape[2:], 2):
            back = back.narrow(dim, 0, length)
        return back

    scale = tuple(1 / s for s in strides)
    return Affine(scale=scale, input=input, weight=weight, forward=forward, adjoint=adjoint), (input,)


def _linear(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return F.linear(x, w)


def _linear_adjoint(q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return q @ w


@reads("linear")
def linear(
    reading: Reading, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> Read:  # fmt: skip
    """Fully connected: the last dimension is mixed."""
    if reading.carries(weight) or reading.carries(bias):
        reading.refuse("its weights are computed from the images, so which of its two inputs a winner chose is open.")
    return _mixing(reading, input, weight)


def _mixing(reading: Reading, input: torch.Tensor, weight: torch.Tensor) -> Read:
    """`input @ weight.T`."""
    if input.dim() < 2:
        reading.refuse("its input has no image dimension.")
    return Affine(scale=None, input=input, weight=weight, forward=_linear, adjoint=_linear_adjoint), (input,)


@reads("matmul", "mm", "bmm", "rmatmul")
def matrix_product(reading: Reading, input: torch.Tensor, other: torch.Tensor) -> Read:
    """Product with a constant matrix on either side."""
    left, right = (other, input) if reading.name == "rmatmul" else (input, other)
    if reading.carries(left) and reading.carries(right):
        reading.refuse(
            "it multiplies two activations (as attention does), so which of them a winner chose is open.",
            "Attention is not supported; choose a layer above it.",
        )
    weight, x = (right, left) if reading.carries(left) else (left, right)
    if weight.dim() != 2 or x.dim() < 2:
        reading.refuse(f"its constant side has {weight.dim()} dimensions, 2 expected, and the other at least 2.")
    if x is left:
        return _mixing(reading, x, weight.t())
    if x.dim() < 3:
        reading.refuse("a constant multiplied from the left mixes the images of a batch.")

    def forward(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return w @ x

    def adjoint(q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return w.t() @ q

    return Affine(scale=None, input=x, weight=weight, forward=forward, adjoint=adjoint), (x,)


@reads("scaled_dot_product_attention", "multi_head_attention_forward", "einsum")
def attention(reading: Reading, *args: Any, **kwargs: Any) -> Read:
    """Products of activations with learned partners; refused for now."""
    del args, kwargs
    reading.refuse(
        "it multiplies activations with each other, so which of them a winner chose is open.",
        "Attention is not supported; choose a layer above it.",
    )


@reads("addmm", "addbmm", "baddbmm")
def added_product(
    reading: Reading,
    input: torch.Tensor,
    mat1: torch.Tensor,
    mat2: torch.Tensor,
    *,
    beta: Number = 1,
    alpha: Number = 1,
) -> Read:
    """`beta * bias + alpha * x W`."""
    del beta  # the factor of the bias, which takes no part
    if reading.name != "addmm" or reading.carries(input) or reading.carries(mat2) or not reading.carries(mat1):
        reading.refuse("only a constant plus activations times a constant matrix has a rule.")
    return _mixing(reading, mat1, mat2.t() * alpha)
