"""Comparison of methods on one picture: the picture at the top, one row per method, one column per target."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from .._checks import check_instances, check_names, check_number
from .._errors import ExcitationError
from .._maps import AttentionMap, Box, find_peak
from ._drawing import (
    DPI,
    GAP,
    check_pixels,
    fitted,
    line_height,
    mark_empty,
    outline,
    put_picture,
    ring,
    scaled_box,
    wrapped,
    write,
)
from ._overlay import COLOUR_MAP, DARKEST, check_picture, overlay

_Item = TypeVar("_Item")

# Units are inches and points.
PANEL = 1.5  # longer side of a picture
LABEL = 1.2  # maximum width of the method names
EMPTY = 0.62  # height of a row without maps
PAGE = 9.4  # width of a page: at 600 pixels, the smallest text has 8 pixels
SHAPE = 1.35  # height of a page divided by its width
NARROW = 5.6  # narrower comparisons may be as high as if they had this width
TITLE, NAME, CAPTION = 11.0, 11.0, 9.0
GREY = "0.35"


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
        empty: whether each map has almost no mass; not given: whether it is zero. The picture is then grey with the
            word "empty".
        boxes: a box to draw on each map, `(x0, y0, x1, y1)` in pixels of the picture, or `None`.
    """

    name: str
    note: str = ""
    maps: Sequence[AttentionMap] = ()
    captions: Sequence[str] = ()
    reason: str = ""
    empty: Sequence[bool] = ()
    boxes: Sequence[Box | None] = ()


def comparison(
    picture: Image.Image,
    titles: Sequence[str],
    rows: Sequence[Compared],
    *,
    notes: Sequence[str] = (),
    title: str = "",
    box: Box | None = None,
    size: tuple[int, int] | None = None,
    peaks: bool = True,
    shared_scale: bool = False,
    alpha: float = 0.85,
    colour_map: str | None = None,
    columns: int | None = None,
    dpi: float | int = DPI,
) -> Figure:
    """Show methods in rows and targets in columns, like the comparisons in the paper.

    Long comparisons wrap to a page: targets that do not fit side by side continue in a second block below, and if there
    are many methods for few targets, the methods continue in a second block to the right.

    Args:
        picture: mode `"RGB"`; shown at the top of each column.
        titles: the targets, one per column.
        rows: one per method.
        notes: text below the picture in each column, such as the score; optional.
        title: title of the figure.
        box: the crop that the maps cover, `(x0, y0, x1, y1)` in pixels of the picture; the full picture if not given.
        size: `(height, width)` of the full picture in pixels, if `picture` is a reduced copy.
        peaks: whether to mark the maximum of each map with a ring.
        shared_scale: whether the maps of a method have one colour scale, so that weak maps look weak. Otherwise each
            map has its own, from zero to its maximum. Methods never share a scale: their units differ. Negative values
            are shown in blue.
        alpha: opacity of the strongest colours, in [0, 1].
        colour_map: a matplotlib name; see `overlay`.
        columns: the largest number of targets side by side; by default as many as fit on a page.
        dpi: pixels per inch at which the pictures are prepared.

    Returns:
        A matplotlib figure without a window or pyplot state; see `save_figure`.

    Raises:
        ExcitationError: no titles, a row without exactly one map or caption per title, or an error of `overlay`.
    """
    check_picture(picture)
    _check(titles, rows, notes)
    if columns is not None:
        check_number("columns", columns, "a whole number from 1 on", least=1, whole=True)
    pixels = (picture.height, picture.width) if size is None else size
    cell = _Cell.of(pixels, titles, rows, notes)
    page = _Page.of(cell, len(titles), rows, columns)
    height, width = pixels
    inches = cell.tall * width / height, cell.tall
    shown = fitted(picture, inches, dpi)
    shown_box = scaled_box(box, (width, height), shown.size)
    heading = wrapped(title, TITLE, page.width - 2 * GAP) if title else []
    above = len(heading) * line_height(TITLE) + GAP if heading else 0.0
    check_pixels(page.width, page.height + above, dpi)
    with matplotlib.style.context("default"):
        drawn = Figure(figsize=(page.width, page.height + above), dpi=dpi, facecolor="white")
        FigureCanvasAgg(drawn)
        write(drawn, heading, page.width / 2, GAP, TITLE, colour=GREY)
        for block in page.blocks:
            top = above + block.top + GAP
            for place, i in enumerate(block.targets):
                lines = wrapped(titles[i], TITLE, cell.wide)
                at = top + cell.title - len(lines) * line_height(TITLE)
                write(drawn, lines, block.middle(cell, place), at, TITLE)
            top += cell.title + GAP / 2
            for place, i in enumerate(block.targets):
                put_picture(drawn, shown, block.place(cell, place, top, inches), (width, height))
                if notes:
                    at = top + cell.tall
                    write(drawn, wrapped(notes[i], CAPTION, cell.wide), block.middle(cell, place), at, CAPTION,
                          colour=GREY)  # fmt: skip
            top += cell.tall + cell.note + GAP
            for row in block.rows:
                _label(drawn, cell, block, row, top)
                if not row.maps:
                    _empty(drawn, cell, block, top, row.reason)
                limit = _largest(row) if shared_scale else None
                for place, i in enumerate(block.targets if row.maps else ()):
                    attention = row.maps[i]
                    empty = row.empty[i] if row.empty else not np.asarray(attention).any()
                    signed = bool(np.asarray(attention).min() < 0)
                    colours = _two_sided() if signed and colour_map is None else colour_map
                    laid = overlay(
                        shown, np.zeros((1, 1)) if empty else attention, signed=signed, alpha=alpha,
                        colour_map=colours, limit=None if empty else limit, box=shown_box,
                    )  # fmt: skip
                    axes = put_picture(drawn, laid, block.place(cell, place, top, inches), (width, height))
                    marked = row.boxes[i] if row.boxes else None
                    if empty:
                        mark_empty(axes, 10.0)
                    elif marked is not None:
                        outline(axes, marked, 1.2)
                    if peaks and not empty:
                        ring(axes, find_peak(attention, pixels, box=box), 6.5)
                    if row.captions:
                        at = block.middle(cell, place)
                        write(drawn, [row.captions[i]], at, top + cell.tall, CAPTION, colour=GREY)
                top += cell.row(row) + GAP
    return drawn


