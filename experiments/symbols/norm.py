"""Local response normalisation in a form that trains faster: torch's own takes a sixth of a step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class BandedNorm(nn.Module):
    """What `nn.LocalResponseNorm` computes, its sum over neighbouring channels as a product with a banded matrix."""

    def __init__(self, norm: nn.LocalResponseNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x / (k + alpha / size * sum of squares of the channels near it) ** beta`."""
        places = torch.arange(x.shape[1])
        apart = places[None, :] - places[:, None]
        band = ((apart >= -(self.norm.size // 2)) & (apart <= (self.norm.size - 1) // 2)).to(x)
        band = band * (self.norm.alpha / self.norm.size)
        return x * (F.conv2d(x * x, band[..., None, None]) + self.norm.k).pow(-self.norm.beta)


def quicken(model: nn.Module) -> None:
    """Put the faster form in the place of each direct child that is a `LocalResponseNorm`; neither has weights."""
    for name, child in model.named_children():
        if isinstance(child, nn.LocalResponseNorm):
            setattr(model, name, BandedNorm(child))
