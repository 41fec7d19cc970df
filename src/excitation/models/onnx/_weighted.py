"""Convolutions, matrix products and normalisations."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .._loaded import shown
from ._call import Call, axis_of, computes, padding, sides, space_of, spatial

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def window(call: Call, weight: torch.Tensor, dims: int) -> tuple[int, ...]:
    """The kernel size, checked against the node's attribute if present."""
    kernel = tuple(weight.shape[2:])
    if len(kernel) != dims or call.get("kernel_shape", kernel) != kernel:
        call.fail(f"its weight has shape {tuple(weight.shape)}, its kernel_shape is {call.get('kernel_shape', None)}.")
    return kernel


def groups(call: Call) -> int:
    """`group`, at least 1."""
    count: int = call.get("group", 1)
    if count < 1:
        call.fail(f"group is {count}; at least 1 is expected.")
    return count


@computes("Conv")
def convolution(call: Call, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Convolution in one to three dimensions; asymmetric padding is a separate operation before it."""
    dims = space_of(call, x)
    kernel = window(call, weight, dims)
    stride, dilation = spatial(call, "strides", dims, 1, 1), spatial(call, "dilations", dims, 1, 1)
    before, after = padding(call, x.shape[2:], kernel, stride, dilation)
    if before != after:
        call.room([*x.shape[:2], *(sum(s) for s in zip(x.shape[2:], before, after, strict=True))])
        x, before = F.pad(x, sides(before, after)), (0,) * dims
    return CONVOLUTIONS[dims](x, weight, bias, stride, before, dilation, groups(call))


@computes("ConvTranspose")
def transposed_convolution(
    call: Call, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Transposed convolution; padding crops the output, with separate amounts on each side."""
    dims = space_of(call, x)
    kernel = window(call, weight, dims)
    stride, dilation = spatial(call, "strides", dims, 1, 1), spatial(call, "dilations", dims, 1, 1)
    more = spatial(call, "output_padding", dims, 0, 0)
    whole = [
        (size - 1) * step + wide * (k - 1) + 1 + extra
        for size, step, wide, k, extra in zip(x.shape[2:], stride, dilation, kernel, more, strict=True)
    ]
    target = call.get("output_shape", None)
    how = call.get("auto_pad", "NOTSET")
    if target is None and how in {"SAME_UPPER", "SAME_LOWER"}:
        target = tuple(size * step for size, step in zip(x.shape[2:], stride, strict=True))
    if target is None:
        before, after = padding(call, x.shape[2:], kernel, stride, dilation)
    else:
        target = tuple(target)[-dims:]
        total = [w - o for w, o in zip(whole, target, strict=True)]
        if min(total) < 0:
            call.fail(f"output_shape {target} is larger than what it computes, {tuple(whole)}.")
        less, rest = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
        before, after = (less, rest) if how == "SAME_UPPER" else (rest, less)
    call.room([x.shape[0], weight.shape[1] * groups(call), *whole])
    if before == after:
        return TRANSPOSED[dims](x, weight, bias, stride, before, more, groups(call), dilation)
    made = TRANSPOSED[dims](x, weight, bias, stride, 0, more, groups(call), dilation)
    places = tuple(slice(b, size - a) for b, a, size in zip(before, after, made.shape[2:], strict=True))
    places = (slice(None), slice(None), *places)
    return made[places]


@computes("Gemm")
def gemm(call: Call, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
    """`alpha A B + beta C`, with optional transposition of either factor."""
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    if a.dim() != 2 or b.dim() != 2:
        call.fail(f"its inputs have shapes {tuple(a.shape)} and {tuple(b.shape)}; two matrices are expected.")
    a = a.t() if call.get("transA", 0) else a
    b = b if call.get("transB", 0) else b.t()
    if c is not None and alpha == beta == 1 and c.dim() == 1 and c.shape[0] == b.shape[0]:
        return F.linear(a, b, c)
    made = F.linear(a, b)
    made = made if alpha == 1 else made * alpha
    if c is None:
        return made
    return made + (c if beta == 1 else c * beta)


@computes("MatMul")
def matrix_product(call: Call, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Matrix product, as in NumPy."""
    del call
    return torch.matmul(a, b)


@computes("Einsum")
def einsum(call: Call, *tensors: torch.Tensor) -> torch.Tensor:
    """Einstein summation."""
    equation = call.get("equation", "")
    if len(equation) > 200 or not set(equation) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,-> "):
        call.fail(f"equation is {shown(equation)}; letters, commas, dots and an arrow are expected.")
    return torch.einsum(equation, *tensors)


@computes("BatchNormalization", statistics=(3, 4))
def batch_norm(
    call: Call, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor
) -> torch.Tensor:
    """Batch normalisation with stored statistics."""
    if call.get("training_mode", 0) or call.outputs > 1:
        call.fail("it normalises by the statistics of each batch; export the model in evaluation mode.")
    if not call.get("spatial", 1):
        call.fail("spatial is 0: statistics for each place are not supported; export the model with opset 9 or newer.")
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, call.get("epsilon", 1e-5))


@computes("InstanceNormalization")
def instance_norm(call: Call, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Normalisation over the spatial dimensions of each channel."""
    return F.instance_norm(x, weight=scale, bias=bias, eps=call.get("epsilon", 1e-5))


@computes("LayerNormalization")
def layer_norm(
    call: Call, x: torch.Tensor, scale: torch.Tensor | None = None, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Normalisation over the axes from the given one; `fuse` creates nodes without a scale."""
    if call.outputs > 1:
        call.fail("its mean and deviation are used, which is not supported.")
    shape, eps = list(x.shape[axis_of(call, x, call.get("axis", -1)) :]), call.get("epsilon", 1e-5)
    if all(item is None or list(item.shape) == shape for item in (scale, bias)):
        return F.layer_norm(x, shape, scale, bias, eps)
    made = F.layer_norm(x, shape, None, None, eps)
    made = made if scale is None else made * scale
    return made if bias is None else made + bias


@computes("GroupNormalization")
def group_norm(call: Call, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Normalisation over groups of channels; one scale per group before opset 21, one per channel since."""
    count = call.get("num_groups", 0)
    if count < 1 or x.dim() < 2 or x.shape[1] % count:
        call.fail(f"its input of shape {tuple(x.shape)} cannot be split into {count} groups of channels.")
    if call.version < 21:
        scale, bias = (item.repeat_interleave(x.shape[1] // count) for item in (scale, bias))
    return F.group_norm(x, count, scale, bias, call.get("epsilon", 1e-5))


@computes("LRN")
def local_response_norm(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Normalisation over adjacent channels. For even sizes, ONNX has one more channel above, PyTorch one more below."""
    size = call.get("size", 1)
    if not 1 <= size < 1 << 16:
        call.fail(f"size is {size}; at least 1 is expected.")
    settings: tuple[Any, ...] = (size, call.get("alpha", 1e-4), call.get("beta", 0.75), call.get("bias", 1.0))
    if size % 2:
        return F.local_response_norm(x, *settings)
    return F.local_response_norm(x.flip(1), *settings).flip(1)


@computes("LpNormalization")
def lp_norm(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Normalise to unit length along an axis."""
    order = call.get("p", 2)
    if order not in {1, 2}:
        call.fail(f"p is {order}; 1 or 2 is expected.")
    return F.normalize(x, p=float(order), dim=axis_of(call, x, call.get("axis", -1)))
