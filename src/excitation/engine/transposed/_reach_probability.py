"""Reach probabilities: how probable it is that the process reaches a position of a layer from a neuron above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float

from ..rules import Signal
from ._windows import Frame, Map, Patches, Window, framed

Part = Float[torch.Tensor, "signal image ..."]
"""Patches, or whole tensors of any number of dimensions."""


@dataclass(frozen=True)
class ReachProbability:
    """For each neuron of one tensor and each requested position, the probability of reaching that position.

    The absorbing chain of Sec. 3.1 read from its end: a downward sweep multiplies a row by the transition
    probabilities, this multiplies a column by them. Maps of unit signals are its numbers, neuron by neuron.

    Attributes:
        parts: by polarity, `(signal, image, ...)`: a signal for each position, tile by tile.
        window: which part of the map they hold, zero being everywhere else; `None` if all of it.
        factors: by polarity, what the parts are still to be multiplied by, `(image, ...)` of the whole map; `None` for
            one. Kept apart, since the next operation multiplies anyway.
    """

    parts: tuple[Part, ...]
    window: Window | None = None
    factors: tuple[Map | None, ...] = (None, None)

    def in_frames(self, frames: tuple[Frame, Frame], polarity: int, factor: Map | None = None) -> Patches:
        """One polarity's part in other frames, multiplied out and by a further factor."""
        assert self.window is not None
        return framed(self.parts[polarity], self.window.frames, times(self.factors[polarity], factor), frames)

    def everywhere(self) -> ReachProbability:
        """On the whole map, multiplied out."""
        if self.window is not None:
            whole = self.window.whole
            return ReachProbability(tuple(self.in_frames(whole, k) for k in range(len(self.parts))))
        pairs = zip(self.parts, self.factors, strict=False)
        return ReachProbability(tuple(part if factor is None else part * factor for part, factor in pairs))

    def polarities(self, count: int) -> ReachProbability:
        """The first of its parts: others ask for more."""
        return self if len(self.parts) == count else ReachProbability(self.parts[:count], self.window, self.factors)

    def signal(self) -> Signal:
        """On the whole map, as a signal."""
        return torch.stack(self.everywhere().parts)


def times(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor | None:
    """The product, where `None` is one."""
    return b if a is None else a if b is None else a * b


def windows_of(probabilities: Sequence[ReachProbability | None]) -> list[Window] | None:
    """The windows of those that are there; `None` if one of them is a whole map."""
    found = [probability.window for probability in probabilities if probability is not None]
    return None if None in found else [window for window in found if window is not None]
