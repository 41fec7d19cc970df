"""Readers for operations with learned weights."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.grad import conv1d_input, conv2d_input, conv3d_input

from .._axes import Axes, Kept, Made, Resampled
from .._bounds import Limit
from .._layout import claim_space, suggest_channels
from ._families import Affine, Noise, Reach
from ._readers import CallContext, Number, Read, common_shape, pair, reads

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
INPUT_OF = {1: conv1d_input, 2: conv2d_input, 3: conv3d_input}


def _check_weight(context: CallContext, x: torch.Tensor, weight: torch.Tensor, bias: object, space: int) -> None:
    if context.carries(weight) or context.carries(bias):
        context.refuse("its weights are computed from the images, so it is ambiguous which of its two inputs wins.")
    if not context.carries(x):
        context.refuse("a constant is filtered with weights computed from the images.")
    if x.dim() != space + 2:
        context.refuse(f"its input has {x.dim()} dimensions; signals need (image, channel, {space} of space).")


@reads("conv1d", "conv2d", "conv3d")
def convolution(
    context: CallContext,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Read:
    """Convolution in any number of dimensions, with groups, dilation, stride and zero padding."""
    n = weight.dim() - 2
    _check_weight(context, input, weight, bias, n)
    settings = (_plain(stride), _plain(padding), _plain(dilation))
    forward, adjoint, scale, turned, reach = _products(input.shape, weight.shape, *settings, groups)
    axes = _convolved(context, input, n, scale)
    # For kernels of one position or one channel, the libraries compute exact sums.
    exact = weight.shape[1] == 1 or set(weight.shape[2:]) == {1}
    noise = None if exact else Noise(groups)
    return Affine(
        scale, input, weight, forward, adjoint, turned, reach, noise, axes=axes, rows=_kernels, shift=_shift(bias, n)
    ), (input,)


def _kernels(weight: torch.Tensor) -> torch.Tensor:
    """Reshape the weights of a convolution to one row per output channel."""
    return weight.reshape(len(weight), *(1,) * (weight.dim() - 2), -1)


def _shift(bias: torch.Tensor | None, space: int) -> Callable[[], Limit]:
    """Return a function that reshapes a bias for outputs with `space` axes after the channels."""

    def added() -> Limit:
        return 0.0 if bias is None else bias.detach().double().reshape(-1, *(1,) * space)

    return added


def _convolved(context: CallContext, input: torch.Tensor, space: int, steps: tuple[float, ...]) -> Axes:
    layout = context.value(input).layout
    if layout is not None:
        claim_space(layout, space)
    return _convolution_axes(steps)


@functools.lru_cache(maxsize=256)
def _convolution_axes(steps: tuple[float, ...]) -> Axes:
    """Return the axes: images are kept, channels are new, and spatial axes are resampled with the given steps."""
    return (Kept(0), Made(), *(Resampled(2 + place, step) for place, step in enumerate(steps)))


def _plain(setting: Any) -> Any:
    """Convert an argument to a hashable object."""
    return setting if isinstance(setting, (int, str)) else tuple(setting)


Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Turn = Callable[[torch.Tensor], torch.Tensor]


@functools.lru_cache(maxsize=4096)
def _products(
    input_shape: torch.Size, weight_shape: torch.Size, stride: Any, padding: Any, dilation: Any, groups: int
) -> tuple[Product, Product, tuple[float, ...], tuple[Turn, Product] | None, Reach | None]:
    """Return a convolution's product, its transpose, scale, and `Affine`'s `turned` and `reach`. Cached by geometry."""
    turned: tuple[Turn, Product] | None = None
    n = len(weight_shape) - 2
    strides, dilations, kernel = pair(stride, n), pair(dilation, n), tuple(weight_shape[2:])
    before = after = pair(0 if isinstance(padding, str) else padding, n)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        before = tuple(t // 2 for t in total)
        after = tuple(t - b for t, b in zip(total, before, strict=True))
    # One-sided padding ("same" with an even kernel) has no transposed form. It is applied separately.
    common = tuple(min(b, a) for b, a in zip(before, after, strict=True))
    extra = [side for b, a, c in zip(before[::-1], after[::-1], common[::-1], strict=True) for side in (b - c, a - c)]
    padded_apart = any(extra)
    shift = tuple(b - c for b, c in zip(before, common, strict=True))
    size = tuple(input_shape[2:])
    padded = tuple(s + e for s, e in zip(size, [sum(extra[i : i + 2]) for i in range(0, 2 * n, 2)][::-1], strict=True))
    convolve, channels = CONVOLUTIONS[n], input_shape[1]

    def forward(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, extra) if padded_apart else x
        return convolve(x, w, None, strides, common, dilations, groups)

    def cut(x: torch.Tensor) -> torch.Tensor:
        if padded_apart:
            for dim, (start, length) in enumerate(zip(shift, size, strict=True), 2):
                x = x.narrow(dim, start, length)
        return x

    # If the transposed product is also a convolution of the same kind, this form is up to three times faster than the
    # general form, which the libraries optimise for training.
    if set(kernel) == {1} and not any(common):

        def product(q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            return cut(_spread_out(convolve(q, w, None, 1, 0, 1, groups), strides, padded))

        def turn(w: torch.Tensor) -> torch.Tensor:
            return _turned(w, groups)

        def adjoint(q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            return product(q, turn(w))

        turned = turn, product

    elif groups > 1 and (groups, 1) == weight_shape[:2] and set(dilations) == {1} and _covered(kernel, common):
        reach = tuple(p + 2 * c - k + 1 for p, c, k in zip(padded, common, kernel, strict=True))
        room = [k - 1 - c for k, c in zip(kernel, common, strict=True)]
        axes = tuple(range(2, n + 2))

        def adjoint(q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            return cut(convolve(_spread_out(q, strides, reach), w.flip(axes), None, 1, room, 1, groups))

    else:

        def adjoint(q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            whole = (q.shape[0], channels, *padded)
            x: torch.Tensor = INPUT_OF[n](whole, w, q, strides, common, dilations, groups)  # type: ignore[no-untyped-call]
            return cut(x)

    seen = Reach(kernel, strides, before, dilations, groups) if n == 2 else None
    return forward, adjoint, tuple(float(s) for s in strides), turned, seen


def _covered(kernel: tuple[int, ...], padding: tuple[int, ...]) -> bool:
    """Whether the padding is smaller than the kernel, so that the transposed product needs no negative padding."""
    return all(p < k for k, p in zip(kernel, padding, strict=True))


def _turned(w: torch.Tensor, groups: int) -> torch.Tensor:
    """Swap the input and output channels of a convolution's weights, group by group."""
    if groups == 1:
        return w.transpose(0, 1)
    return w.reshape(groups, -1, *w.shape[1:]).transpose(1, 2).flatten(0, 1)


