"""Console output: results go to standard output; messages and progress go to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

if TYPE_CHECKING:
    from ..evaluation import Progress as GameProgress
    from ..training import State

_STDERR = Console(stderr=True, highlight=False, soft_wrap=True)

EVERY = 60.0
"""Seconds between two lines of progress if standard error is not a terminal."""


def answer(lines: Iterable[str]) -> None:
    """Print lines to standard output, above the progress bar if both use the same terminal."""
    for line in lines:
        if _STDERR.is_terminal and sys.stdout.isatty():
            _STDERR.print(line, markup=False)
        else:
            print(line, flush=True)


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print a table of texts to standard output, with aligned columns. The first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def report_line(text: str) -> None:
    """Print one line to standard error."""
    _STDERR.print(f"excitation: {' '.join(text.split())}", markup=False)


class ProgressDisplay:
    """Context manager that shows the progress of a command.

    On a terminal, this is a progress bar with the remaining time. Otherwise, it is a line every minute. The remaining
    time is an estimate from the speed of this session; work of earlier sessions does not count.

    Args:
        name: what runs, such as the name of a game.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=_STDERR,
            transient=True,
            disable=not _STDERR.is_terminal,
            # Otherwise, rich redirects printed text to its own console, and standard output remains empty.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, float]] = {}
        self._waiting: TaskID | None = self.bar.add_task(name, total=None, left="")
        self._printed = time.monotonic()
        self._closing: str | None = None
        """The line to print at the end."""

    def update(
        self, done: float | int, total: float | int, *, phase: str = "", note: str = "", left: float | None = None
    ) -> None:
        """Show how much is done.

        Args:
            done: number of finished units.
            total: number of all units.
            phase: name of the units; a new name starts a new bar.
            note: text after the name.
            left: remaining seconds; estimated if not given.
        """
        now = time.monotonic()
        began, before = self._started.setdefault(phase, (now, done))
        if left is None and done > before:
            left = (total - done) * (now - began) / (done - before)
        name = ": ".join(filter(None, (self._name, phase, note)))
        if phase not in self._tasks:
            for task in (self._waiting, *self._tasks.values()):
                if task is not None:
                    self.bar.update(task, visible=False)
            self._tasks[phase] = self.bar.add_task(name, left="")
        self.bar.update(self._tasks[phase], description=name, total=total, completed=done, left=time_left(left))
        if not _STDERR.is_terminal and self._closing is None and now - self._printed >= EVERY:
            count = f"{round(done)} of {round(total)}{f' {phase}' if phase else ''}"
            report_line(f"{self._name}: {', '.join(filter(None, (count, note, time_left(left))))}")
            self._printed = now

    def show_game(self, state: GameProgress) -> None:
        """Show the progress of a game."""
        finished = f"{self._name}: {state.done} of {state.planned} {state.counted} in {duration(state.seconds)}"
        self._closing = finished if state.done == state.planned else None
        self.update(state.done, state.planned, phase=state.counted, left=state.remaining or 0.0)

    def show_training(self, state: State) -> None:
        """Show the progress of a training run: loss and precision of the last step."""
        seen = "" if state.precision != state.precision else f", precision {state.precision:.3f}"
        self.update(state.step, state.steps, note=f"loss {state.loss:.4g}{seen}", left=state.left)

    def __enter__(self) -> ProgressDisplay:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        # After an error, only its message is printed.
        if kind is None and self._closing is not None and not _STDERR.is_terminal:
            report_line(self._closing)


def duration(seconds: float) -> str:
    """Format a duration with about two digits: `40 s`, `13 min`, `2 h 05 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    return f"{minutes // 60} h {minutes % 60:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def time_left(left: float | None) -> str:
    """Format the remaining time; empty if it is unknown or zero."""
    return f"about {duration(left)} left" if left else ""
