"""Post-processing of maps as named steps: what the paper does to them before it looks for their maximum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float

from .._checks import check_names, check_number, check_size
from .._errors import ExcitationError
from .._explain import _resized
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


def _check_maps(maps: object) -> None:
    if not isinstance(maps, torch.Tensor) or maps.dim() < 3:
        shape = tuple(maps.shape) if isinstance(maps, torch.Tensor) else type(maps).__name__
        raise ExcitationError(f"maps are {shape}; a tensor (image, target, height, width) is expected.")


def enlarge(maps: Maps, size: Sequence[int]) -> Float[torch.Tensor, "image target *_"]:
    """Maps at another size, by bicubic interpolation as `explain(resize=...)`."""
    _check_maps(maps)
    size = check_size("size", size, "one number for each dimension of space", dimensions=maps.dim() - 2)
    return _resized(maps, maps, size) if tuple(maps.shape[2:]) != size else maps


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
