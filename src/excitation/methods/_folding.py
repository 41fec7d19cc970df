"""Weighted operations with their biases, folded with the batch normalisation that follows them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..engine import Entry, Record
from ..engine.operations import Affine, Scaled
from ._calls import Call
from ._lrp_rules import Weighted


def weighted_operations(record: Record, calls: Mapping[Entry, Call]) -> dict[Entry, Weighted]:
    """Collect the weighted operations of a record in the form that relevance propagation uses.

    If a batch normalisation (or another scaling) is the only consumer of the output of a convolution or fully connected
    layer, it is folded into the weights and bias of the layer.
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
    """Convert factors of an output to factors of its weights; `None` if they are not constant within each channel."""
    if entry.name.startswith("conv"):
        out, axis = 1, int("transpose" in entry.name)
        if axis == 1 and weight.shape[1] != slope.shape[1]:
            return None  # grouped convolution: the channels of the groups lie along the other axis
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