def _largest(row: Compared) -> float | None:
    values = [float(np.abs(np.asarray(item)).max()) for item in row.maps]
    return max(values, default=0.0) or None


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
        for what in ("captions", "empty", "boxes"):
            if (given := getattr(row, what)) and len(given) != len(titles):
                raise ExcitationError(f"{row.name} has {len(given)} {what} for {len(titles)} titles.")


@dataclass(frozen=True)
class _Cell:
    """Sizes in inches: width of the labels and of a column, heights of a picture and of the texts around it."""

    label: float
    wide: float
    tall: float
    title: float
    note: float
    caption: float

    @classmethod
    def of(
        cls, pixels: tuple[int, int], titles: Sequence[str], rows: Sequence[Compared], notes: Sequence[str]
    ) -> _Cell:
        share = PANEL / max(pixels)
        wide, tall = max(pixels[1] * share, 0.62 * PANEL), pixels[0] * share
        title = max(len(wrapped(text, TITLE, wide)) for text in titles) * line_height(TITLE)
        note = max((len(wrapped(text, CAPTION, wide)) for text in notes), default=0) * line_height(CAPTION)
        caption = line_height(CAPTION) if any(row.captions for row in rows) else 0.0
        label = max(len(line) for row in rows for line in wrapped(row.name, NAME, LABEL)) * 0.62 * NAME / 72
        return cls(label, wide, tall, title, note, caption)

    def row(self, row: Compared) -> float:
        """Height of a row."""
        return (self.tall + (self.caption if row.captions else 0.0)) if row.maps else EMPTY

    def width(self, columns: int) -> float:
        """Width of a block."""
        return self.label + columns * (self.wide + GAP) + 3 * GAP

    def height(self, rows: Sequence[Compared]) -> float:
        """Height of a block."""
        return 2.5 * GAP + self.title + self.tall + self.note + sum(self.row(row) + GAP for row in rows)


