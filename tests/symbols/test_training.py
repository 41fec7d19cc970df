"""The training of the bundled classifiers: what was made faster still computes the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from experiments.symbols.norm import BandedNorm, quicken
from experiments.symbols.train import _augmented
from torch import nn

from excitation.models.symbols import SymbolNet


@pytest.mark.parametrize("size", [1, 4, 5])
def test_the_banded_normalisation_is_local_response_normalisation(size):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 7, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    plain = nn.LocalResponseNorm(size, alpha=0.3, beta=0.6, k=1.5)
    expected, found = plain(x), BandedNorm(plain)(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad(y.square().sum(), x)[0] for y in (expected, found)]
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-11, atol=1e-11)


def test_quickening_changes_neither_scores_nor_weights():
    torch.manual_seed(0)
    plain, quick = SymbolNet(5).eval(), SymbolNet(5).eval()
    quick.load_state_dict(plain.state_dict())
    quicken(quick)
    assert sum(isinstance(module, BandedNorm) for module in quick.modules()) == 2
    assert quick.state_dict().keys() == plain.state_dict().keys()
    images = torch.rand(2, 3, 64, 80)
    torch.testing.assert_close(quick(images), plain(images), rtol=1e-5, atol=1e-6)


def test_augmented_pictures_are_seeded_and_keep_their_range():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)
    found = [_augmented(pictures, np.random.default_rng(seed), torch.device("cpu")) for seed in (1, 1, 2)]
    assert found[0].shape == (3, 3, 40, 60)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert found[0].abs().max() <= 1
