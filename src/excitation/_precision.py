"""The precision of computations outside the network."""

from __future__ import annotations

import torch
from jaxtyping import Float


def own_precision(like: Float[torch.Tensor, "*size"]) -> torch.autocast:
    """A context that computes in the precision of its tensors, even within the caller's autocast.

    The network itself runs in the precision that its user selects. Later computations on its activations do not use
    autocast: rounding a map to low precision in the last step would lose more than the network's own rounding.

    Args:
        like: any tensor on the device.
    """
    return torch.autocast(like.device.type, enabled=False)
