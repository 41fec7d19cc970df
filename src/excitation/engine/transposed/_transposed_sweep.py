"""The transposed sweep: from positions of a layer to the top, for all unit signals in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from .._record import Record
from .._sweep import computing, no_contrast, no_path
from .._values import Kind, Value
from ..rules import ExcitationRules, Signal
from ._choice import step_for
from ._reach_probability import ReachProbability
from ._steps import Step
from ._tiles import TILE, Tiling, groups
from ._windows import Window

LIVE = 8
"""Tensors as large as the largest activation that a pass holds at once, a careful guess."""


@dataclass(frozen=True)
class TransposedMaps:
    """The maps of all unit signals at the top, at some positions of the layer.

    Attributes:
        positions: row-major indices of the positions on the map.
        plain: map of each unit signal at these positions, `(polarity, position, *top)`.
        contrast: map minus the map of the dual, for signals of one polarity; `None` if not requested.
    """

    positions: list[int]
    plain: Signal
    contrast: Signal | None


class TransposedSweep:
    """Prepares the transposed rules of all operations between a layer and the top. All positions share them.

    Args:
        record: record of the forward pass. The signals of the maps start at `record.top`.
        layer: value of the layer of the maps.
        rules: the rules of the downward sweep.
        like: tensor with the dtype and device of the signals.
        polarities: number of polarities of the signals at the top, 1 or 2.
        contrast: whether to compute contrastive maps as well.

    Raises:
        LayerError: as `sweep`.
    """

    def __init__(
        self,
        record: Record,
        layer: Value,
        rules: ExcitationRules,
        like: torch.Tensor,
        *,
        polarities: int = 1,
        contrast: bool = False,
    ) -> None:
        assert record.top is not None
        self._top, self._layer, self._like, self._rules = record.top, layer, like, rules
        self._asked_for = polarities
        self._below = below = record.descendants([layer])
        above = record.ancestors(record.top)
        entries = [
            entry
            for entry in record.entries
            if any(value.serial in below for value in entry.carriers)
            and any(value.serial in above for value in entry.outputs)
        ]
        with computing(like):
            self._steps = [step_for(entry, rules, like) for entry in entries]
            self._active_counts, self._pending_counts = self._asked(polarities, contrast=contrast)
        last = {value.serial: index for index, step in enumerate(self._steps) for value in step.entry.inputs}
        self._last: dict[int, list[int]] = {}
        for serial, index in last.items():
            if serial != record.top.serial:
                self._last.setdefault(index, []).append(serial)
        if contrast and layer.serial in self._pending_counts:
            raise no_contrast(layer)
        if layer.serial not in self._active_counts:
            raise no_path(layer)

    def maps(self, memory: int, *, tile: int = TILE) -> Iterator[TransposedMaps]:
        """Yield the maps at all positions, some positions at a time.

        Args:
            memory: approximate memory limit of one pass, in bytes.
            tile: height and width of the tiles of neighbours that share a window.
        """
        shape = self._layer.shape
        if len(shape) != 4:
            each = memory // self.bytes({})
            positions = list(range(math.prod(shape[2:])))
            for start in range(0, len(positions), max(1, each)):
                chunk = positions[start : start + max(1, each)]
                ones = torch.zeros((len(chunk), *shape[:2], len(positions)), dtype=self._like.dtype)
                ones[list(range(len(chunk))), ..., chunk] = 1
                yield self._carried(chunk, ones.to(self._like.device).reshape(-1, *shape), None)
            return
        tile = tile if memory >= tile * tile * self.bytes({}) else 1
        tiling = Tiling(shape[2], shape[3], tile)
        known = self._windows(tiling.lines())
        for group in groups([window for window in known.values() if window is not None]):
            each = self.bytes(self._windows(tiling.window(group))) * tiling.each
            size = max(1, memory // each)
            for start in range(0, len(group), size):
                window = tiling.window(group[start : start + size])
                ones = tiling.ones(window, shape[0], shape[1], self._like)
                yield self._carried(tiling.positions(window), ones, window)

    def bytes(self, windows: dict[int, Window | None]) -> int:
        """Return the memory of one signal in bytes. Values without a window are whole maps."""
        largest = 0
        for value in [self._layer, *(value for step in self._steps for value in step.entry.outputs)]:
            window = windows.get(value.serial)
            places = math.prod(value.shape[2:]) if window is None else window.places()
            largest = max(largest, math.prod(value.shape[:2]) * places)
        return LIVE * largest * self._like.element_size()

    def _asked(self, polarities: int, *, contrast: bool) -> tuple[dict[int, int], dict[int, int]]:
        """Return the number of polarities of each value, for active and for pending probabilities."""
        active_counts = {self._top.serial: polarities}
        pending_counts = {self._top.serial: polarities} if contrast else {}
        for step in reversed(self._steps):
            outputs = [value.serial for value in step.entry.outputs]
            active, pending = (
                [needed.get(serial, 0) for serial in outputs] for needed in (active_counts, pending_counts)
            )
            if self._rules.begins_contrast(step.entry):
                # The signal of the dual starts on the other polarity.
                active = [2 if new else old for old, new in zip(active, pending, strict=True)]
                active_counts |= {serial: count for serial, count in zip(outputs, active, strict=True) if count}
                pending = [0] * len(outputs)
            for needed, counts in ((active_counts, active), (pending_counts, pending)):
                if any(counts):
                    for value, count in zip(step.entry.inputs, step.asks(counts), strict=True):
                        if count and self._leads(value):
                            needed[value.serial] = max(needed.get(value.serial, 0), count)
        return active_counts, pending_counts

    def _leads(self, value: Value) -> bool:
        return value.serial in self._below and value.kind is not Kind.CONSTANT

    def _windows(self, lines: Window) -> dict[int, Window | None]:
        """Return the window of each value, given the windows of the layer."""
        found: dict[int, Window | None] = {self._layer.serial: lines}
        for step in self._steps:
            inputs = [found[v.serial] for v in step.entry.carriers if v.serial in found]
            present = [window for window in inputs if window is not None]
            above = step.window(present) if step.crops and len(present) == len(inputs) else None
            found |= {value.serial: above for value in step.entry.outputs}
        return found

    def _carried(self, positions: list[int], ones: torch.Tensor, window: Window | None) -> TransposedMaps:
        """Propagate unit probabilities of some positions to the top."""
        start = ReachProbability((ones,) * self._active_counts[self._layer.serial], window)
        active: dict[int, ReachProbability] = {self._layer.serial: start}
        pending: dict[int, ReachProbability] = {}
        with computing(self._like):
            for index, step in enumerate(self._steps):
                outputs = step.entry.outputs
                active |= self._passed(step, active, self._active_counts)
                if self._rules.begins_contrast(step.entry):
                    there = [
                        value.serial
                        for value in outputs
                        if value.serial in active and value.serial in self._pending_counts
                    ]
                    pending |= {serial: _contrasted(active[serial], self._pending_counts[serial]) for serial in there}
                else:
                    pending |= self._passed(step, pending, self._pending_counts)
                for serial in self._last.get(index, ()):
                    active.pop(serial, None)
                    pending.pop(serial, None)
            top = self._top.serial
            plain = active[top].polarities(self._asked_for).signal()
            return TransposedMaps(positions, plain, pending[top].signal() if top in pending else None)

    def _passed(
        self, step: Step, reached: dict[int, ReachProbability], counts: dict[int, int]
    ) -> dict[int, ReachProbability]:
        """Propagate active or pending probabilities through one operation."""
        silent = step.entry.operation.silent
        probabilities = [
            None if place in silent or not self._leads(value) else reached.get(value.serial)
            for place, value in enumerate(step.entry.inputs)
        ]
        asked = [counts.get(value.serial, 0) for value in step.entry.outputs]
        if not any(asked) or all(probability is None for probability in probabilities):
            return {}
        found = zip(step.entry.outputs, step(probabilities, asked), strict=True)
        return {value.serial: probability for value, probability in found if probability is not None}


def _contrasted(probability: ReachProbability, polarities: int) -> ReachProbability:
    """Return the transpose of `contrasted`, which puts a signal on one polarity and its negative on the other."""
    raised, lowered = probability.everywhere().parts
    difference = raised - lowered
    return ReachProbability((difference,) if polarities == 1 else (difference, -difference))
