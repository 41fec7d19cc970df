"""Attention maps of many targets at once, carried down in pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float

from ._mass_recorder import MassRecorder
from ._record import Record
from ._sweep import sweep
from ._values import Value
from .policies import Policies
from .rules import ExcitationRules, Signal, attention_map

PIECE = 16 << 20
"""Bytes a signal may have at the largest activation on its way, for each polarity, on a CPU. Beyond that memory is no
longer kept between operations but asked of the system anew, which takes longer than what is computed in it."""


def attention_maps(
    record: Record,
    signal: Signal,
    layers: Sequence[Value],
    policies: Policies,
    *,
    contrast: bool = False,
    balance: MassRecorder | None = None,
) -> list[Float[torch.Tensor, "image target *space"]]:
    """Carry a signal down by Excitation Backprop's rules and add up its channels at some layers.

    On a CPU the targets of a large signal go down a few at a time, so that the memory of signals on their way does not
    grow with the targets. They share the normalisers, which are kept meanwhile (see `ExcitationRules`).

    Args:
        record: of the forward pass.
        signal: `(1, target, *top)`.
        layers: where to read the maps off.
        policies: choices the paper leaves open.
        contrast: subtract the dual's signal (Sec. 3.3).
        balance: takes the mass at each operation, if given; all targets then go at once.

    Returns:
        The attention map of each target at each layer.

    Raises:
        LayerError: as `sweep`.
    """
    count = 1
    if signal.shape[1] > 1 and balance is None and signal.device.type == "cpu":
        together = PIECE // (record.largest(layers) * signal.element_size())
        count = math.ceil(signal.shape[1] / max(1, together))
    rules = ExcitationRules(policies, keep=count > 1, lose=None if balance is None else balance.lose)
    found = []
    for piece in signal.tensor_split(count, 1):
        swept = sweep(record, piece, layers, rules, contrast=contrast and rules.begins_contrast, balance=balance)
        found.append([attention_map(p, value) for p, value in zip(swept, layers, strict=True)])
    return found[0] if count == 1 else [torch.cat(maps, 1) for maps in zip(*found, strict=True)]
