"""Passes for the maps of all classes: downward sweeps from units, transposed sweeps from positions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float

from .._errors import ExcitationError
from ..engine import LIVE, ExcitationRules, Record, TransposedSweep, Value, attention_maps

UnitMaps = Float[torch.Tensor, "image unit position"]
FeatureMaps = Float[torch.Tensor, "image feature position"]


@dataclass(frozen=True)
class Passes:
    """Passes between upper units and positions of a layer, computed in chunks."""

    record: Record
    layer: Value
    rules: ExcitationRules
    memory: int

    def from_above(self, base: Value | None, weights: torch.Tensor | None = None, *, dual: bool = False) -> UnitMaps:
        """Maps of unit signals, with one downward sweep each.

        Args:
            base: the value at which the signals start; the class scores if not given.
            weights: weights of the positions of a score map, for signals that start at the class scores.
            dual: whether to subtract the maps of the dual.

        Returns:
            One map per unit of the base (raised units, then lowered units), or one per class.
        """
        record, start = self._start(base, weights)
        polarities, _, *shape = start.shape
        units = polarities * shape[1]
        parts = []
        for chunk in _chunks(units, self.memory // self._each()):
            signal = start.repeat(1, len(chunk), *(1,) * len(shape))
            for k, unit in enumerate(chunk):
                signal[unit // shape[1], k, :, unit % shape[1]] = 1 if weights is None else weights[:, unit]
            (maps,) = attention_maps(record, signal, [self.layer], self.rules.policies, contrast=dual)
            parts.append(maps.flatten(2))
        return torch.cat(parts, 1)

    def from_below(
        self, base: Value | None, weights: torch.Tensor | None = None, *, dual: bool = False
    ) -> tuple[UnitMaps, UnitMaps | None]:
        """The same maps by transposed sweeps from each position; with `dual`, also the maps minus those of the dual."""
        record, start = self._start(base, weights)
        self._each()
        transposed = TransposedSweep(record, self.layer, self.rules, start, polarities=len(start), contrast=dual)
        images, positions = self.layer.shape[0], math.prod(self.layer.shape[2:])
        plain: UnitMaps | None = None
        contrast: UnitMaps | None = None
        for maps in transposed.maps(self.memory):
            plain = _entered(plain, maps.positions, _rows(maps.plain, weights), images, positions)
            if maps.contrast is not None:
                rows = _rows(maps.contrast, weights)
                contrast = _entered(contrast, maps.positions, rows, images, positions)
        assert plain is not None
        return plain, contrast

    def _start(self, base: Value | None, weights: torch.Tensor | None) -> tuple[Record, torch.Tensor]:
        """The record up to the base, and a signal of zeros at the base."""
        record = self.record if base is None else replace(self.record, top=base)
        assert self.record.scores is not None
        like = self.record.scores if weights is None else weights
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        shape = like.shape if base is None else base.shape
        polarities = 1 if base is None or base.nonnegative else 2
        return record, torch.zeros((polarities, 1, *shape), dtype=dtype, device=like.device)

    def _each(self) -> int:
        """Size in bytes of one signal during a sweep."""
        assert self.record.scores is not None
        size = 8 if self.record.scores.dtype == torch.float64 else 4
        each = LIVE * self.record.largest([self.layer]) * size
        if self.memory < each:
            raise ExcitationError(
                f"memory is {self.memory} bytes; one pass of this batch needs about {each}: give more, or fewer images."
            )
        return each


def _rows(p: torch.Tensor, weights: torch.Tensor | None) -> Float[torch.Tensor, "image unit chosen"]:
    """Contributions of units to the chosen positions; the positions of a score map are summed with their weights."""
    p = p if weights is None else p * weights
    p = p.flatten(4).sum(4) if p.dim() > 4 else p
    return p.permute(2, 0, 3, 1).flatten(1, 2)


def _entered(
    maps: UnitMaps | None, at: list[int], rows: Float[torch.Tensor, "image unit chosen"], images: int, positions: int
) -> UnitMaps:
    """Write rows into the maps at some positions; allocate the maps if needed."""
    if maps is None:
        maps = rows.new_zeros((images, rows.shape[1], positions))
    maps[:, :, at] = rows
    return maps


def _chunks(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
