"""Pooling and reductions."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ._call import Call, axes_of, axis_of, computes, padding, sides, space_of, spatial

MAXIMUM = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
GLOBAL: dict[str, dict[int, Any]] = {
    "GlobalAveragePool": {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d},
    "GlobalMaxPool": {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d},
}


def _padded(call: Call, x: torch.Tensor, before: Any, after: Any, value: float) -> torch.Tensor:
    call.room([*x.shape[:2], *(sum(s) for s in zip(x.shape[2:], before, after, strict=True))])
    return F.pad(x, sides(before, after), value=value)


def _apart(before: tuple[int, ...], after: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
    """Whether the padding needs a separate operation, because PyTorch's pooling does not support it."""
    return before != after or any(2 * p > k for p, k in zip(before, kernel, strict=True))


@computes("MaxPool")
def max_pool(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Maximum of each window."""
    dims = space_of(call, x)
    if "kernel_shape" not in call.attributes or call.outputs > 1:
        call.fail("a kernel_shape and one output are expected; the places of the maxima are not supported.")
    kernel, stride = spatial(call, "kernel_shape", dims, 1, 1), spatial(call, "strides", dims, 1, 1)
    dilation, ceil = spatial(call, "dilations", dims, 1, 1), bool(call.get("ceil_mode", 0))
    before, after = padding(call, x.shape[2:], kernel, stride, dilation)
    if _apart(before, after, kernel):
        x, before = _padded(call, x, before, after, float("-inf")), (0,) * dims
    return MAXIMUM[dims](x, kernel, stride, before, dilation, ceil_mode=ceil)


@computes("AveragePool")
def average_pool(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Mean of each window, including padding with `count_include_pad`."""
    dims = space_of(call, x)
    if "kernel_shape" not in call.attributes:
        call.fail("its kernel_shape is missing.")
    kernel, stride = spatial(call, "kernel_shape", dims, 1, 1), spatial(call, "strides", dims, 1, 1)
    if set(spatial(call, "dilations", dims, 1, 1)) != {1}:
        call.fail("dilated averages are not supported.")
    ceil, include = bool(call.get("ceil_mode", 0)), bool(call.get("count_include_pad", 0))
    before, after = padding(call, x.shape[2:], kernel, stride, (1,) * dims)
    if not _apart(before, after, kernel):
        return AVERAGE[dims](x, kernel, stride, before, ceil, include)
    pooled = AVERAGE[dims](_padded(call, x, before, after, 0.0), kernel, stride, 0, ceil)
    if include:
        return pooled
    counted = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    return pooled / AVERAGE[dims](_padded(call, counted, before, after, 0.0), kernel, stride, 0, ceil)


@computes(*GLOBAL)
def global_pool(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Pooling over all spatial dimensions, which are kept with length 1."""
    pooled: torch.Tensor = GLOBAL[call.kind][space_of(call, x)](x, 1)
    return pooled


REDUCTIONS = ("Mean", "Sum", "Max", "Min", "L1", "L2", "Prod", "SumSquare")


@computes(*(f"Reduce{name}" for name in REDUCTIONS), host=(1,))
def reduction(call: Call, x: torch.Tensor, axes: Any = None) -> torch.Tensor:
    """Reduction over the given axes, or over all; axes are an attribute in older opsets and an input in newer ones."""
    given = call.get("axes", None) if axes is None else axes
    if not given and call.get("noop_with_empty_axes", 0):
        return x
    dims = axes_of(call, x, given) if given else list(range(x.dim()))
    keep = bool(call.get("keepdims", 1))
    kind = call.kind.removeprefix("Reduce")
    if not dims:
        return x
    if kind == "Mean":
        return x.mean(dims, keepdim=keep)
    if kind in {"Sum", "SumSquare"}:
        return (x if kind == "Sum" else x * x).sum(dims, keepdim=keep).to(x.dtype)
    if kind in {"Max", "Min"}:
        return (torch.amax if kind == "Max" else torch.amin)(x, dims, keepdim=keep)
    if kind in {"L1", "L2"}:
        norm: torch.Tensor = torch.linalg.vector_norm(x, int(kind[1]), dims, keepdim=keep)
        return norm
    for axis in sorted(dims, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


@computes("ArgMax", "ArgMin")
def arg_max(call: Call, x: torch.Tensor) -> torch.Tensor:
    """Index of the maximum or minimum along an axis; the first of several."""
    if call.get("select_last_index", 0):
        call.fail("select_last_index is not supported.")
    function = torch.argmax if call.kind == "ArgMax" else torch.argmin
    return function(x, axis_of(call, x, call.get("axis", 0)), keepdim=bool(call.get("keepdims", 1)))
