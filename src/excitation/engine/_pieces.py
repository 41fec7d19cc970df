"""Attention maps of many targets, computed in groups of targets."""

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
from .rules import ExcitationRules, Signal, attention_map, total

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
    """Propagate a signal down with the rules of Excitation Backprop and sum its channels at some layers.

    On a CPU, a large signal is propagated a few targets at a time, so that the memory does not grow with the number of
    targets. All groups use the same normalisers, which are cached (see `ExcitationRules`).

    Args:
        record: record of the forward pass.
        signal: signal at the top, `(1, target, *top)`.
        layers: values of the layers to compute maps for.
        policies: choices that the paper leaves open.
        contrast: subtract the signal of the dual (Sec. 3.3).
        balance: records the mass at each operation, if given. All targets are then propagated together.

    Returns:
        One attention map per layer, `(image, target, *space)`.

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
        if balance is not None and len(layers) == 1:
            whole, arrived = total(swept[0], layers[0].layout), found[0][0].double().flatten(2).sum(2)
            balance.tokens = whole - arrived if layers[0].has_other_tokens else torch.zeros_like(whole)
    return found[0] if count == 1 else [torch.cat(maps, 1) for maps in zip(*found, strict=True)]
