"""Weighted operations with their biases, and with the batch normalisation behind them multiplied in."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..engine import Entry, Record
from ..engine.operations import Affine, Scaled
from ._calls import Call
from ._lrp_rules import Weighted


def weighted_operations(record: Record, calls: Mapping[Entry, Call]) -> dict[Entry, Weighted]:
    """Every weighted operation of a record as relevance sees it.

    A batch normalisation (or another scaling) that alone takes in the output of a convolution or fully connected
    layer becomes part of its weights and bias, as in the folded network.
    """
    takers: dict[int, list[Entry]] = {}
    for entry in record.entries:
        for value in entry.inputs:
            takers.setdefault(value.serial, []).append(entry)
    assert record.top is not None
    kept = {record.top.serial}
    return {
        entry: _weighted(entry, entry.operation, takers, kept, calls)
        for entry in record.entries
        if isinstance(entry.operation, Affine)
    }


def _weighted(
    entry: Entry, operation: Affine, takers: dict[int, list[Entry]], kept: set[int], calls: Mapping[Entry, Call]
) -> Weighted:
    call = calls[entry]
    weight, bias = operation.weight, call.bias(operation.input, whole=not operation.apart)
    last = entry
    while last.outputs[0].serial not in kept:
        following = takers.get(last.outputs[0].serial, [])
        if len(following) != 1 or not isinstance(following[0].operation, Scaled):
            break
        scaling, x = calls[following[0]], calls[last].results[0]
        factors = _by_output_channel(entry, scaling.slope(x), weight)
        if factors is None or scaling.results[0].shape != x.shape:
            break
        weight, bias = weight * factors, scaling.replay(x, bias)
        last = following[0]
    return Weighted(operation, operation.input, weight, bias)


def _by_output_channel(entry: Entry, slope: torch.Tensor, weight: torch.Tensor) -> torch.Tensor | None:
    """Factors of an output as factors of the weights that make it; `None` if they are not one per channel."""
    if entry.name.startswith("conv"):
        out, axis = 1, int("transpose" in entry.name)
        if axis == 1 and weight.shape[1] != slope.shape[1]:
            return None  # grouped: the groups' channels lie along the other axis
    elif entry.name == "linear":
        out, axis = slope.dim() - 1, 0
    else:
        return None
    channels = slope.movedim(out, 0).flatten(1)
    if not bool((channels == channels[:, :1]).all()):
        return None
    shape = [1] * weight.dim()
    shape[axis] = -1
    return channels[:, 0].reshape(shape)