def _spread_out(x: torch.Tensor, strides: tuple[int, ...], size: tuple[int, ...]) -> torch.Tensor:
    """Insert zeros between the positions of a tensor, so that they are a stride apart, up to the given size."""
    if x.shape[2:] == size:
        return x
    wide = x.new_zeros((*x.shape[:2], *size))
    places = tuple(slice(0, (o - 1) * s + 1, s) for o, s in zip(x.shape[2:], strides, strict=True))
    wide[(slice(None), slice(None)) + places] = x  # noqa: RUF005 - a star in an index needs Python 3.11
    return wide


@reads("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def transposed_convolution(
    context: CallContext,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Read:
    """Transposed convolution: inputs and outputs of the weights are swapped."""
    n = weight.dim() - 2
    _check_weight(context, input, weight, bias, n)
    strides = pair(stride, n)

    def forward(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return TRANSPOSED[n](x, w, None, stride, padding, output_padding, groups, dilation)

    def adjoint(q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        back: torch.Tensor = CONVOLUTIONS[n](q, w, None, stride, padding, dilation, groups)
        # With output padding, there can be one window more than input positions.
        for dim, length in enumerate(input.shape[2:], 2):
            back = back.narrow(dim, 0, length)
        return back

    scale = tuple(1 / s for s in strides)

    def rows(w: torch.Tensor) -> torch.Tensor:
        return _kernels(torch.unflatten(w, 0, (groups, -1)).transpose(1, 2).flatten(0, 1))

    axes = _convolved(context, input, n, scale)
    return Affine(
        scale, input, weight, forward, adjoint, noise=Noise(groups, transposed=True), axes=axes, rows=rows,
        shift=_shift(bias, n),
    ), (input,)  # fmt: skip


def _itself(weight: torch.Tensor) -> torch.Tensor:
    return weight


def _linear(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return F.linear(x, w)


def _linear_adjoint(q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return q @ w


@reads("linear")
def linear(
    context: CallContext, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> Read:  # fmt: skip
    """Linear layer on the last dimension."""
    if context.carries(weight) or context.carries(bias):
        context.refuse("its weights are computed from the images, so it is ambiguous which of its two inputs wins.")
    return mixing(context, input, weight, bias)


def mixing(
    context: CallContext, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> Read:  # fmt: skip
    """`input @ weight.T + bias`."""
    if input.dim() < 2:
        context.refuse("its input has no image dimension.")
    layout = context.value(input).layout
    if layout is not None:
        suggest_channels(layout, -1)
    axes: Axes = (*(Kept(axis) for axis in range(input.dim() - 1)), Made())
    operation = Affine(
        None, input, weight, _linear, _linear_adjoint, axes=axes, matrix=True, rows=_itself, shift=_shift(bias, 0)
    )
    return operation, (input,)


@reads("cosine_similarity")
def cosine_similarity(
    context: CallContext, x1: torch.Tensor, x2: torch.Tensor, dim: int = 1, eps: Number = 1e-8
) -> Read:  # fmt: skip
    """Cosine similarity with constants: a product with normalised constants. The norm of the activations cancels."""
    if context.carries(x1) and context.carries(x2):
        context.refuse("it compares two activations, so it is ambiguous which of them wins.")
    x, constant = (x1, x2) if context.carries(x1) else (x2, x1)
    whole = common_shape(x.shape, constant.shape)
    axis = dim % len(whole) - len(whole)
    if len(whole) != x.dim() or axis == -len(whole) or (constant.dim() == x.dim() and constant.shape[0] > 1):
        context.refuse(
            "it mixes the images of the batch.", "The images must be the first axis of the activations only."
        )
    weight = F.normalize(constant.detach(), dim=axis, eps=float(eps))
    shape = x.shape[1:]

    def forward(a: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return (a * w).sum(axis)

    def adjoint(q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return (q.unsqueeze(axis) * w).sum_to_size(q.shape[0], *shape)

    kept = range(x.dim())
    axes: Axes = tuple(
        Made() if x.shape[place] == 1 != whole[place] else Kept(place) for place in kept if place != axis + x.dim()
    )
    return Affine(None, x, weight, forward, adjoint, axes=axes), (x,)
