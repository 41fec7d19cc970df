"""Console output: results go to standard output, everything else to standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

_STDERR = Console(stderr=True, highlight=False, soft_wrap=True)

LONGEST = 3600.0
"""Seconds over which rich takes a pace; its own 30 give no estimate for what takes longer a piece."""


def progress_bar(left: ProgressColumn | None = None) -> Progress:
    """Return a transient progress bar on standard error. It is shown only on a terminal.

    Args:
        left: column with the remaining time; the estimate of rich if not given.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        left or TimeRemainingColumn(),
        speed_estimate_period=LONGEST,
        console=_STDERR,
        transient=True,
        disable=not _STDERR.is_terminal,
        # Otherwise, rich redirects printed text to its own console, and standard output remains empty.
        redirect_stdout=False,
        redirect_stderr=False,
    )


def on_terminal() -> bool:
    """Whether standard error is a terminal, which can show a progress bar."""
    return _STDERR.is_terminal


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
