"""Common parts of the paper's networks."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

Scores = Float[torch.Tensor, "image classes *positions"]
"""Output of a network; it has spatial dimensions only with a fully convolutional head."""


def response_norm(alpha: float, k: float) -> nn.LocalResponseNorm:
    """Normalisation across five channels with exponent 0.75.

    Args:
        alpha: factor of the mean square, as in Caffe and PyTorch; Krizhevsky et al. state a fifth of it, as the factor
            of the sum of squares. It is rounded to single precision, the precision of Caffe's options.
        k: additive constant.
    """
    return nn.LocalResponseNorm(5, alpha=float(np.float32(alpha)), beta=0.75, k=k)
