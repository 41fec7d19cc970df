"""Measures of likeness against SciPy, hand-worked values and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from excitation.evaluation.sanity import cosine, on_grid, rank_correlation, structural_similarity


@pytest.mark.parametrize("levels", [3, 10_000])
def test_rank_correlation_is_scipys_with_and_without_ties(levels):
    for _ in range(5):
        a, b = (torch.randint(levels, (7, 9)).double() for _ in range(2))
        expected = spearmanr(a.flatten().numpy(), b.flatten().numpy()).statistic
        assert rank_correlation(a, b) == pytest.approx(expected, abs=1e-12)
        assert rank_correlation(a, a**3 + 1) == pytest.approx(1, abs=1e-12)
        assert rank_correlation(a, -a) == pytest.approx(-1, abs=1e-12)


def test_a_constant_map_has_no_order():
    a = torch.rand(31, 17)
    for constant in (torch.zeros(31, 17), torch.full((31, 17), 0.1)):
        assert math.isnan(rank_correlation(a, constant))
    assert math.isnan(structural_similarity(a, torch.zeros(31, 17)))
    assert not math.isnan(structural_similarity(a, torch.full((31, 17), 0.1)))
    assert math.isnan(cosine(a, torch.zeros(31, 17)))


def test_structural_similarity_of_a_point_and_an_even_map_by_hand():
    point = torch.zeros(3, 3)
    point[1, 1] = 5
    near, far = math.exp(-1 / 4.5), math.exp(-2 / 4.5)  # the Gaussian of deviation 1.5 at distances 1 and sqrt 2
    mean = 1 / (1 + 4 * near + 4 * far)
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mean + c1) / (1 + mean**2 + c1) * c2 / (mean * (1 - mean) + c2)
    assert structural_similarity(torch.full((3, 3), 0.2), point) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("signed", [False, True])
def test_structural_similarity_window_by_window(signed):
    maps = [np.random.default_rng(i).random((14, 12)) - 0.5 * signed for i in range(2)]
    x, y = (item / np.abs(item).max() for item in maps)
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = ((k * (2 if signed else 1)) ** 2 for k in (0.01, 0.03))
    found = []
    for i in range(4):
        for j in range(2):
            p, q = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            m, n = (window * p).sum(), (window * q).sum()
            v, w = (window * (p - m) ** 2).sum(), (window * (q - n) ** 2).sum()
            c = (window * (p - m) * (q - n)).sum()
            found.append((2 * m * n + c1) * (2 * c + c2) / ((m**2 + n**2 + c1) * (v + w + c2)))
    a, b = map(torch.from_numpy, maps)
    assert structural_similarity(a, b) == pytest.approx(np.mean(found), abs=1e-12)
    assert structural_similarity(a, 3 * a) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("signed", [False, True])
def test_structural_similarity_is_scikit_images(signed):
    """Where the window fits: scikit-image refuses smaller maps, such as those of 7 x 7 positions."""
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    for seed in range(3):
        maps = np.random.default_rng(seed).random((2, 20, 17)) - 0.5 * signed
        x, y = (item / np.abs(item).max() for item in maps)
        expected = metrics.structural_similarity(
            x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=2.0 if signed else 1.0
        )
        assert structural_similarity(*map(torch.from_numpy, maps)) == pytest.approx(expected, abs=1e-12)


def test_cosine_is_the_angle_and_bears_huge_numbers():
    a, b = torch.randn(2, 5, 6, dtype=torch.float64)
    x, y = a.flatten().numpy(), b.flatten().numpy()
    expected = x @ y / math.sqrt((x @ x) * (y @ y))
    assert cosine(a, b) == pytest.approx(expected, abs=1e-12)
    assert cosine(1e200 * a, 1e-200 * b) == pytest.approx(expected, abs=1e-12)


def test_the_common_grid_averages_fine_maps_and_enlarges_coarse_ones():
    fine = torch.rand(8, 12)
    expected = fine.reshape(4, 2, 6, 2).mean((1, 3))
    assert torch.allclose(on_grid(fine, 4), expected)
    coarse = torch.arange(3.0).expand(2, 3)
    enlarged = on_grid(coarse, 4)
    assert enlarged.shape == (4, 6)
    assert torch.allclose(enlarged[0], torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2]))
