"""In what precision things are computed that are none of the network's own."""

from __future__ import annotations

import torch
from jaxtyping import Float


def own_precision(like: Float[torch.Tensor, "*size"]) -> torch.autocast:
    """A block that computes in its tensors' precision, also where the caller's autocast would take a lower one.

    The network runs as its user has it run. What is made of its activations does not: a map that is rounded to eight
    bits on its last step would be worse than its activations are.

    Args:
        like: any tensor on the device.
    """
    return torch.autocast(like.device.type, enabled=False)
