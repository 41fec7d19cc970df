"""Histograms of oriented gradients against plain loops, scikit-image, and maps whose edges are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from excitation.evaluation.sanity import gradient_histograms, gradient_similarity


def by_loops(values, bins=9, side=4, block=3):
    """Position by position, as Dalal and Triggs describe it, with hard bins."""
    height, width = values.shape
    cells = np.zeros((height // side, width // side, bins))
    for y, x in itertools.product(range(height // side * side), range(width // side * side)):
        down = values[y + 1, x] - values[y - 1, x] if 0 < y < height - 1 else 0.0
        right = values[y, x + 1] - values[y, x - 1] if 0 < x < width - 1 else 0.0
        degrees = math.degrees(math.atan2(down, right)) % 180
        cells[y // side, x // side, int(degrees // (180 / bins)) % bins] += math.hypot(down, right) / side**2
    found = []
    for y, x in itertools.product(*(range(count - block + 1) for count in cells.shape[:2])):
        part = cells[y : y + block, x : x + block]
        part = np.minimum(part / math.sqrt((part**2).sum() + 1e-10), 0.2)
        found.append(part / math.sqrt((part**2).sum() + 1e-10))
    return np.array(found)


@pytest.mark.parametrize("size", [(20, 20), (20, 27), (14, 13)])
def test_position_by_position(size):
    values = np.random.default_rng(size[1]).random(size) - 0.4
    found = gradient_histograms(torch.from_numpy(values))
    assert found.shape[:2] == (size[0] // 4 - 2, size[1] // 4 - 2)
    assert found.flatten(0, 1).numpy() == pytest.approx(by_loops(values), abs=1e-12)


def test_scikit_images_histograms():
    feature = pytest.importorskip("skimage.feature", reason="scikit-image is not installed")
    for seed in range(4):
        values = np.random.default_rng(seed).random((20, 24 + seed)) - 0.3
        truth = feature.hog(
            values, orientations=9, pixels_per_cell=(4, 4), cells_per_block=(3, 3), block_norm="L2-Hys",
            feature_vector=False,
        )  # fmt: skip
        # scikit-image counts in float32.
        assert gradient_histograms(torch.from_numpy(values)).numpy() == pytest.approx(truth, abs=1e-6)


def test_a_slope_has_one_direction():
    across = torch.arange(12.0).expand(12, 12)
    (block,) = gradient_histograms(across).flatten(0, 1)
    for cells, bin_ in ((block, 0), (gradient_histograms(across.T)[0, 0], 4)):
        assert bool((cells[1, 1, bin_] > 0.3) & (cells[1, 1].sum() == cells[1, 1, bin_]))
    assert torch.equal(gradient_histograms(across), gradient_histograms(-across))


def test_similarity_is_of_edges_not_of_size_or_sign():
    a, b = (torch.from_numpy(np.random.default_rng(seed).random((20, 20))) for seed in (1, 2))
    assert gradient_similarity(a, 7 * a) == pytest.approx(1, abs=1e-9)
    assert gradient_similarity(a, -a) == pytest.approx(1, abs=1e-9)
    x, y = (by_loops((item / item.abs().max()).numpy()).ravel() for item in (a, b))
    assert gradient_similarity(a, b) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
    assert abs(gradient_similarity(a, b)) < 0.5
    for constant in (torch.zeros(20, 20), torch.full((20, 20), 0.3)):
        assert math.isnan(gradient_similarity(a, constant))
    small = torch.rand(8, 8)
    assert gradient_similarity(small, 2 * small) == pytest.approx(1, abs=1e-6)
