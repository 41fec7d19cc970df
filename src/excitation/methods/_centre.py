"""A control method that ignores the image: a peak at the centre."""

from __future__ import annotations

import torch

from ..core import Maps, Request, find_place, working
from ..engine import Grid
from ._registry import method


@method(
    "centre",
    "Points at the centre of every image.",
    family="control",
    place=None,
    source="Zhang et al., ECCV 2016, Table 1 (Center)",
    cost="none; 1 F where a layer is named",
    aliases=("center",),
)
def centre(request: Request) -> Maps:
    """A cone around the central cell with sum one, at the size of the image or of a layer."""
    size = request.images.shape[2:]
    if request.layer is not None:
        value = find_place(request.record([request.layer]), request.layer).value
        assert value is not None
        grid = value.grid()
        assert isinstance(grid, Grid)
        size = torch.Size((*grid.views, *grid.space))
    like = working(request.images[:0])
    squares = torch.zeros(size, dtype=like.dtype, device=like.device)
    for dim, length in enumerate(size):
        steps = torch.arange(length, dtype=like.dtype, device=like.device) - length // 2
        squares = squares + (steps.reshape(-1, *(1,) * (len(size) - 1 - dim)) / length) ** 2
    cone = 1 - squares.sqrt()
    cone = cone.clamp(min=0) / cone.clamp(min=0).sum()
    return cone.expand(len(request.images), max(request.counts), *size).clone()
