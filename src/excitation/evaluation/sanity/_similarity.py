"""Similarity of maps: rank correlation, structural similarity, gradient histograms, the cosine of two signals."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float

WINDOW, DEVIATION = 11, 1.5
"""Side and standard deviation of the Gaussian window of structural similarity, in cells (Wang et al., Sec. III-C)."""

K1, K2 = 0.01, 0.03
"""Constants of structural similarity (Wang et al., Sec. III-C), as fractions of the range of values."""

ROUNDING = 1e-6
"""Largest spread of ranks that is due to rounding. The smallest spread of different ranks is 0.5."""

ORIENTATIONS = 9
"""Bins of a half circle. Gradients of opposite direction are in the same bin."""

SIDE = 4
"""Side of a cell in positions."""

BLOCK = 3
"""Side of a block in cells. Histograms are normalised in overlapping blocks."""

CLIP, SMALL = 0.2, 1e-5
"""Largest value of a bin in a block of length 1, and the constant added to the length (Dalal, Triggs, Sec. 6.4)."""

Map = Float[torch.Tensor, "height width"]


def rank_correlation(first: Map, second: Map) -> float:
    """Return Spearman's rank correlation over positions. Equal values have their mean rank.

    Args:
        first: a map with finite values.
        second: a map of the same size.

    Returns:
        The correlation, -1 to 1; NaN if a map is constant.
    """
    return _correlation(_ranks(first.flatten()), _ranks(second.flatten()))


def structural_similarity(first: Map, second: Map) -> float:
    """Return the mean structural similarity of two maps, each divided by its largest absolute value.

    The Gaussian window is smaller for maps that are smaller than the window, and does not extend beyond the edges. The
    range of values is 1 for maps without negative values, otherwise 2.

    Args:
        first: a map with finite values.
        second: a map of the same size.

    Returns:
        The similarity, -1 to 1, 1 for equal maps; NaN if a map is zero.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment", IEEE TIP 2004, Eq. 13 to 17.
    """
    largest = [float(item.abs().max()) for item in (first, second)]
    if 0.0 in largest:
        return math.nan
    x, y = (item.double() / size for item, size in zip((first, second), largest, strict=True))
    span = 1.0 if min(float(x.min()), float(y.min())) >= 0 else 2.0
    window = _window(min(WINDOW, *first.shape))
    moments = F.conv2d(torch.stack([x, y, x * x, y * y, x * y])[:, None], window[None, None])[:, 0]
    mean_x, mean_y = moments[0], moments[1]
    var_x, var_y = moments[2] - mean_x**2, moments[3] - mean_y**2
    covariance = moments[4] - mean_x * mean_y
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float((luminance * (2 * covariance + c2) / (var_x + var_y + c2)).mean())


def cosine(first: Float[torch.Tensor, " *_"], second: Float[torch.Tensor, " *_"]) -> float:
    """Return the cosine of the angle between two signals, in double precision.

    Args:
        first: a signal.
        second: a signal of the same neurons.

    Returns:
        The cosine, -1 to 1; NaN if a signal is zero.
    """
    a, b = first.double().flatten(), second.double().flatten()
    # Divide each signal by its largest value first, because products of large signals would overflow.
    sizes = float(a.abs().max()), float(b.abs().max())
    if 0.0 in sizes:
        return math.nan
    a, b = a / sizes[0], b / sizes[1]
    return float((a @ b) / (a.norm() * b.norm()))


def on_grid(attention: Map, cells: int) -> Float[torch.Tensor, "rows columns"]:
    """Resize a map to a grid: by the mean if the map is finer than the grid, otherwise bilinearly.

    Args:
        attention: a map of any size.
        cells: number of cells along the shorter side, at least 1. The longer side has a proportional number.
    """
    height, width = attention.shape
    shorter = min(height, width)
    size = (max(1, round(cells * height / shorter)), max(1, round(cells * width / shorter)))
    if shorter > cells:
        return F.adaptive_avg_pool2d(attention[None, None], size)[0, 0]
    return F.interpolate(attention[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def _ranks(values: Float[torch.Tensor, " n"]) -> Float[torch.Tensor, " n"]:
    index: torch.Tensor
    counts: torch.Tensor
    _, index, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0).double() - (counts.double() - 1) / 2
    return ranks[index]


def _correlation(a: Float[torch.Tensor, " n"], b: Float[torch.Tensor, " n"]) -> float:
    a, b = a - a.mean(), b - b.mean()
    spread = float(a.norm() * b.norm())
    return float(a @ b) / spread if spread > ROUNDING else math.nan


def _window(side: int) -> Float[torch.Tensor, "side side"]:
    steps = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    line = torch.exp(-(steps**2) / (2 * DEVIATION**2))
    square = line[:, None] * line
    return square / square.sum()


def gradient_histograms(attention: Map) -> Float[torch.Tensor, "row column block_row block_column orientation"]:
    """Compute the histograms of oriented gradients of a map.

    The gradient is the difference of the two neighbours, and zero at the edges. Each position counts in the bin of its
    direction with the size of its gradient. Histograms are means over a cell. Blocks are normalised by their length,
    clipped, and normalised again (L2-Hys). As in scikit-image, incomplete cells at the lower and right edges are
    omitted.

    Args:
        attention: a map with finite values, at least `SIDE` positions high and wide. Blocks of small maps are smaller.

    Returns:
        The histograms, by block, cell of the block, and orientation.

    Source: Dalal, Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005, Sec. 6.
    """
    values = attention.double()
    down, right = torch.zeros_like(values), torch.zeros_like(values)
    down[1:-1] = values[2:] - values[:-2]
    right[:, 1:-1] = values[:, 2:] - values[:, :-2]
    angle = torch.atan2(down, right).remainder(math.pi)
    # Due to rounding, an angle of zero can be slightly below pi.
    bins = (angle * (ORIENTATIONS / math.pi)).long() % ORIENTATIONS
    votes = F.one_hot(bins, ORIENTATIONS) * torch.hypot(down, right)[..., None]
    cells = F.avg_pool2d(votes.permute(2, 0, 1)[None], SIDE)[0].permute(1, 2, 0)
    tall, wide = min(BLOCK, cells.shape[0]), min(BLOCK, cells.shape[1])
    blocks = cells.unfold(0, tall, 1).unfold(1, wide, 1).permute(0, 1, 3, 4, 2)
    return _normalised(_normalised(blocks).clamp(max=CLIP))


def gradient_similarity(first: Map, second: Map) -> float:
    """Return Pearson's correlation of the histograms of oriented gradients of two maps.

    Each map is divided by its largest absolute value first.

    Args:
        first: a map, at least `SIDE` positions high and wide.
        second: a map of the same size.

    Returns:
        The correlation, -1 to 1; NaN if a map is constant.

    Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, Sec. 3 (metrics).
    """
    histograms = []
    for attention in (first, second):
        largest = attention.abs().max()
        if bool(attention.max() == attention.min()):
            return math.nan
        histograms.append(gradient_histograms(attention / largest).flatten())
    a, b = (item - item.mean() for item in histograms)
    spread = float(a.norm() * b.norm())
    return float(a @ b) / spread if spread > 0 else math.nan


def _normalised(blocks: torch.Tensor) -> torch.Tensor:
    return blocks / (blocks.flatten(2).square().sum(2) + SMALL**2).sqrt()[..., None, None, None]
