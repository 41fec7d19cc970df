"""Finds output channels with weights of one sign. They increase, or decrease, with all of their inputs."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float

from .._values import version_of

SOME = 8
"""Inputs that are looked at first: few channels have one sign there by chance."""

Signs = tuple[Bool[torch.Tensor, "..."], Bool[torch.Tensor, "..."]]
"""Outputs without negative weights, and those without positive ones; one whose weights are zero is of the first."""

Rows = Callable[[torch.Tensor], torch.Tensor]
"""Lays out a weight so that the last axis holds what an output adds up, and the others broadcast to the output."""

_kept: dict[int, tuple[weakref.ref[torch.Tensor], tuple[object, ...], Signs | None]] = {}


def one_signed(weight: Float[torch.Tensor, "*shape"], rows: Rows) -> Signs | None:
    """Return the outputs with weights of one sign; `None` if there are none.

    On an accelerator, the result is cached while the weight does not change, because the check synchronises the device.

    Args:
        weight: weight of an operation.
        rows: reshapes the weight so that the last axis contains the weights of one output.
    """
    if weight.device.type == "cpu":
        return _looked_up(weight, rows)
    stamp = (version_of(weight), weight.data_ptr(), rows(weight).shape)
    found = _kept.get(id(weight))
    if found is None or found[0]() is not weight or found[1] != stamp:
        key = id(weight)
        found = weakref.ref(weight, lambda _: _kept.pop(key, None)), stamp, _looked_up(weight, rows)
        _kept[key] = found
    return found[2]


def _looked_up(weight: torch.Tensor, rows: Rows) -> Signs | None:
    flat = rows(weight.detach())
    least, most = torch.aminmax(flat[..., :SOME], dim=-1)
    if flat.shape[-1] > SOME:
        if not bool(((least >= 0) | (most <= 0)).any()):
            return None
        least, most = torch.aminmax(flat, dim=-1)
    rising = least >= 0
    falling = (most <= 0) & ~rising
    return (rising, falling) if bool((rising | falling).any()) else None
