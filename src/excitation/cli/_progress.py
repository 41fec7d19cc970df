"""Progress of a run: a progress bar on a terminal, otherwise occasional lines."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import TaskID, TextColumn

from ._console import on_terminal, progress_bar, report_line

if TYPE_CHECKING:
    from ..evaluation import Progress

EVERY = 60.0
"""Seconds between two lines where there is no terminal."""


class ProgressDisplay:
    """Context manager that shows the progress of a game.

    The remaining time is an estimate of the run, based on the speed of this session. Images of earlier sessions do not
    count.

    Args:
        game: name of the game.
    """

    def __init__(self, game: str) -> None:
        self._game = game
        self.bar = progress_bar(TextColumn("{task.fields[left]}"))
        self._tasks: dict[str, TaskID] = {}
        self._waiting = self.bar.add_task(game, total=None, left="")
        self._told = time.monotonic()
        self._last: Progress | None = None
        """Not told in a line yet."""

    def show(self, state: Progress) -> None:
        """Show the current progress."""
        left = time_left(state.remaining)
        if state.counted not in self._tasks:
            for task in (self._waiting, *self._tasks.values()):
                self.bar.update(task, visible=False)
            self._tasks[state.counted] = self.bar.add_task(f"{self._game}: {state.counted}", left="")
        task = self._tasks[state.counted]
        self.bar.update(task, total=state.planned, completed=state.done, left=left)
        if on_terminal():
            return
        now = time.monotonic()
        if self._last is not None and self._last.counted != state.counted:
            self._last = None  # the previous phase is finished
        self._last = state
        if now - self._told >= EVERY:
            self._tell(now)

    def _tell(self, now: float) -> None:
        if self._last is None:
            return
        state, self._last, self._told = self._last, None, now
        left = time_left(state.remaining)
        more = f", {left}" if left else f" in {duration(state.seconds)}" if state.done == state.planned else ""
        report_line(f"{self._game}: {state.done} of {state.planned} {state.counted}{more}")

    def __enter__(self) -> ProgressDisplay:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        if kind is None:  # after an error, only its message is printed
            self._tell(time.monotonic())


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
    return f"about {duration(left)} left" if left else ""
