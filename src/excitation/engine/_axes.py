"""The relation between the axes of an operation's output and the axes of its input. Readers return these classes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kept:
    """An output axis that equals an input axis, position by position.

    Attributes:
        axis: axis of the first input; negative numbers count from the end.
    """

    axis: int


@dataclass(frozen=True)
class Resampled:
    """An output axis. Each position combines neighbouring positions of an input axis: convolution, pooling, slicing.

    Attributes:
        axis: axis of the first input; negative numbers count from the end.
        step: number of input positions per output position; `None` uses the ratio of the sizes.
    """

    axis: int
    step: float | None = None


@dataclass(frozen=True)
class Made:
    """A new channel axis. Each position combines all positions of one or more input axes."""


AxisSource = Kept | Resampled | Made

Axes = tuple[AxisSource, ...]
"""One source per axis of the output. An input axis that no source names is summed over, or has one position left."""
