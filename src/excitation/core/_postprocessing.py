"""Post-processing of maps: resizing, scaling, and the named steps of the paper's experiments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float

from .._checks import SIDES, check_choice, check_names, check_number, check_size
from .._errors import ExcitationError
from .._precision import own_precision

Maps = Float[torch.Tensor, "image target *space"]
SIGMA = 0.02
"""Standard deviation of the Gaussian, as a fraction of the longer side (Sec. 4.1)."""


def blur(maps: Maps, *, sigma: float = SIGMA) -> Float[torch.Tensor, "image target *space"]:
    """Blur maps with a Gaussian; its standard deviation is `sigma` times the longer side of the maps, in pixels.

    The paper blurs the maps of Grad, Deconv and LRP with `0.02 max(W, H)`. The kernel is truncated at four standard
    deviations. The border values are replicated beyond the edges.
    """
    _check_maps(maps)
    check_number("sigma", sigma, "a part of the longer side", least=0)
    size = maps.shape[2:]
    deviation = sigma * max(size)
    if deviation <= 0:
        return maps
    reach = math.ceil(4 * deviation)
    steps = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-(steps**2) / (2 * deviation**2))
    kernel = kernel / kernel.sum()
    for dim in range(2, maps.dim()):
        lines = maps.movedim(dim, -1)
        flat = lines.reshape(-1, 1, lines.shape[-1])
        with own_precision(flat):
            flat = F.conv1d(F.pad(flat, (reach, reach), mode="replicate"), kernel[None, None])
        maps = flat.reshape(lines.shape).movedim(-1, dim)
    return maps


def resize_maps(maps: Maps, size: Sequence[int]) -> Float[torch.Tensor, "image target *_"]:
    """Resize maps: linear interpolation in one dimension, bicubic in two, trilinear in three.

    Args:
        maps: `(image, target, *, *space)`; axes between targets and space are kept.
        size: target size in pixels, one number per spatial dimension.
    """
    dimensions = len(tuple(size))
    size = check_size("size", size, SIDES.get(dimensions, "(height, width)"), dimensions=dimensions)
    mode = {1: "linear", 2: "bicubic", 3: "trilinear"}[dimensions]
    lead = maps.shape[: maps.dim() - dimensions]
    resized = F.interpolate(maps.flatten(0, -dimensions - 1)[:, None], size=size, mode=mode, align_corners=False)
    return resized.reshape(*lead, *size)


def normalize_maps(maps: Maps, by: Literal["max", "sum"]) -> Maps:
    """Divide each map by its largest absolute value or by its absolute sum. Empty maps are not changed."""
    check_choice("by", by, ("max", "sum"))
    flat = maps.flatten(2).abs()
    size = flat.amax(2) if by == "max" else flat.sum(2)
    return maps / torch.where(size > 0, size, 1).reshape(*maps.shape[:2], *(1,) * (maps.dim() - 2))


def _check_maps(maps: object) -> None:
    if not isinstance(maps, torch.Tensor) or maps.dim() < 3:
        shape = tuple(maps.shape) if isinstance(maps, torch.Tensor) else type(maps).__name__
        raise ExcitationError(f"maps are {shape}; a tensor (image, target, height, width) is expected.")


def enlarge(maps: Maps, size: Sequence[int]) -> Float[torch.Tensor, "image target *_"]:
    """Resize maps by bicubic interpolation, like `Explanation.resized`."""
    _check_maps(maps)
    size = check_size("size", size, "one number for each dimension of space", dimensions=maps.dim() - 2)
    return resize_maps(maps, size) if tuple(maps.shape[2:]) != size else maps


STEPS: dict[str, Callable[[torch.Tensor, Sequence[int]], torch.Tensor]] = {
    "bicubic": enlarge,
    "blur": lambda maps, _: blur(maps),
}
"""Post-processing steps by name. Each takes maps and the size of the images and returns maps."""


def post_process(maps: Maps, steps: Sequence[str], size: Sequence[int]) -> Float[torch.Tensor, "image target *_"]:
    """Apply post-processing steps in order, for example `post_process(maps, find_method(name).steps, size)`.

    Args:
        maps: `(image, target, *space)`.
        steps: names in `STEPS`: `"bicubic"` resizes to the size of the images, `"blur"` applies the paper's blur.
        size: `(height, width)` of the images in pixels.

    Raises:
        ExcitationError: an unknown step.
    """
    for name in check_names("steps", steps):
        if name not in STEPS:
            raise ExcitationError(f"unknown step {name!r}; choose among {', '.join(map(repr, STEPS))}.")
        maps = STEPS[name](maps, size)
    return maps
