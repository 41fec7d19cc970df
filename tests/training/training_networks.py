"""Small networks for tests of training, as a Python factory gives them."""

from __future__ import annotations

import torch
from torch import nn

from excitation.models import LoadedModel, Preprocessing

PREPROCESSING = Preprocessing(size=(16, 16), mean=(0.5, 0.5, 0.5))


def pooled():
    """Pools, then classifies; with a normalisation whose statistics must stay."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return LoadedModel(nn.Sequential(body, nn.Linear(8, 4)).eval(), "", PREPROCESSING, "abcd")


def rectified():
    """Classifies positions and cuts scores at zero, as SqueezeNet does."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return LoadedModel(nn.Sequential(*parts).eval(), "", PREPROCESSING, "abcd")


def averaged():
    """Classifies positions and averages: its output layer is not the last operation."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return LoadedModel(nn.Sequential(*parts).eval(), "", PREPROCESSING, "abcd")