@dataclass(frozen=True)
class _Block:
    """Some targets and some methods; `left` and `top` are in inches from the upper left corner of the figure."""

    targets: Sequence[int]
    rows: Sequence[Compared]
    left: float
    top: float

    def middle(self, cell: _Cell, column: int) -> float:
        return self.left + cell.label + 3 * GAP + column * (cell.wide + GAP) + cell.wide / 2

    def place(
        self, cell: _Cell, column: int, top: float, inches: tuple[float, float]
    ) -> tuple[float, float, float, float]:
        """Left, top, width and height of a picture."""
        return self.middle(cell, column) - inches[0] / 2, top, *inches


@dataclass(frozen=True)
class _Page:
    """The arrangement of all blocks; sizes in inches."""

    blocks: Sequence[_Block]
    width: float
    height: float

    @classmethod
    def of(cls, cell: _Cell, targets: int, rows: Sequence[Compared], columns: int | None) -> _Page:
        fit = max(1, int((PAGE - cell.width(0)) / (cell.wide + GAP))) if columns is None else columns
        best: _Page | None = None
        for parts in range(1, len(rows) + 1):
            page = cls._arranged(cell, _chunks(range(targets), -(-targets // fit)), _chunks(rows, parts))
            if page.width > max(PAGE, cell.width(min(fit, targets))) + 1e-6:
                break
            if best is None or page.height < best.height - 0.5:
                best = page
            if best.height <= SHAPE * max(best.width, NARROW):
                break
        assert best is not None  # one part is never too wide
        return best

    @classmethod
    def _arranged(cls, cell: _Cell, targets: Sequence[Sequence[int]], rows: Sequence[Sequence[Compared]]) -> _Page:
        blocks, top, width = [], 0.0, 0.0
        for some in targets:
            for place, part in enumerate(rows):
                blocks.append(_Block(some, part, place * cell.width(len(some)), top))
            width = max(width, len(rows) * cell.width(len(some)))
            top += max(map(cell.height, rows)) + GAP
        return cls(blocks, width, top - GAP)


def _chunks(items: Sequence[_Item], parts: int) -> list[Sequence[_Item]]:
    """Split into parts of nearly equal length, in order."""
    size = -(-len(items) // parts)
    return [items[at : at + size] for at in range(0, len(items), size)]


def _label(drawn: Figure, cell: _Cell, block: _Block, row: Compared, top: float) -> None:
    """Write the name and note of a method on the left of its row, vertically centred."""
    names, notes = wrapped(row.name, NAME, LABEL), wrapped(row.note, CAPTION, LABEL)
    height = cell.tall if row.maps else EMPTY
    start = top + (height - len(names) * line_height(NAME) - len(notes) * line_height(CAPTION)) / 2
    right = block.left + 2 * GAP + cell.label
    write(drawn, names, right, start, NAME, align="right")
    write(drawn, notes, right, start + len(names) * line_height(NAME), CAPTION, colour=GREY, align="right")


def _empty(drawn: Figure, cell: _Cell, block: _Block, top: float, reason: str) -> None:
    """Draw a light field with the reason instead of a row of maps."""
    left = block.middle(cell, 0) - cell.wide / 2
    wide = len(block.targets) * (cell.wide + GAP) - GAP
    width, height = drawn.get_size_inches()
    drawn.add_artist(
        Rectangle((left / width, 1 - (top + EMPTY) / height), wide / width, EMPTY / height,
                  facecolor="0.955", edgecolor="none", transform=drawn.transFigure)
    )  # fmt: skip
    letters = max(8, int((wide - 2 * GAP) * 72 / (0.56 * CAPTION)))
    lines = textwrap.wrap(reason, letters, max_lines=int(EMPTY / line_height(CAPTION)), placeholder=" …")
    write(drawn, lines, left + wide / 2, top + (EMPTY - len(lines) * line_height(CAPTION)) / 2, CAPTION, colour=GREY)
