"""Reach probabilities: the probability that the process reaches a position of a layer from a neuron above it."""

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

    A downward sweep multiplies a row vector by the transition matrices of the absorbing chain (Sec. 3.1). A transposed
    sweep multiplies a column vector by them. The entries of the result are the maps of all unit signals.

    Attributes:
        parts: parts by polarity, `(signal, image, ...)`, with one signal for each position, tile by tile.
        window: the part of the map that they cover; `None` for the whole map. They are zero elsewhere.
        factors: pending factors of the parts by polarity, `(image, ...)` of the whole map; `None` for one. The next
            operation applies them together with its own factors.
    """

    parts: tuple[Part, ...]
    window: Window | None = None
    factors: tuple[Map | None, ...] = (None, None)

    def in_frames(self, frames: tuple[Frame, Frame], polarity: int, factor: Map | None = None) -> Patches:
        """Return the part of one polarity in other frames, times the pending factor and another factor."""
        assert self.window is not None
        return framed(self.parts[polarity], self.window.frames, times(self.factors[polarity], factor), frames)

    def everywhere(self) -> ReachProbability:
        """Return the probability on the whole map, with pending factors applied."""
        if self.window is not None:
            whole = self.window.whole
            return ReachProbability(tuple(self.in_frames(whole, k) for k in range(len(self.parts))))
        pairs = zip(self.parts, self.factors, strict=False)
        return ReachProbability(tuple(part if factor is None else part * factor for part, factor in pairs))

    def polarities(self, count: int) -> ReachProbability:
        """Return the probability with only the first `count` polarities."""
        return self if len(self.parts) == count else ReachProbability(self.parts[:count], self.window, self.factors)

    def signal(self) -> Signal:
        """Return the probability on the whole map as a signal."""
        return torch.stack(self.everywhere().parts)


def times(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor | None:
    """Return the product, where `None` means one."""
    return b if a is None else a if b is None else a * b


def windows_of(probabilities: Sequence[ReachProbability | None]) -> list[Window] | None:
    """Return the windows of the probabilities that are not `None`; `None` if one of them is a whole map."""
    found = [probability.window for probability in probabilities if probability is not None]
    return None if None in found else [window for window in found if window is not None]
