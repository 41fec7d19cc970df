"""Readers for pooling: averages with fixed weights, and maxima."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .._axes import Axes, Kept, Resampled
from .._layout import claim_space
from ._families import Average, PowerAverage, Reach, Winner
from ._readers import CallContext, Number, Read, pair, reads, reduced_axes, reduced_dims


def transpose_of(forward: Callable[[torch.Tensor], torch.Tensor], like: torch.Tensor) -> Callable[[Any], torch.Tensor]:
    """Return the transpose of a linear operation that treats all images alike, for any number of images."""
    shape = like.shape[1:]

    def adjoint(q: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            x = torch.zeros((q.shape[0], *shape), dtype=q.dtype, device=q.device, requires_grad=True)
            y = forward(x)
        return torch.autograd.grad(y, x, q, create_graph=q.requires_grad)[0]

    return adjoint


def _space(name: str) -> int:
    return int(name.split("pool")[1][0])


def _average(
    input: torch.Tensor,
    forward: Callable[[torch.Tensor], torch.Tensor],
    scale: Any,
    weights: float | None,
    mean: bool,
    reach: Reach | None = None,
    overall: bool = False,
    *,
    axes: Axes,
) -> Read:
    adjoint = transpose_of(forward, input)
    overall = overall and input.dim() == 4
    return Average(scale, input, forward, adjoint, weights, mean, reach, overall, axes=axes), (input,)


def _pooled(context: CallContext, input: torch.Tensor, space: int, steps: Sequence[float] | None) -> Axes:
    """Return the axes: the last `space` axes are resampled, and all axes before them are kept."""
    layout = context.value(input).layout
    if layout is not None and input.dim() == space + 2:
        claim_space(layout, space)
    kept = input.dim() - space
    return (
        *map(Kept, range(kept)),
        *(Resampled(kept + place, None if steps is None else steps[place]) for place in range(space)),
    )


def _reach(input: torch.Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> Reach | None:
    """Return the receptive field of two-dimensional pooling; `None` for other pooling."""
    if input.dim() != 4:
        return None
    return Reach(pair(kernel, 2), pair(stride, 2), pair(padding, 2), pair(dilation, 2))


@reads("avg_pool1d", "avg_pool2d", "avg_pool3d")
def average_pooling(
    context: CallContext,
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Read:
    """Average pooling. The divisors cancel in Eq. 4, so that the signal does not depend on how padding is counted."""
    n = _space(context.name)
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[n]
    step = kernel_size if stride is None or (isinstance(stride, (list, tuple)) and not stride) else stride
    settings = (ceil_mode, count_include_pad) if divisor_override is None else (
        ceil_mode, count_include_pad, divisor_override)  # fmt: skip

    def forward(x: torch.Tensor) -> torch.Tensor:
        return pool(x, kernel_size, step, padding, *settings)

    weights, inside = 1.0, not any(pair(padding, n)) or not count_include_pad
    if divisor_override is not None:
        weights = math.prod(pair(kernel_size, n)) / divisor_override
        inside = not any(pair(padding, n)) and not ceil_mode
    reach = _reach(input, kernel_size, step, padding) if n == 2 else None
    steps = tuple(float(s) for s in pair(step, n))
    axes = _pooled(context, input, n, steps)
    return _average(input, forward, steps, weights if inside else None, mean=weights <= 1, reach=reach, axes=axes)


@reads("lp_pool1d", "lp_pool2d", "lp_pool3d")
def power_pooling(
    context: CallContext, input: torch.Tensor, norm_type: Number, kernel_size: Any, stride: Any = None,
    ceil_mode: bool = False,
) -> Read:  # fmt: skip
    """The p-norm of each window. The shares of the inputs are proportional to their p-th powers."""
    n, p = _space(context.name), float(norm_type)
    value = context.value(input)
    if not 0 < p < math.inf or not value.nonnegative:
        context.refuse(
            f"p-norm pooling has a rule for finite p > 0 and inputs that are never negative; p is {p:g}"
            f"{'' if value.nonnegative else ' and its inputs can be negative'}."
        )
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[n]
    step = kernel_size if stride is None or (isinstance(stride, (list, tuple)) and not stride) else stride
    powers = input.detach().pow(p)
    if isinstance(value.lower, torch.Tensor) or value.lower != 0:
        # The rule counts activations from the bound of the input. Powers are counted from the power of the bound.
        low = torch.as_tensor(value.lower).to(input)
        powers = powers - low.pow(p) + low

    def forward(x: torch.Tensor) -> torch.Tensor:
        return pool(x, kernel_size, step, 0, ceil_mode)

    reach = _reach(input, kernel_size, step, 0) if n == 2 else None
    adjoint, count = transpose_of(forward, input), math.prod(pair(kernel_size, n))
    scale = tuple(float(s) for s in pair(step, n))
    axes = _pooled(context, input, n, scale)
    return PowerAverage(scale, powers, forward, adjoint, 1.0, True, reach, root=p, count=count, axes=axes), (input,)


@reads("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def adaptive_average_pooling(context: CallContext, input: torch.Tensor, output_size: Any) -> Read:
    """Adaptive and global average pooling."""
    pool = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[_space(context.name)]

    def forward(x: torch.Tensor) -> torch.Tensor:
        return pool(x, output_size)

    sizes = output_size if isinstance(output_size, (list, tuple)) else (output_size,)
    single = context.name.endswith("2d") and all(size == 1 for size in sizes)
    axes = _pooled(context, input, _space(context.name), None)
    return _average(input, forward, None, 1.0, mean=True, overall=single, axes=axes)


@reads("interpolate", "upsample", "upsample_nearest", "upsample_bilinear")
def interpolation(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Interpolation: affine with the nonnegative weights of the neighbours."""
    mode = kwargs.get("mode", args[2] if len(args) > 2 else "nearest")
    if mode == "bicubic":
        context.refuse("bicubic interpolation has negative weights that are not learned.", "Use bilinear.")
    resize = getattr(F, context.name)

    def forward(x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = resize(x, *args, **kwargs)
        return result

    return _average(input, forward, None, 1.0, mean=True, axes=_pooled(context, input, input.dim() - 2, None))


@reads("mean", "sum")
def mean_or_sum(
    context: CallContext,
    input: torch.Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Read:
    """Mean or sum over dimensions: affine with equal weights."""
    del dtype
    dims, mean = reduced_dims(input, dim), context.name == "mean"

    count = math.prod(input.shape[d] for d in dims)
    left = [1 if d in dims else size for d, size in enumerate(input.shape)]
    apart = 0 not in dims

    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.mean(dims, keepdim) if mean else x.sum(dims, keepdim)

    def adjoint(q: torch.Tensor) -> torch.Tensor:
        q = q.reshape(-1, *(left[1:] if apart else left))
        back = (q / count if mean else q).expand(-1, *(input.shape[1:] if apart else input.shape))
        return back if apart else back.flatten(0, 1)

    overall = set(dims) == {2, 3} and input.dim() == 4
    weights = 1.0 if mean else float(count)
    axes = reduced_axes(input.dim(), dims, keepdim=keepdim)
    learned = not context.value(input).multiplied.isdisjoint(dims)
    average = Average(
        None, input, forward, adjoint, weights, weights <= 1, None, overall, apart=apart, axes=axes, learned=learned,
        centres=dims if mean and keepdim and apart else (),
    )  # fmt: skip
    return average, (input,)


@reads(
    *(f"{kind}max_pool{n}d{tail}" for kind in ("", "adaptive_") for n in (1, 2, 3) for tail in ("", "_with_indices"))
)
def max_pooling(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Max pooling. All signal passes to the winner, the first in row-major order, as in PyTorch."""
    n = _space(context.name)
    adaptive = context.name.startswith("adaptive")
    pool = getattr(F, f"{'adaptive_' if adaptive else ''}max_pool{n}d")
    kwargs = dict(kwargs)
    if adaptive:
        kwargs |= dict(zip(("output_size", "return_indices"), args, strict=False))
        scale = reach = None
    else:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
        kwargs |= dict(zip(names, args, strict=False))
        step = kwargs.get("stride")
        step = kwargs["kernel_size"] if step is None or (isinstance(step, (list, tuple)) and not step) else step
        scale = tuple(float(s) for s in pair(step, n))
        more = kwargs.get("padding", 0), kwargs.get("dilation", 1)
        reach = _reach(input, kwargs["kernel_size"], step, *more) if n == 2 else None

    dims = (input.dim() - n, input.dim())
    both = bool(kwargs.pop("return_indices", False)) or context.name.endswith("_with_indices")

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        if adaptive or n != 2 or input.device.type != "cpu" or input.dim() != 4 or not input.is_contiguous():
            return pool(input, **kwargs, return_indices=True)  # type: ignore[no-any-return]
        # This layout gives the same maxima and positions and is several times faster.
        found = pool(input.contiguous(memory_format=torch.channels_last), **kwargs, return_indices=True)
        return found[0].contiguous(), found[1].contiguous()

    def indices(x: torch.Tensor) -> torch.Tensor:
        return pool(x, **kwargs, return_indices=True)[1].flatten(-n)  # type: ignore[no-any-return]

    def maximum(x: torch.Tensor) -> torch.Tensor:
        return pool(x, **kwargs)  # type: ignore[no-any-return]

    axes = _pooled(context, input, n, scale)
    return Winner(
        scale=scale, input=input, indices=indices, maximum=maximum, dims=dims, run=run, both=both, reach=reach,
        axes=axes,
    ), (input,)  # fmt: skip
