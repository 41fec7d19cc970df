"""Top-down signals and the arithmetic that all rules share.

A signal is a tensor `(polarity, target, *activation)`. Polarity 0 is the mass on the raised neuron `max(x, 0)`.
Polarity 1 is the mass on the lowered neuron `max(-x, 0)`. It exists only if it is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float

from ..._errors import LayerError
from .._grid import per_image
from .._layout import Layout
from .._values import Value

Signal = Float[torch.Tensor, "_ target ..."]
"""A signal: `(polarity, target, *activation)`."""

Lose = Callable[[Float[torch.Tensor, "target ..."]], None]
"""Receives mass that ends at an operation: `(target, *activation)`, one polarity at a time."""

RAISED, LOWERED = 0, 1


def swapped(p: Signal) -> Signal:
    """Return the signal with swapped polarities."""
    if p.shape[0] == 1:
        return torch.cat([torch.zeros_like(p), p])
    return p.flip(0)


def with_both(p: Signal) -> Signal:
    """Return the signal with a lowered part, zero if it had none."""
    return p if p.shape[0] == 2 else torch.cat([p, torch.zeros_like(p)])


def added(a: Signal | None, b: Signal) -> Signal:
    """Return the sum of two signals on the same neurons."""
    if a is None:
        return b
    if a.shape[0] != b.shape[0]:
        a, b = with_both(a), with_both(b)
    return a + b


def contrasted(p: Signal) -> Signal:
    """Return the signal of a unit minus the signal of its dual (Sec. 3.3).

    The dual unit has negated weights, so that it equals the lowered neuron of the unit. Therefore, `P(A1) - P(dual A1)`
    is the signal that starts with `p` on the raised neuron and `-p` on the lowered neuron.
    """
    return added(p, -swapped(p))


def channel_sum(p: Float[torch.Tensor, "_ target image channel *space"]) -> Float[torch.Tensor, "image target *space"]:
    """The attention map: mass summed over polarities and channels (Sec. 3.2)."""
    whole = p[0] if p.shape[0] == 1 else p.sum(0)
    return whole.sum(2).transpose(0, 1)


def attention_map(p: Signal, value: Value) -> Float[torch.Tensor, "image target *space"]:
    """Return the attention map of a signal on a layer: `channel_sum` at the positions of the layer.

    Args:
        p: the signal.
        value: the layer.

    Returns:
        Maps `(image, target, *views, *space)`. View axes exist if the layer contains several views of each image.

    Raises:
        LayerError: the spatial axes of the layer are unknown, or it has none.
    """
    grid = value.grid()
    if isinstance(grid, str):
        raise LayerError(f"layer {value.address!r} has no map: {grid}; choose another layer.")
    return channel_sum(grid.arranged(p, lead=2))


def total(p: Signal, layout: Layout | None = None) -> Float[torch.Tensor, "image target"]:
    """Return the mass of each image and target, `(image, target)`, in double precision.

    Args:
        p: the signal.
        layout: layout of the tensor. Without it, the first axis is the image axis.
    """
    return per_image(layout, p.double().sum(0), 1).transpose(0, 1)


def reduced_to(p: Signal, shape: torch.Size) -> Signal:
    """Return the signal on a tensor of this shape before broadcasting: the signals of the copies are summed."""
    if p.shape[2:] == shape:
        return p
    # Polarity and target precede the axes of the activation, so new leading axes are summed explicitly.
    extra = p.dim() - 2 - len(shape)
    p = p.sum(tuple(range(2, 2 + extra))) if extra else p
    repeated = tuple(2 + place for place, size in enumerate(shape) if size == 1 != p.shape[2 + place])
    return p.sum(repeated, keepdim=True) if repeated else p
