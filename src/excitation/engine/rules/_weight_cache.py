"""A cache of the excitatory and inhibitory halves of weights, valid while the weights do not change.

A stale half would give a wrong map without an error. The version counter of a weight shows every change except a write
through `.data` or NumPy. Each use therefore also compares a checksum: the product of the weights with fixed random
numbers. It reads the weights once, which takes a third of the time of computing a half, and detects every change above
the rounding error of the product. On devices where the comparison would make the host wait, nothing is cached.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float

SMALLEST = 1 << 15
"""Weights with fewer entries are halved anew each time: that is quicker than asking whether they changed."""

Weight = Float[torch.Tensor, "..."]


@dataclass(frozen=True)
class _Kept:
    """The cached tensors of one weight.

    Attributes:
        weight: weak reference to the weight.
        stamp: version, memory address and layout of the weight.
        mark: checksum, the product with fixed random numbers.
        halves: halves by sign. They are never modified.
        made: tensors that were computed from the halves, by key.
    """

    weight: weakref.ref[torch.Tensor]
    stamp: tuple[object, ...]
    mark: torch.Tensor
    halves: dict[int, torch.Tensor] = field(default_factory=dict)
    made: dict[Hashable, torch.Tensor] = field(default_factory=dict)


_kept: dict[int, _Kept] = {}
_probes: dict[tuple[int, torch.dtype], torch.Tensor] = {}
_lock = threading.Lock()


def half(weight: Weight, sign: int, dtype: torch.dtype) -> Weight:
    """Return `max(w, 0)` for sign 1, `max(-w, 0)` for sign -1. Do not modify the result.

    Args:
        weight: current weight of an operation.
        sign: 1 or -1.
        dtype: dtype of the result.
    """
    return half_with_made(weight, sign, dtype)[0]


def half_with_made(weight: Weight, sign: int, dtype: torch.dtype) -> tuple[Weight, dict[Hashable, torch.Tensor]]:
    """Return a half, and a dictionary to cache tensors that are computed from the halves of this weight."""
    weight_as_is = weight.dtype == dtype
    rows = _rows(weight) if weight_as_is else None
    if rows is None:
        return _halved(weight if weight_as_is else weight.to(dtype), sign), {}
    mark = torch.mv(rows, _probe(rows.shape[1], dtype))
    stamp = (weight._version, weight.data_ptr(), weight.shape, weight.stride())
    key = id(weight)
    with _lock:
        found = _kept.get(key)
    if found is None or found.weight() is not weight or found.stamp != stamp or not torch.equal(found.mark, mark):
        found = _Kept(weakref.ref(weight, lambda reference: _forget(key, reference)), stamp, mark)
        with _lock:
            _kept[key] = found
    made = found.halves.get(sign)
    # Two threads can compute the same half; both results are valid.
    if made is None:
        made = found.halves.setdefault(sign, _halved(weight.detach(), sign))
    return made, found.made


def release_weights() -> int:
    """Clear the cache of halves. The next call computes them again.

    The halves of a network are also released when the network is deleted.

    Returns:
        Number of released bytes.
    """
    with _lock:
        every = [made for kept in _kept.values() for made in (*kept.halves.values(), *kept.made.values())]
        held = sum(made.numel() * made.element_size() for made in every)
        _kept.clear()
    return held


def _halved(weight: torch.Tensor, sign: int) -> torch.Tensor:
    return weight.relu() if sign > 0 else weight.neg().relu_()


def _forget(key: int, reference: weakref.ref[torch.Tensor]) -> None:
    # No lock: the garbage collector can call this in a thread that holds it. Dictionary operations are atomic.
    found = _kept.get(key)
    if found is not None and found.weight is reference:
        _kept.pop(key, None)


def _rows(weight: torch.Tensor) -> torch.Tensor | None:
    """Return the weights as a matrix that shares their memory; `None` if their halves are not cached."""
    if weight.numel() < SMALLEST or weight.dim() < 2 or weight.is_inference():
        return None
    if weight.device.type != "cpu" or weight.dtype not in {torch.float32, torch.float64}:
        return None
    columns = math.prod(weight.shape[1:])
    if weight.stride(0) != columns or not (weight.is_contiguous() or _dense(weight)):
        return None
    return weight.detach().as_strided((weight.shape[0], columns), (columns, 1))


def _dense(weight: torch.Tensor) -> bool:
    return (weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last)) or (
        weight.dim() == 5 and weight.is_contiguous(memory_format=torch.channels_last_3d)
    )


def _probe(columns: int, dtype: torch.dtype) -> torch.Tensor:
    probe = _probes.get((columns, dtype))
    if probe is None:
        generator = torch.Generator().manual_seed(0)
        # No number is near zero, so that a change of any weight is detected.
        probe = 0.5 + torch.rand(columns, generator=generator, dtype=dtype)
        _probes[columns, dtype] = probe
    return probe
