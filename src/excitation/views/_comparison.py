"""One picture, many methods: the picture on top, a row for each method, a column for each target."""

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

# Inches and points.
PANEL = 1.55  # the longer side of a picture
LABEL = 1.25  # at most, for the methods' names
EMPTY = 0.62  # height of a row without maps
TITLE, NAME, CAPTION = 11.0, 11.0, 8.5
GREY = "0.4"


def _two_sided() -> ListedColormap:
    """Above zero the colours of maps without a sign, so that rows can be compared; below, blue."""
    steps = np.linspace(0, 1, 256)
    above = matplotlib.colormaps[COLOUR_MAP](DARKEST + (1 - DARKEST) * steps)
    below = matplotlib.colormaps["Blues"](0.35 + 0.55 * steps[::-1])
    return ListedColormap(np.concatenate([below, above]))


@dataclass(frozen=True)
class Compared:
    """One method's row in a comparison.

    Attributes:
        name: of the method, at the left.
        note: below the name, in grey: what it took, say.
        maps: one per column, of any size; none where the method does not apply.
        captions: below each map.
        reason: why there are no maps, shown in their place.
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
    """Set methods below each other and targets side by side, as the paper compares methods.

    Each map has its own colours, from zero to its largest value; maps with negative values are shown with blue below
    zero. What maps of different methods sum to differs by orders of magnitude, so a common scale would show one alone.

    Args:
        picture: mode `"RGB"`; stands on top of each column.
        titles: what was looked for, one per column.
        rows: one per method.
        notes: below the picture in each column, such as the score; none if not given.
        box: the part of the picture that the maps cover, `(x0, y0, x1, y1)` in its pixels; all of it if not given.
        mark_peaks: put a ring where each map is largest.

    Returns:
        A matplotlib figure that belongs to no window and no pyplot state; see `save_figure`.

    Raises:
        ExcitationError: no titles, rows whose maps or captions are not one per title, or what `overlay` refuses.
    """
    check_picture(picture)
    _check(titles, rows, notes)
    grid = _Grid.of(picture, titles, rows, notes)
    shown = fitted(picture)
    shown_box = scaled_box(box, picture, shown)
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
    """Sizes in inches: of names, of a picture, of the titles above the columns, of the whole figure."""

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
    """A picture in its cell, with axes in the pixels of the original."""
    wide = grid.tall * picture.width / picture.height
    return put_picture(drawn, content, (grid.middle(column) - wide / 2, top, wide, grid.tall), picture.size)


def _label(drawn: Figure, grid: _Grid, row: Compared, top: float) -> None:
    """The method's name, and what it took, at the left of its row and half way down."""
    names, notes = wrapped(row.name, NAME, LABEL), wrapped(row.note, CAPTION, LABEL)
    height = grid.tall if row.maps else EMPTY
    start = top + (height - len(names) * line_height(NAME) - len(notes) * line_height(CAPTION)) / 2
    write(drawn, names, 2 * GAP + grid.label, start, NAME, align="right")
    write(
        drawn, notes, 2 * GAP + grid.label, start + len(names) * line_height(NAME), CAPTION, colour=GREY, align="right"
    )


def _empty(drawn: Figure, grid: _Grid, top: float, reason: str) -> None:
    """A light field in place of a row of maps, with the reason in it."""
    left = grid.middle(0) - grid.wide / 2
    wide = grid.columns * (grid.wide + GAP) - GAP
    drawn.add_artist(
        Rectangle((left / grid.width, 1 - (top + EMPTY) / grid.height), wide / grid.width, EMPTY / grid.height,
                  facecolor="0.955", edgecolor="none", transform=drawn.transFigure)
    )  # fmt: skip
    letters = max(8, int((wide - 2 * GAP) * 72 / (0.56 * CAPTION)))
    lines = textwrap.wrap(reason, letters, max_lines=int(EMPTY / line_height(CAPTION)), placeholder=" …")
    write(drawn, lines, left + wide / 2, top + (EMPTY - len(lines) * line_height(CAPTION)) / 2, CAPTION, colour=GREY)
