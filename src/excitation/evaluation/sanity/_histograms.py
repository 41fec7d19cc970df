"""Histograms of oriented gradients: how alike two maps are by the edges in them, wherever values lie."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float

ORIENTATIONS = 9
"""Bins of half a circle: an edge from dark to light counts as one from light to dark."""

SIDE = 4
"""Positions along a cell's side."""

BLOCK = 3
"""Cells along the side of a block, over which histograms are normalised; blocks overlap."""

CLIP, SMALL = 0.2, 1e-5
"""No bin keeps more than this part of its block's length; what is added to that length (Dalal, Triggs, Sec. 6.4)."""

Map = Float[torch.Tensor, "height width"]


def gradient_histograms(attention: Map) -> Float[torch.Tensor, "row column block_row block_column orientation"]:
    """Histograms of oriented gradients of a map.

    Differences of the neighbours on both sides, zero at the edges; each position counts in the bin of its direction by
    the size of its gradient; mean over a cell; blocks normalised by their length, clipped, and normalised again
    (L2-Hys). What does not fill a cell at the lower and right edge is left out, as scikit-image does.

    Args:
        attention: finite values, at least `SIDE` positions each way. Blocks are as large as fits in smaller maps.

    Returns:
        By block, by cell within it, by orientation.

    Source: Dalal, Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005, Sec. 6.
    """
    values = attention.double()
    down, right = torch.zeros_like(values), torch.zeros_like(values)
    down[1:-1] = values[2:] - values[:-2]
    right[:, 1:-1] = values[:, 2:] - values[:, :-2]
    angle = torch.atan2(down, right).remainder(math.pi)
    # An angle a rounding below pi is one of zero.
    place = (angle * (ORIENTATIONS / math.pi)).long() % ORIENTATIONS
    votes = F.one_hot(place, ORIENTATIONS) * torch.hypot(down, right)[..., None]
    cells = F.avg_pool2d(votes.permute(2, 0, 1)[None], SIDE)[0].permute(1, 2, 0)
    tall, wide = min(BLOCK, cells.shape[0]), min(BLOCK, cells.shape[1])
    blocks = cells.unfold(0, tall, 1).unfold(1, wide, 1).permute(0, 1, 3, 4, 2)
    return _normalised(_normalised(blocks).clamp(max=CLIP))


def gradient_similarity(first: Map, second: Map) -> float:
    """Pearson's correlation of two maps' histograms of oriented gradients, each map divided by its largest value.

    Args:
        first: a map of at least `SIDE` positions each way.
        second: one of the same size.

    Returns:
        -1 to 1; NaN where a map is constant and so has no edges.

    Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, Sec. 3 (metrics).
    """
    found = []
    for attention in (first, second):
        largest = attention.abs().max()
        if bool(attention.max() == attention.min()):
            return math.nan
        found.append(gradient_histograms(attention / largest).flatten())
    a, b = (item - item.mean() for item in found)
    below = float(a.norm() * b.norm())
    return float(a @ b) / below if below > 0 else math.nan


def _normalised(blocks: torch.Tensor) -> torch.Tensor:
    return blocks / (blocks.flatten(2).square().sum(2) + SMALL**2).sqrt()[..., None, None, None]
