"""Comparison of methods on one picture: the picture at the top, one row per method, one column per target."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from .._checks import check_instances, check_names
from .._errors import ExcitationError
from .._maps import AttentionMap, Box, find_peak
from ._drawing import DPI, GAP, fitted, line_height, mark_empty, put_picture, ring, scaled_box, wrapped, write
from ._overlay import COLOUR_MAP, DARKEST, check_picture, overlay

# Units are inches and points.
PANEL = 1.55  # longer side of a picture
LABEL = 1.25  # maximum width of the method names
EMPTY = 0.62  # height of a row without maps
TITLE, NAME, CAPTION = 11.0, 11.0, 8.5
GREY = "0.4"


def _two_sided() -> ListedColormap:
    """The colours of non-negative maps for positive values, so that rows are comparable; blue for negative values."""
    steps = np.linspace(0, 1, 256)
    above = matplotlib.colormaps[COLOUR_MAP](DARKEST + (1 - DARKEST) * steps)
    below = matplotlib.colormaps["Blues"](0.35 + 0.55 * steps[::-1])
    return ListedColormap(np.concatenate([below, above]))


@dataclass(frozen=True)
class Compared:
    """One method's row in a comparison.

    Attributes:
        name: name of the method, on the left.
        note: text below the name, in grey, for example the run time.
        maps: one map per column, of any size; empty if the method does not apply.
        captions: text below each map.
        reason: why there are no maps; shown instead of the maps.
    """

    name: str
    note: str = ""
    maps: Sequence[AttentionMap] = ()
    captions: Sequence[str] = ()
    reason: str = ""


def comparison(
    picture: Image.Image,
    titles: Sequence[str],
    rows: Sequence[Compared],
    *,
    notes: Sequence[str] = (),
    box: Box | None = None,
    mark_peaks: bool = True,
) -> Figure:
    """Show methods in rows and targets in columns, like the comparisons in the paper.

    Each map has its own colour scale, from zero to its maximum. Negative values are shown in blue. The sums of maps
    differ between methods by orders of magnitude, so a common scale would show only one method.

    Args:
        picture: mode `"RGB"`; shown at the top of each column.
        titles: the targets, one per column.
        rows: one per method.
        notes: text below the picture in each column, such as the score; optional.
        box: the crop that the maps cover, `(x0, y0, x1, y1)` in pixels of the picture; the full picture if not given.
        mark_peaks: whether to mark the maximum of each map with a ring.

    Returns:
        A matplotlib figure without a window or pyplot state; see `save_figure`.

    Raises:
        ExcitationError: no titles, a row without exactly one map or caption per title, or an error of `overlay`.
    """
    check_picture(picture)
    _check(titles, rows, notes)
    grid = _Grid.of(picture, titles, rows, notes)
    shown = fitted(picture)
    shown_box = scaled_box(box, picture.size, shown.size)
    with matplotlib.style.context("default"):
        drawn = Figure(figsize=(grid.width, grid.height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(drawn)
        top = GAP
        for i, title in enumerate(titles):
            lines = wrapped(title, TITLE, grid.wide)
            write(drawn, lines, grid.middle(i), top + grid.title - len(lines) * line_height(TITLE), TITLE)
        top += grid.title + GAP / 2
        for i in range(len(titles)):
            _show(drawn, grid, i, top, picture, shown)
            if notes:
                write(drawn, [notes[i]], grid.middle(i), top + grid.tall, CAPTION, colour=GREY)
        top += grid.tall + (line_height(CAPTION) if notes else 0.0) + GAP
        for row in rows:
            height = grid.row(row)
            _label(drawn, grid, row, top)
            if not row.maps:
                _empty(drawn, grid, top, row.reason)
            for i, attention in enumerate(row.maps):
                signed = bool(np.asarray(attention).min() < 0)
                colours = _two_sided() if signed else None
                laid = overlay(shown, attention, signed=signed, colour_map=colours, box=shown_box)
                axes = _show(drawn, grid, i, top, picture, laid)
                if not np.asarray(attention).any():
                    mark_empty(axes)
                elif mark_peaks:
                    ring(axes, find_peak(attention, (picture.height, picture.width), box=box), 6.5)
                if row.captions:
                    write(drawn, [row.captions[i]], grid.middle(i), top + grid.tall, CAPTION, colour=GREY)
            top += height + GAP
    return drawn


def _check(titles: Sequence[str], rows: Sequence[Compared], notes: Sequence[str]) -> None:
    check_names("titles", titles)
    check_instances("rows", rows, Compared)
    if not titles or not rows:
        raise ExcitationError(f"{len(titles)} titles and {len(rows)} rows; give at least one of each.")
    if notes and len(notes) != len(titles):
        raise ExcitationError(f"{len(notes)} notes for {len(titles)} titles; give one per title, or none.")
    for row in rows:
        if (row.maps or not row.reason) and len(row.maps) != len(titles):
            raise ExcitationError(f"{row.name} has {len(row.maps)} maps for {len(titles)} titles; give one per title.")
        if row.captions and len(row.captions) != len(titles):
            raise ExcitationError(f"{row.name} has {len(row.captions)} captions for {len(titles)} titles.")


@dataclass(frozen=True)
class _Grid:
    """Sizes in inches: of labels, of a picture, of the titles above the columns, and of the figure."""

    label: float
    wide: float
    tall: float
    title: float
    columns: int
    width: float
    height: float
    caption: float

    @classmethod
    def of(cls, picture: Image.Image, titles: Sequence[str], rows: Sequence[Compared], notes: Sequence[str]) -> _Grid:
        share = PANEL / max(picture.size)
        wide, tall = max(picture.width * share, PANEL / 2), picture.height * share
        title = max(len(wrapped(text, TITLE, wide)) for text in titles) * line_height(TITLE)
        caption = line_height(CAPTION) if any(row.captions for row in rows) else 0.0
        above = GAP + title + GAP / 2 + tall + (line_height(CAPTION) if notes else 0.0) + GAP
        below = sum(GAP + (tall + caption if row.maps else EMPTY) for row in rows)
        label = max(len(line) for row in rows for line in wrapped(row.name, NAME, LABEL)) * 0.62 * NAME / 72
        width = label + len(titles) * (wide + GAP) + 3 * GAP
        return cls(label, wide, tall, title, len(titles), width, above + below, caption)

    def middle(self, column: int) -> float:
        return self.label + 3 * GAP + column * (self.wide + GAP) + self.wide / 2

    def row(self, row: Compared) -> float:
        return self.tall + self.caption if row.maps else EMPTY


def _show(drawn: Figure, grid: _Grid, column: int, top: float, picture: Image.Image, content: Image.Image) -> Axes:
    """Draw a picture in its cell, with axes in pixels of the original picture."""
    wide = grid.tall * picture.width / picture.height
    return put_picture(drawn, content, (grid.middle(column) - wide / 2, top, wide, grid.tall), picture.size)


def _label(drawn: Figure, grid: _Grid, row: Compared, top: float) -> None:
    """Write the name and note of a method on the left of its row, vertically centred."""
    names, notes = wrapped(row.name, NAME, LABEL), wrapped(row.note, CAPTION, LABEL)
    height = grid.tall if row.maps else EMPTY
    start = top + (height - len(names) * line_height(NAME) - len(notes) * line_height(CAPTION)) / 2
    write(drawn, names, 2 * GAP + grid.label, start, NAME, align="right")
    write(
        drawn, notes, 2 * GAP + grid.label, start + len(names) * line_height(NAME), CAPTION, colour=GREY, align="right"
    )


def _empty(drawn: Figure, grid: _Grid, top: float, reason: str) -> None:
    """Draw a light field with the reason instead of a row of maps."""
    left = grid.middle(0) - grid.wide / 2
    wide = grid.columns * (grid.wide + GAP) - GAP
    drawn.add_artist(
        Rectangle((left / grid.width, 1 - (top + EMPTY) / grid.height), wide / grid.width, EMPTY / grid.height,
                  facecolor="0.955", edgecolor="none", transform=drawn.transFigure)
    )  # fmt: skip
    letters = max(8, int((wide - 2 * GAP) * 72 / (0.56 * CAPTION)))
    lines = textwrap.wrap(reason, letters, max_lines=int(EMPTY / line_height(CAPTION)), placeholder=" …")
    write(drawn, lines, left + wide / 2, top + (EMPTY - len(lines) * line_height(CAPTION)) / 2, CAPTION, colour=GREY)
