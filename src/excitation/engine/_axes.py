"""Where the axes of an operation's output come from, as its reader tells it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kept:
    """The axis of an input, position by position.

    Attributes:
        axis: of the first input; negative numbers count from the end.
    """

    axis: int


@dataclass(frozen=True)
class Resampled:
    """An axis whose positions combine neighbours of an input's axis: convolution, pooling, interpolation, slicing.

    Attributes:
        axis: of the first input; negative numbers count from the end.
        step: input positions per output position; `None` takes the ratio of the sizes.
    """

    axis: int
    step: float | None = None


@dataclass(frozen=True)
class Made:
    """A new axis of channels: each of its positions combines whole axes of the input."""


AxisSource = Kept | Resampled | Made

Axes = tuple[AxisSource, ...]
"""One source per axis of the output. An input axis that no source names is summed over, or has one position left."""
