"""Progress of a training run: a progress bar on a terminal, otherwise occasional lines."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import TextColumn

from ._console import on_terminal, progress_bar, report_line
from ._progress import EVERY, time_left

if TYPE_CHECKING:
    from ..training import State


class TrainingDisplay:
    """Context manager that shows loss, precision and the remaining time.

    Args:
        what: description of the run.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar = progress_bar(TextColumn("{task.fields[left]}"))
        self._task = self._bar.add_task(what, total=None, left="")
        self._told = time.monotonic()

    def show(self, state: State) -> None:
        """Show the current progress."""
        seen = "" if state.precision != state.precision else f", precision {state.precision:.3f}"
        said = f"loss {state.loss:.4g}{seen}"
        self._bar.update(
            self._task, total=state.steps, completed=state.step, left=time_left(state.left),
            description=f"{self._what}: {said}",
        )  # fmt: skip
        now = time.monotonic()
        if not on_terminal() and now - self._told >= EVERY:
            self._told = now
            left = time_left(state.left)
            report_line(f"{self._what}: step {state.step} of {state.steps}, {said}{f', {left}' if left else ''}")

    def __enter__(self) -> TrainingDisplay:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
