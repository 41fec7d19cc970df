"""Times as ratios within one run: the contenders take turns, so that what else the machine does hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Times:
    """Seconds of each contender, turn by turn.

    Attributes:
        seconds: by contender; the n-th entries of all belong to one turn.
    """

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Median seconds of one contender."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, base: str, *, less: str | None = None, each: int = 1) -> Ratio:
        """Median over turns of `(name - less) / base / each`."""
        spent = self.seconds[less] if less else [0.0] * len(self.seconds[name])
        turns = zip(self.seconds[name], spent, self.seconds[base], strict=True)
        return spread([(a - b) / c / each for a, b, c in turns])

    def milliseconds(self, name: str, *, each: int = 1) -> Ratio:
        """Milliseconds of one contender, for each of so many things it did."""
        return spread([1e3 * s / each for s in self.seconds[name]])


@dataclass(frozen=True)
class Ratio:
    """A ratio of times: median over turns and the middle half's ends."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def spread(numbers: Sequence[float]) -> Ratio:
    """Median and the middle half's ends."""
    ordered = sorted(numbers)
    quarter = len(ordered) // 4
    return Ratio(statistics.median(ordered), ordered[quarter], ordered[-1 - quarter])


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
"""On a machine that others keep busy, wall time measures them; one thread's processor time does not."""

_clock = ["wall"]


def use_clock(name: str) -> None:
    """Choose what all turns are timed with from here on."""
    if name not in CLOCKS:
        raise ValueError(f"clock is {name!r}; choose one of {', '.join(map(repr, CLOCKS))}.")
    _clock[0] = name


def now(device: torch.device | None = None) -> float:
    """Seconds on the chosen clock, once a device that works on its own time has done what it was given."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return CLOCKS[_clock[0]]()


def take_turns(contenders: Mapping[str, Callable[[], object]], turns: int, device: torch.device | None = None) -> Times:
    """Run all contenders in turn.

    Args:
        contenders: by name.
        turns: how often each runs, after one turn that is not counted.
        device: waited for before and after each run, if it works on its own time.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns + 1):
        for name, contender in contenders.items():
            start = now(device)
            contender()
            if turn:
                seconds[name].append(now(device) - start)
    return Times(seconds)
