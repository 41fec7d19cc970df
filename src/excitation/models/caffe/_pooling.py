"""Pooling and normalisation with Caffe's definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from ._builders import Shape, builds, space_of, spatial
from ._inputs import MAX_COUNT
from ._plan import Layer
from ._schema import ENUMS

Maps = Float[torch.Tensor, "image channel height width"]
Pooled = Float[torch.Tensor, "image channel rows columns"]


class WidePooling(nn.Module):
    """Pooling with padding of more than half a window, which PyTorch's pooling does not support."""

    def __init__(
        self, kernel: tuple[int, ...], stride: tuple[int, ...], pad: tuple[int, ...], *, maximum: bool, ceil: bool
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.pad = kernel, stride, pad
        self.maximum, self.ceil = maximum, ceil

    def forward(self, input: Maps) -> Pooled:
        """Pool the input."""
        sizes = zip(input.shape[2:], self.kernel, self.stride, self.pad, strict=True)
        rows, columns = (pooled_size(*item, ceil=self.ceil) for item in sizes)
        tall, wide = self.pad
        pads = (wide, wide, tall, tall)
        if self.maximum:
            # A window that begins in the padding reaches the border, so replicated values never change the maximum.
            padded = F.pad(input, pads, mode="replicate")
            pooled = F.max_pool2d(padded, self.kernel, self.stride, ceil_mode=True)
        else:
            pooled = F.avg_pool2d(F.pad(input, pads), self.kernel, self.stride, ceil_mode=True)
        return pooled[:, :, :rows, :columns]


def pooled_size(size: int, kernel: int, stride: int, pad: int, *, ceil: bool) -> int:
    """The number of pooling windows in one dimension in Caffe.

    Sizes round up. A last window that begins beyond the padded border is omitted; Caffe does this only with padding
    (BVLC Caffe, `pooling_layer`).
    """
    steps = (size + 2 * pad - kernel) / stride
    count = (math.ceil(steps) if ceil else math.floor(steps)) + 1
    return count - 1 if pad and (count - 1) * stride >= size + pad else count


@builds("Pooling")
def pooling(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Pooling`, maximum and average.

    Caffe's average divides by the size of the window within the padded border, like PyTorch's with padding counted.
    """
    (shape,), options = shapes, layer.message.pooling_param
    space_of(layer, shape, (2,))
    if options.pool not in {ENUMS["Pool"]["MAX"], ENUMS["Pool"]["AVE"]}:
        layer.fail("stochastic pooling is not supported.")
    maximum = options.pool == ENUMS["Pool"]["MAX"]
    pad, stride = spatial(layer, options, "pad", 2, 0), spatial(layer, options, "stride", 2, 1)
    if options.global_pooling:
        if any(pad) or set(stride) != {1} or options.kernel_size or options.HasField("kernel_h"):
            layer.fail("global_pooling takes neither kernel nor pad nor stride.")
        return nn.AdaptiveMaxPool2d(1) if maximum else nn.AdaptiveAvgPool2d(1)
    kernel = spatial(layer, options, "kernel_size", 2)
    if any(p >= k for p, k in zip(pad, kernel, strict=True)):
        layer.fail(f"pad {pad} must be smaller than the kernel {kernel}.")
    ceil = options.round_mode == ENUMS["Round"]["CEIL"] and options.ceil_mode
    for size, k, s, p in zip(shape[2:], kernel, stride, pad, strict=True):
        count = pooled_size(size, k, s, p, ceil=ceil)
        if count < 1 or (count - 1) * s >= size + p:
            layer.fail(
                f"a window of {k} at stride {s} lies outside of its input of shape {shape}, where Caffe's result is"
                " undefined."
            )
    padded = [size + 2 * p for size, p in zip(shape[2:], pad, strict=True)]
    if math.prod(padded) * shape[1] > MAX_COUNT:
        layer.fail(f"pad {pad} is too large for its input of shape {shape}.")
    if any(2 * p > k for p, k in zip(pad, kernel, strict=True)):
        return WidePooling(kernel, stride, pad, maximum=maximum, ceil=ceil)
    if maximum:
        return nn.MaxPool2d(_pair(kernel), _pair(stride), _pair(pad), ceil_mode=ceil)
    return nn.AvgPool2d(_pair(kernel), _pair(stride), _pair(pad), ceil_mode=ceil)


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    first, second = values
    return first, second


class WithinChannel(nn.Module):
    """Local response normalisation over a square neighbourhood: `x (1 + alpha mean(x^2))^-beta`.

    The positions of the neighbourhood are arranged as channels. The operation then is a standard local response
    normalisation in PyTorch, for which rules exist.
    """

    def __init__(self, size: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, input: Maps) -> Maps:
        """Normalise the input; the shape does not change."""
        n, (height, width) = self.size, input.shape[2:]
        padded = F.pad(input, (n // 2,) * 4)
        parts = [padded[:, :, i : i + height, j : j + width] for i in range(n) for j in range(n)]
        # Around the middle channel, a window of 2 n^2 - 1 channels contains all n^2; the others are zero. Caffe divides
        # by n^2, also at the border.
        reach = 2 * n * n - 1
        normed = F.local_response_norm(torch.stack(parts, 1), reach, self.alpha * reach / (n * n), self.beta, 1.0)
        return normed[:, n * n // 2]


@builds("LRN")
def local_response_norm(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`LRN`, across channels or within each channel."""
    options = layer.message.lrn_param
    if options.local_size % 2 == 0:
        layer.fail(f"local_size is {options.local_size}; an odd number is expected.")
    if options.norm_region == ENUMS["Region"]["ACROSS_CHANNELS"]:
        # A window of this size contains all channels. A larger size in the file only changes the divisor.
        size = min(options.local_size, 2 * shapes[0][1] - 1)
        return nn.LocalResponseNorm(size, options.alpha * size / options.local_size, options.beta, options.k)
    space_of(layer, shapes[0], (2,))
    if options.local_size**2 * math.prod(shapes[0]) > MAX_COUNT:
        layer.fail(f"local_size {options.local_size} is too large for its input of shape {shapes[0]}.")
    return WithinChannel(options.local_size, options.alpha, options.beta)
