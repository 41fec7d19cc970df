"""Small networks the tests of all methods share."""

from __future__ import annotations

import torch
from torch import nn


def deep(seed=0, bias=True, inplace=True):
    """A deep random network of modules that outside libraries know, each used once."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=bias), nn.ReLU(inplace),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2, bias=bias), nn.ReLU(inplace), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1, bias=bias), nn.ReLU(inplace), nn.AvgPool2d(3, 2, 1),
        nn.Conv2d(12, 12, 3, stride=2, padding=1, bias=bias), nn.ReLU(inplace), nn.Flatten(),
        nn.Linear(12 * 9, 24, bias=bias), nn.ReLU(inplace), nn.Linear(24, 6, bias=bias),
    ).double().eval()  # fmt: skip


def pooled(seed=0, classes=5, bias=True):
    """Convolutions, one global average, one linear layer: what CAM is for."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 10, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, classes, bias=bias),
    ).double().eval()  # fmt: skip


class Counting(nn.Module):
    """Keeps how many images each forward pass had."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        seen = []
        # Not an attribute, which a recorded pass would put back.
        self.count, self.sizes = seen.append, lambda: seen

    @property
    def seen(self):
        return self.sizes()

    def forward(self, x):
        self.count(x.shape[0])
        return self.inner(x)
