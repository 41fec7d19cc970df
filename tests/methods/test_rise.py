"""RISE against the exact expectation over all masks of a tiny grid, and against Captum where scores are linear."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from excitation.methods import _masks, find_method
from excitation.methods._masks import random_mask

SIDE, CELLS = 4, 2
STEP = SIDE // CELLS


def enlarged(cells, size):
    """Bilinear by hand: cells' middles at their places in the larger grid, values held beyond the outermost."""
    weights = np.zeros((size, len(cells)))
    for place in range(size):
        at = min(max((place + 0.5) * len(cells) / size - 0.5, 0), len(cells) - 1)
        low = int(at)
        weights[place, low] += 1 - (at - low)
        weights[place, min(low + 1, len(cells) - 1)] += at - low
    return weights @ cells @ weights.T


def all_masks():
    """Every mask with the number of its kept cells, from Petsiuk et al., Sec. 3.2: grid, enlargement, shift."""
    found = []
    for bits in itertools.product((0.0, 1.0), repeat=CELLS**2):
        large = enlarged(np.reshape(bits, (CELLS, CELLS)), (CELLS + 1) * STEP)
        for top, left in itertools.product(range(STEP), repeat=2):
            found.append((large[top : top + SIDE, left : left + SIDE], int(sum(bits))))
    return found


def expectation(model, image, kept):
    """Eq. 4 and 5: `S(x) = sum over masks of f(I * m) m(x) P(m) / sum over masks of m(x) P(m)`, mask by mask."""
    above, below, square = 0.0, 0.0, 0.0
    for mask, count in all_masks():
        likely = kept**count * (1 - kept) ** (CELLS**2 - count) / STEP**2
        with torch.no_grad():
            answer = model(image * torch.from_numpy(mask))[0].softmax(0).numpy()
        above = above + likely * answer[:, None, None] * mask
        square = square + likely * (answer[:, None, None] * mask) ** 2
        below = below + likely * mask
    assert below == pytest.approx(kept, abs=1e-12)
    return above / below, np.sqrt(square - above**2) / kept


def network(seed):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 8), nn.Tanh(), nn.Linear(8, 4)]
    with torch.no_grad():
        layers[-1].weight.mul_(8)  # so that masks matter
    return nn.Sequential(*layers).double().eval()


@pytest.fixture
def image():
    return torch.randn(1, 3, SIDE, SIDE, dtype=torch.float64)


@pytest.fixture
def each_once(monkeypatch):
    """Every mask is drawn once, so that the average is the expectation for `kept` one half."""
    masks = [torch.from_numpy(mask) for mask, _ in all_masks()]
    left = iter(masks * 2)
    monkeypatch.setattr(_masks, "random_mask", lambda *_: next(left))
    return len(masks)


def test_masks_are_those_of_the_paper_each_as_often():
    truth = np.unique([mask.ravel().round(9) for mask, _ in all_masks()], axis=0)
    generator = torch.Generator().manual_seed(3)
    drawn = [random_mask((SIDE, SIDE), CELLS, 0.5, generator).numpy().ravel().round(9) for _ in range(3000)]
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    assert found == pytest.approx(truth, abs=1e-9)
    often = np.array([sum(np.allclose(mask.ravel(), row, atol=1e-8) for mask, _ in all_masks()) for row in truth]) / 64
    assert bool((np.abs(counts / 3000 - often) < 5 * np.sqrt(often * (1 - often) / 3000)).all())


@pytest.mark.parametrize("seed", range(3))
def test_all_masks_give_the_expectation(seed, image, each_once):
    model = network(seed)
    found = find_method("rise")(model, image, [0, 1, 2, 3], samples=each_once, cells=CELLS, batch=10)
    truth, _ = expectation(model, image, 0.5)
    assert found[0].numpy() == pytest.approx(truth, abs=1e-12)
    assert float((found.amax((2, 3)) / found.amin((2, 3))).max()) > 1.1


@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_random_masks_converge_to_the_expectation(kept, image):
    model, samples = network(5), 4000
    found = find_method("rise")(model, image, [0, 1, 2, 3], samples=samples, cells=CELLS, kept=kept, batch=500)
    truth, deviation = expectation(model, image, kept)
    assert bool((np.abs(found[0].numpy() - truth) < 5 * deviation / np.sqrt(samples)).all())
    other, _ = expectation(model, image, 1 - kept)
    assert bool((np.abs(found[0].numpy() - other) > 5 * deviation / np.sqrt(samples)).any())


def test_where_scores_are_linear_it_is_captums_ablation_spread_by_the_masks(image, each_once):
    """`E[f(I * M) M(x)] = sum over y of (f's drop without y) E[M(y) M(x)]` for a score linear in the pixels."""
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.Flatten(), nn.Linear(20, 4, bias=False)).double().eval()
    pixels = torch.arange(SIDE**2).reshape(1, 1, SIDE, SIDE).expand(1, 3, SIDE, SIDE)
    flat = np.array([mask.ravel() for mask, _ in all_masks()])
    together = flat.T @ flat / len(flat)
    found = find_method("rise")(model, image, [1, 3], samples=each_once, cells=CELLS, of="score")
    for i, target in enumerate((1, 3)):
        drops = captum.FeatureAblation(model).attribute(image, target=target, feature_mask=pixels)[0, 0]
        truth = together @ drops.detach().numpy().ravel() / 0.5
        assert found[0, i].numpy().ravel() == pytest.approx(truth, abs=1e-12)
