"""The network and the images that several tests of the engine ask about; files with others define their own."""

from __future__ import annotations

import pytest
import torch
from forked_network import Net


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Net().double().eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 12, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
