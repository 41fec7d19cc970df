"""What the paper's networks have in common."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

Scores = Float[torch.Tensor, "image classes *positions"]
"""What a network returns; it has positions only where `eb.convolutional` lets its head slide."""


def response_norm(alpha: float, k: float) -> nn.LocalResponseNorm:
    """Normalisation across five channels with exponent 0.75.

    Args:
        alpha: times the mean square, as Caffe and PyTorch have it; Krizhevsky et al. give a fifth of it, times the sum.
            It is rounded to single precision, in which Caffe keeps its options.
        k: what is added.
    """
    return nn.LocalResponseNorm(5, alpha=float(np.float32(alpha)), beta=0.75, k=k)
