"""Post-processing of maps: other sizes, other scales, and the named steps of the paper's games."""

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
"""Of the Gaussian, as a part of the longer side (Sec. 4.1)."""


def blur(maps: Maps, *, sigma: float = SIGMA) -> Float[torch.Tensor, "image target *space"]:
    """Gaussian blur with a deviation of `sigma` times the longer side of the maps, in pixels.

    The paper blurs the maps of Grad, Deconv and LRP with `0.02 max(W, H)`. Cut off at four deviations; beyond the
    edges the outermost values go on.
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
    """Maps at another size: linear in one dimension, bicubic in two, trilinear in three.

    Args:
        maps: any; axes between targets and space are kept.
        size: of the dimensions of space, in pixels.
    """
    dimensions = len(tuple(size))
    size = check_size("size", size, SIDES.get(dimensions, "(height, width)"), dimensions=dimensions)
    mode = {1: "linear", 2: "bicubic", 3: "trilinear"}[dimensions]
    lead = maps.shape[: maps.dim() - dimensions]
    resized = F.interpolate(maps.flatten(0, -dimensions - 1)[:, None], size=size, mode=mode, align_corners=False)
    return resized.reshape(*lead, *size)


def normalize_maps(maps: Maps, by: Literal["max", "sum"]) -> Maps:
    """Maps divided by their largest absolute value or their absolute sum; empty maps stay empty."""
    check_choice("by", by, ("max", "sum"))
    flat = maps.flatten(2).abs()
    size = flat.amax(2) if by == "max" else flat.sum(2)
    return maps / torch.where(size > 0, size, 1).reshape(*maps.shape[:2], *(1,) * (maps.dim() - 2))


def _check_maps(maps: object) -> None:
    if not isinstance(maps, torch.Tensor) or maps.dim() < 3:
        shape = tuple(maps.shape) if isinstance(maps, torch.Tensor) else type(maps).__name__
        raise ExcitationError(f"maps are {shape}; a tensor (image, target, height, width) is expected.")


def enlarge(maps: Maps, size: Sequence[int]) -> Float[torch.Tensor, "image target *_"]:
    """Maps at another size, by bicubic interpolation as `Explanation.resized`."""
    _check_maps(maps)
    size = check_size("size", size, "one number for each dimension of space", dimensions=maps.dim() - 2)
    return resize_maps(maps, size) if tuple(maps.shape[2:]) != size else maps


STEPS: dict[str, Callable[[torch.Tensor, Sequence[int]], torch.Tensor]] = {
    "bicubic": enlarge,
    "blur": lambda maps, _: blur(maps),
}
"""Post-processing by name: maps and the size of the images to maps."""


def post_process(maps: Maps, steps: Sequence[str], size: Sequence[int]) -> Float[torch.Tensor, "image target *_"]:
    """Apply steps in order, for example those of a method: `post_process(maps, find_method(name).steps, size)`.

    Args:
        maps: any.
        steps: names among `STEPS`: `"bicubic"` to the images' size, `"blur"` as the paper's.
        size: `(height, width)` of the images in pixels.

    Raises:
        ExcitationError: no such step.
    """
    for name in check_names("steps", steps):
        if name not in STEPS:
            raise ExcitationError(f"there is no step {name!r}; choose among {', '.join(map(repr, STEPS))}.")
        maps = STEPS[name](maps, size)
    return maps
