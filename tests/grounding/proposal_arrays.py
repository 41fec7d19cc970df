"""Random boxes and segments on one small grid."""

from __future__ import annotations

import numpy as np
import torch

from excitation.grounding import Segments

H, W = 30, 40


def random_boxes(rng, count, size=(H, W)):
    x, y = np.sort(rng.integers(0, size[1], (count, 2))), np.sort(rng.integers(0, size[0], (count, 2)))
    return torch.from_numpy(np.stack([x[:, 0], y[:, 0], x[:, 1] + 1, y[:, 1] + 1], 1).astype(np.float64))


def random_segments(rng, count=20, number=12):
    superpixels = torch.from_numpy(rng.integers(0, number, (H, W)))
    superpixels[:, 0] = torch.arange(H) % number
    members = torch.from_numpy(rng.random((count, number)) < 0.3)
    members[:, 0] |= ~members.any(1)
    return Segments(superpixels, members)
