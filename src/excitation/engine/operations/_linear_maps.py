"""Readers for linear operations with fixed nonnegative weights: grid sampling, fold, cumulative sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from .._axes import Axes, Kept, Made, Resampled
from ._families import Average
from ._pooling import transpose_of
from ._readers import CallContext, Read, reads
from ._selection import along


def linear_map(
    input: torch.Tensor,
    forward: Callable[[torch.Tensor], torch.Tensor],
    axes: Axes | None,
    *,
    mean: bool = False,
    apart: bool = True,
) -> Read:
    """Read a linear operation. Its transpose is computed by automatic differentiation.

    Args:
        input: activations.
        forward: the operation on a tensor with the shape of the input. With `apart`, the number of images can differ.
        axes: relation of the output's axes to the input's axes.
        mean: whether the weights of an output sum to at most one.
        apart: whether the operation keeps the first axis and treats all its positions alike.
    """
    if apart:
        return Average(None, input, forward, transpose_of(forward, input), None, mean, axes=axes), (input,)
    shape = input.shape

    def one_by_one(x: torch.Tensor) -> torch.Tensor:
        parts = [forward(part) for part in x.reshape(-1, *shape)]
        return torch.cat(parts) if parts[0].dim() else torch.stack(parts)

    def adjoint(q: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            x = torch.zeros(shape, dtype=q.dtype, device=q.device, requires_grad=True)
            y = forward(x)
        back = [
            torch.autograd.grad(y, x, part, retain_graph=True, create_graph=q.requires_grad)[0]
            for part in q.reshape(-1, *y.shape)
        ]
        return torch.cat(back) if shape else torch.stack(back)

    return Average(None, input, one_by_one, adjoint, None, mean, axes=axes, apart=False), (input,)


@reads("grid_sample", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def grid_sampling(
    context: CallContext, input: torch.Tensor, grid: torch.Tensor, mode: Any = "bilinear", padding_mode: Any = "zeros",
    align_corners: bool | None = None,
) -> Read:  # fmt: skip
    """Interpolation at the positions of a grid. The grid can depend on the images, but receives no signal."""
    if not context.carries(input):
        context.refuse("it samples constants at positions that depend on the images.")
    modes = {0: "bilinear", 1: "nearest", 2: "bicubic"}
    paddings = {0: "zeros", 1: "border", 2: "reflection"}
    mode, padding_mode = modes.get(mode, mode), paddings.get(padding_mode, padding_mode)
    if mode == "bicubic":
        context.refuse("bicubic interpolation has negative weights that are not learned.", "Use bilinear.")

    def forward(x: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(x, grid.to(x.dtype), mode, padding_mode, align_corners)

    axes: Axes = (Kept(0), Kept(1), *(Resampled(a) for a in range(2, input.dim())))
    return linear_map(input, forward, axes, mean=True, apart=False)


@reads("fold")
def fold(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """`fold`: overlapping windows are summed into a map."""
    del context

    def forward(x: torch.Tensor) -> torch.Tensor:
        return F.fold(x, *args, **kwargs)

    if input.dim() == 3:
        return linear_map(input, forward, (Kept(0), Made(), Made(), Made()))
    return linear_map(input, forward, (Made(), Made(), Made()), apart=False)


@reads("cumsum")
def running_sum(context: CallContext, input: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Read:
    """Cumulative sum along a dimension."""
    del context, dtype
    axis = dim % max(input.dim(), 1)
    return linear_map(input, lambda x: x.cumsum(axis), along(input, axis, 1.0), apart=axis > 0)
