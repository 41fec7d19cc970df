"""Figures: one row per picture, with the picture followed by one overlay per target."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from PIL import Image

from .._checks import check_instances, check_number, check_path, check_size
from .._errors import ExcitationError
from .._files import whole_file
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
from ._overlay import DARKEST, check_picture, coloured, find_colour_map, overlay

# Units are inches and points. The text is large relative to the panels, for small screens.
PANEL = 2.4
TALLEST = 1.25  # maximum height relative to the panel width; taller pictures are drawn narrower
NARROWEST = 1.5  # minimum width of a column, for titles and captions
BAR = 0.03, 0.13  # distance and width of the colour bar
TITLE, CAPTION = 13.0, 10.5
SEPARATOR = " · "
COMPRESSION = 1
"""Level of zlib. Level 6 doubles the time of a figure for files that are 7 % smaller."""

METADATA: dict[str, dict[str, None]] = {
    ".png": {},
    ".pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    ".svg": {"Date": None, "Creator": None},
}


@dataclass(frozen=True)
class Panel:
    """One map in a figure.

    Attributes:
        attention: the map, of any size.
        title: text above the map, usually the target.
        caption: text below the map, with one or several lines.
        empty: whether the map has almost no mass. The picture is then grey with the word "empty". A map of zeros always
            counts as empty.
        box: a box to draw, `(x0, y0, x1, y1)` in pixels of the picture.
    """

    attention: AttentionMap
    title: str
    caption: str = ""
    empty: bool = False
    box: Box | None = None


def panel_caption(score: float | None, mass: float | None) -> str:
    """Return the caption of a map: the score and the mass that are known."""
    # Adding zero turns -0.0 into 0.0.
    parts = [] if score is None else [f"score {score:.4g}"]
    parts += [] if mass is None else [f"mass {round(mass, 3) + 0.0:.3f}"]
    return SEPARATOR.join(parts).replace("-", "−")


@dataclass(frozen=True)
class FigureRow:
    """One picture and its maps.

    Attributes:
        picture: mode `"RGB"`; `None` if the picture is not known, which needs a `size`. The maps are then drawn alone.
        panels: one per target.
        caption: text below the picture, usually its name; below the first map if the picture is not known.
        box: the crop that the maps cover, `(x0, y0, x1, y1)` in pixels of the picture; the full picture if not given.
        size: `(height, width)` in pixels of a picture that is not known, or that is given in a reduced size. Boxes and
            peaks are in these pixels.
    """

    picture: Image.Image | None
    panels: Sequence[Panel]
    caption: str = ""
    box: Box | None = None
    size: tuple[int, int] | None = None

    @property
    def pixels(self) -> tuple[int, int]:
        """`(height, width)` of the picture in pixels."""
        if self.picture is not None and self.size is None:
            return self.picture.height, self.picture.width
        height, width = check_size("size", self.size)
        return height, width


def figure(
    rows: Sequence[FigureRow],
    *,
    title: str = "",
    signed: bool = False,
    shared_scale: bool = False,
    peaks: bool = False,
    alpha: float = 0.85,
    colour_map: str | None = None,
    columns: int | None = None,
    scale_label: str = "",
    dpi: float | int = DPI,
) -> Figure:
    """Arrange pictures and maps in rows and columns.

    Titles are shown above the first row, and above each row with other titles than the row before.

    Args:
        rows: one per picture.
        title: title of the figure.
        signed: whether to show negative values, with a diverging colour map.
        shared_scale: whether to use one colour scale with a colour bar for all maps. Otherwise each map has its own,
            from zero to its maximum.
        peaks: whether to mark the maximum of each map with a ring.
        alpha: opacity of the strongest colours, in [0, 1].
        colour_map: a matplotlib name; see `overlay`.
        columns: the largest number of pictures side by side, at least 1; a row with more goes on below, in lines of
            nearly equal length. If not given, each row is one line.
        scale_label: text next to the colour bar: the quantity and its unit.
        dpi: pixels per inch at which the pictures are prepared. `save_figure` has the same argument.

    Returns:
        A matplotlib figure without a window or pyplot state; see `save_figure`.

    Raises:
        ExcitationError: no rows, or an error of `overlay`.
    """
    check_instances("rows", rows, FigureRow)
    if not rows:
        raise ExcitationError("there are no rows to make a figure of; give at least one picture.")
    for row in rows:
        check_instances("panels", row.panels, Panel)
        if row.picture is not None:
            check_picture(row.picture)
        elif not row.panels:
            raise ExcitationError("a row has neither a picture nor maps; give at least one.")
    if columns is not None:
        check_number("columns", columns, "a whole number from 1 on", least=1, whole=True)
    lines = _lines_of(rows, columns)
    cell = max(map(_cell, rows))
    blocks = [_Block.of(line, cell) for line in lines]
    limit = _largest(rows) if shared_scale else 0.0
    bar = _bar_width(limit, signed, scale_label) if limit > 0 else 0.0
    widest = max(len(line.cells) for line in lines)
    width = widest * cell + (widest + 1) * GAP + bar
    titles = wrapped(title, TITLE, width - bar)
    heading = len(titles) * line_height(TITLE) + GAP if titles else 0.0
    height = heading + sum(block.height for block in blocks) + GAP
    check_pixels(width, height, dpi)
    with matplotlib.style.context("default"):
        drawn = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
        FigureCanvasAgg(drawn)
        write(drawn, titles, (width - bar) / 2, GAP, TITLE, colour="0.35")
        top = heading
        for line, block in zip(lines, blocks, strict=True):
            row = line.row
            shown = _background(row, block, dpi)
            for i, panel in enumerate(line.cells):
                if panel is None:
                    _place(drawn, row, shown, i, top, block, "", row.caption)
                    continue
                empty = _is_empty(panel)
                content = _content(row, panel, shown, signed, alpha, colour_map, limit if limit > 0 else None)
                axes = _place(drawn, row, content, i, top, block, line.title(i), line.caption(i))
                if empty:
                    mark_empty(axes)
                    continue
                if panel.box is not None:
                    outline(axes, panel.box)
                if peaks:
                    ring(axes, find_peak(panel.attention, row.pixels, box=row.box))
            top += block.height
        if limit > 0:
            place = width - bar + BAR[0], heading + blocks[0].title + GAP, BAR[1], blocks[0].picture
            _colour_bar(drawn, limit, signed, colour_map, place, scale_label)
    return drawn


def save_figure(fig: Figure, path: str | os.PathLike[str], *, dpi: float | int = DPI) -> None:
    """Write a figure to a file, atomically and reproducibly: the file contains no dates or names.

    Args:
        fig: a figure from `figure`.
        path: a file name that ends in .png, .pdf or .svg.
        dpi: pixels per inch of a PNG file, and of the pictures within the other formats.

    Raises:
        ExcitationError: another extension.
        OSError: the file cannot be written.
    """
    if not isinstance(fig, Figure):
        raise ExcitationError(f"a {type(fig).__name__} was given; a matplotlib Figure is expected.")
    suffix = figure_ending(path)
    check_number("dpi", dpi, "a number of pixels per inch from 1 on", least=1)
    with matplotlib.style.context(["default", {"svg.hashsalt": "excitation"}]), whole_file(path) as file:
        if suffix == ".png":
            file.write(png_of_figure(fig, dpi))
        else:
            fig.savefig(file, format=suffix[1:], dpi=dpi, metadata=METADATA[suffix])


def png_of_figure(fig: Figure, dpi: float | int) -> bytes:
    """Return a figure as PNG, without transparency and with fast compression."""
    fig.set_dpi(dpi)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()  # type: ignore[no-untyped-call]
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])  # type: ignore[no-untyped-call]
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=COMPRESSION, dpi=(dpi, dpi))
    return file.getvalue()


def figure_ending(path: str | os.PathLike[str]) -> str:
    """The ending of a figure's file name in lower case, `".png"`, `".pdf"` or `".svg"`.

    Raises:
        ExcitationError: another ending, or not a path.
    """
    check_path("the figure's path", path)
    suffix = Path(path).suffix.lower()
    if suffix not in METADATA:
        raise ExcitationError(f"{path}: a figure is saved as .png, .pdf or .svg.")
    return suffix


@dataclass(frozen=True)
class _Line:
    """Cells side by side: maps, and `None` for the picture itself. A row of the figure has one line or several."""

    row: FigureRow
    cells: Sequence[Panel | None]
    titled: bool
    first: bool

    def title(self, i: int) -> str:
        panel = self.cells[i]
        return panel.title if self.titled and panel is not None else ""

    def caption(self, i: int) -> str:
        panel = self.cells[i]
        if panel is None:
            return self.row.caption
        alone = self.first and i == 0 and self.row.caption
        return f"{self.row.caption}\n{panel.caption}" if alone else panel.caption


def _lines_of(rows: Sequence[FigureRow], columns: int | None) -> list[_Line]:
    """Break rows into lines of at most `columns` cells; all lines but the last of a row have the same length."""
    cells = [[*([] if row.picture is None else [None]), *row.panels] for row in rows]
    wide = max(map(len, cells))
    if columns is not None:
        wide = -(-wide // -(-wide // columns))
    lines = []
    for i, (row, items) in enumerate(zip(rows, cells, strict=True)):
        titles = [panel.title for panel in row.panels]
        known = i > 0 and len(items) <= wide and titles == [panel.title for panel in rows[i - 1].panels]
        lines += [_Line(row, items[at : at + wide], not known, at == 0) for at in range(0, len(items), wide)]
    return lines


@dataclass(frozen=True)
class _Block:
    """Sizes of one line in inches: width of a cell, heights of titles, of pictures, and with captions and gaps."""

    cell: float
    title: float
    picture: float
    height: float

    @classmethod
    def of(cls, line: _Line, cell: float) -> _Block:
        tall, wide = line.row.pixels
        places = range(len(line.cells))
        title = max(_lines(line.title(i), TITLE, cell) for i in places) * line_height(TITLE)
        picture = min(PANEL * tall / wide, PANEL * TALLEST)
        caption = max(len(_caption(line.caption(i), cell)) for i in places) * line_height(CAPTION)
        return cls(cell, title, picture, GAP + title + picture + caption + GAP / 2)

    def shown(self, row: FigureRow) -> tuple[float, float]:
        """`(width, height)` of the drawn picture of a row."""
        tall, wide = row.pixels
        width = min(self.cell, self.picture * wide / tall)
        return width, width * tall / wide


def _is_empty(panel: Panel) -> bool:
    return panel.empty or not bool(torch.as_tensor(panel.attention).any())


def _largest(rows: Sequence[FigureRow]) -> float:
    maps = [panel.attention for row in rows for panel in row.panels if not _is_empty(panel)]
    return max((float(torch.as_tensor(item).abs().max()) for item in maps), default=0.0)


def _lines(text: str, points: float, wide: float) -> int:
    return len(wrapped(text, points, wide))


def _caption(text: str, wide: float) -> list[str]:
    """The lines of a caption; parts that are joined by " · " stand below each other if they do not fit side by side."""
    parts = [line.replace(SEPARATOR, "\n") if _lines(line, CAPTION, wide) > 1 else line for line in text.splitlines()]
    return wrapped("\n".join(parts), CAPTION, wide)


def _cell(row: FigureRow) -> float:
    """Width of the cells of a row: that of its pictures, but enough for a caption."""
    tall, wide = row.pixels
    return max(min(PANEL, PANEL * TALLEST * wide / tall), NARROWEST)


def _background(row: FigureRow, block: _Block, dpi: float | int) -> Image.Image:
    """The picture in the size in which it is drawn; light grey if it is not known."""
    inches = block.shown(row)
    if row.picture is not None:
        return fitted(row.picture, inches, dpi)
    return fitted(Image.new("RGB", (1, 1), (225, 225, 225)), inches, dpi)


def _content(
    row: FigureRow,
    panel: Panel,
    shown: Image.Image,
    signed: bool,
    alpha: float,
    colour_map: str | None,
    limit: float | None,
) -> Image.Image:
    """The map of a panel over the picture, or alone if the picture is not known."""
    empty = _is_empty(panel)
    if empty and row.picture is None:
        return shown
    attention = torch.zeros(1, 1) if empty else panel.attention
    height, width = row.pixels
    box = scaled_box(row.box, (width, height), shown.size)
    if row.picture is None:
        size = shown.height, shown.width
        return coloured(size, attention, signed=signed, colour_map=colour_map, limit=limit, box=box)
    return overlay(shown, attention, signed=signed, alpha=alpha, colour_map=colour_map, limit=limit, box=box)


def _place(
    drawn: Figure,
    row: FigureRow,
    content: Image.Image,
    column: int,
    top: float,
    block: _Block,
    title: str,
    caption: str,
) -> Axes:
    """Draw one cell: axes in pixels of the original picture, with title and caption."""
    middle = GAP + column * (block.cell + GAP) + block.cell / 2
    upper = top + GAP + block.title
    wide, tall = block.shown(row)
    place = middle - wide / 2, upper + (block.picture - tall) / 2, wide, tall
    height, width = row.pixels
    axes = put_picture(drawn, content, place, (width, height))
    titles = wrapped(title, TITLE, block.cell)
    write(drawn, titles, middle, upper - len(titles) * line_height(TITLE) - GAP / 2, TITLE)
    write(drawn, _caption(caption, block.cell), middle, upper + block.picture + GAP / 4, CAPTION)
    return axes


def _ticks(limit: float, signed: bool) -> dict[float, str]:
    """Positions and labels of the colour bar."""
    ticks = sorted({-limit if signed else 0.0, 0.0, limit})
    return {value: f"{value:.2g}".replace("-", "−") for value in ticks}


def _bar_width(limit: float, signed: bool, label: str) -> float:
    """Width of the colour bar with its labels, in inches."""
    ticks = max(map(len, _ticks(limit, signed).values())) * 0.62 * CAPTION / 72
    return BAR[0] + BAR[1] + (GAP if label else 2 * GAP) + ticks + (line_height(CAPTION) if label else 0.0)


def _colour_bar(
    drawn: Figure,
    limit: float,
    signed: bool,
    colour_map: str | None,
    place: tuple[float, float, float, float],
    label: str,
) -> None:
    """Draw the colour bar; `place` is left, top, width and height in inches."""
    width, height = drawn.get_size_inches()
    left, upper, wide, tall = place
    colours = find_colour_map(colour_map, signed)
    if not signed and colour_map is None:
        colours = ListedColormap(colours(np.linspace(DARKEST, 1, 256)))
    axes = drawn.add_axes((left / width, 1 - (upper + tall) / height, wide / width, tall / height))
    ticks = _ticks(limit, signed)
    low = -limit if signed else 0.0
    bar = drawn.colorbar(ScalarMappable(Normalize(low, limit), colours), cax=axes, ticks=list(ticks))
    bar.ax.set_yticklabels(list(ticks.values()))
    bar.ax.tick_params(labelsize=CAPTION, length=2, pad=2)
    bar.outline.set_visible(False)
    if label:
        x = (_bar_width(limit, signed, label) - BAR[0] - GAP / 2) / wide
        axes.text(x, 0.5, label, rotation=90, transform=axes.transAxes, ha="right", va="center", fontsize=CAPTION,
                  family="DejaVu Sans", parse_math=False)  # fmt: skip
