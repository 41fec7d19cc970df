"""Figures: one row per picture, with the picture followed by one overlay per target."""

from __future__ import annotations

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

from .._checks import check_instances, check_number, check_path
from .._errors import ExcitationError
from .._files import whole_file
from .._maps import AttentionMap, Box, find_peak
from ._drawing import DPI, GAP, fitted, line_height, mark_empty, put_picture, ring, scaled_box, wrapped, write
from ._overlay import DARKEST, check_picture, find_colour_map, overlay

# Units are inches and points. The text is large relative to the panels, for small screens.
PANEL = 2.4
TALLEST = 1.25  # maximum height relative to the panel width; taller pictures are drawn narrower
TITLE, CAPTION = 13.0, 10.5
METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
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
    """

    attention: AttentionMap
    title: str
    caption: str = ""
    empty: bool = False


@dataclass(frozen=True)
class FigureRow:
    """One picture and its maps.

    Attributes:
        picture: mode `"RGB"`.
        panels: one per target.
        caption: text below the picture, usually its name.
        box: the crop that the maps cover, `(x0, y0, x1, y1)` in pixels of the picture; the full picture if not given.
    """

    picture: Image.Image
    panels: Sequence[Panel]
    caption: str = ""
    box: Box | None = None


def figure(
    rows: Sequence[FigureRow],
    *,
    title: str = "",
    signed: bool = False,
    shared_scale: bool = False,
    mark_peaks: bool = False,
    alpha: float = 0.85,
    colour_map: str | None = None,
) -> Figure:
    """Arrange pictures and maps in rows and columns.

    Titles are shown above the first row, and above each row with other titles than the row before.

    Args:
        rows: one per picture.
        title: title of the figure.
        signed: whether to show negative values, with a diverging colour map.
        shared_scale: whether to use one colour scale with a colour bar for all maps. Otherwise each map has its own,
            from zero to its maximum.
        mark_peaks: whether to mark the maximum of each map with a ring.
        alpha: opacity of the strongest colours, in [0, 1].
        colour_map: a matplotlib name; see `overlay`.

    Returns:
        A matplotlib figure without a window or pyplot state; see `save_figure`.

    Raises:
        ExcitationError: no rows, or an error of `overlay`.
    """
    check_instances("rows", rows, FigureRow)
    if not rows:
        raise ExcitationError("there are no rows to make a figure of; give at least one picture.")
    for row in rows:
        check_picture(row.picture)
        check_instances("panels", row.panels, Panel)
    columns = 1 + max(len(row.panels) for row in rows)
    limit = _largest(rows) if shared_scale else None
    bar = 0.75 if shared_scale else 0.0
    width = columns * PANEL + (columns + 1) * GAP + bar
    heads = [_titles(rows, i) for i in range(len(rows))]
    blocks = [_Block.of(row, head) for row, head in zip(rows, heads, strict=True)]
    heading = line_height(TITLE) + GAP if title else 0.0
    height = heading + sum(block.height for block in blocks) + GAP
    with matplotlib.style.context("default"):
        drawn = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(drawn)
        if title:
            write(drawn, [title], (width - bar) / 2, GAP, TITLE, colour="0.35")
        top = heading
        for row, head, block in zip(rows, heads, blocks, strict=True):
            shown = fitted(row.picture)
            _place(drawn, row, shown, shown, 0, top, block, "", row.caption)
            for i, panel in enumerate(row.panels):
                empty = panel.empty or not bool(torch.as_tensor(panel.attention).any())
                laid = overlay(
                    shown,
                    torch.zeros(1, 1) if empty else panel.attention,
                    signed=signed,
                    alpha=alpha,
                    colour_map=colour_map,
                    limit=limit,
                    box=scaled_box(row.box, row.picture, shown),
                )
                axes = _place(drawn, row, shown, laid, i + 1, top, block, head[i] if head else "", panel.caption)
                if empty:
                    mark_empty(axes)
                elif mark_peaks:
                    ring(axes, find_peak(panel.attention, (row.picture.height, row.picture.width), box=row.box))
            top += block.height
        if limit is not None:
            _colour_bar(drawn, limit, signed, colour_map, heading + blocks[0].title + GAP, blocks[0].picture)
    return drawn


def save_figure(fig: Figure, path: str | os.PathLike[str], *, dpi: float = DPI) -> None:
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
    check_path("the figure's path", path)
    check_number("dpi", dpi, "a number of pixels per inch from 1 on", least=1)
    suffix = Path(path).suffix.lower()
    if suffix not in METADATA:
        raise ExcitationError(f"{path}: a figure is saved as .png, .pdf or .svg.")
    with matplotlib.style.context(["default", {"svg.hashsalt": "excitation"}]), whole_file(path) as file:
        fig.savefig(file, format=suffix[1:], dpi=dpi, metadata=METADATA[suffix])


@dataclass(frozen=True)
class _Block:
    """Heights of one row in inches: titles, pictures, and the total with captions and gaps."""

    title: float
    picture: float
    height: float

    @classmethod
    def of(cls, row: FigureRow, head: list[str] | None) -> _Block:
        title = max((_lines(text, TITLE) for text in head or []), default=0) * line_height(TITLE)
        picture = min(PANEL * row.picture.height / row.picture.width, PANEL * TALLEST)
        captions = [row.caption, *(panel.caption for panel in row.panels)]
        caption = max(_lines(text, CAPTION) for text in captions) * line_height(CAPTION)
        return cls(title, picture, GAP + title + picture + caption + GAP / 2)


def _titles(rows: Sequence[FigureRow], i: int) -> list[str] | None:
    titles = [panel.title for panel in rows[i].panels]
    before = [panel.title for panel in rows[i - 1].panels] if i else None
    return None if titles == before else titles


def _largest(rows: Sequence[FigureRow]) -> float:
    maps = [panel.attention for row in rows for panel in row.panels]
    return max((float(torch.as_tensor(item).abs().max()) for item in maps), default=0.0)


def _lines(text: str, points: float) -> int:
    return len(wrapped(text, points, PANEL))


def _place(
    drawn: Figure,
    row: FigureRow,
    shown: Image.Image,
    content: Image.Image,
    column: int,
    top: float,
    block: _Block,
    title: str,
    caption: str,
) -> Axes:
    """Draw one cell: axes in pixels of the original picture, with title and caption."""
    middle = GAP + column * (PANEL + GAP) + PANEL / 2
    upper = top + GAP + block.title
    wide = min(PANEL, block.picture * shown.width / shown.height)
    tall = wide * shown.height / shown.width
    place = middle - wide / 2, upper + (block.picture - tall) / 2, wide, tall
    axes = put_picture(drawn, content, place, row.picture.size)
    titles = wrapped(title, TITLE, PANEL)
    write(drawn, titles, middle, upper - len(titles) * line_height(TITLE) - GAP / 2, TITLE)
    write(drawn, wrapped(caption, CAPTION, PANEL), middle, upper + block.picture + GAP / 4, CAPTION)
    return axes


def _colour_bar(drawn: Figure, limit: float, signed: bool, colour_map: str | None, upper: float, tall: float) -> None:
    width, height = drawn.get_size_inches()
    colours = find_colour_map(colour_map, signed)
    if not signed and colour_map is None:
        colours = ListedColormap(colours(np.linspace(DARKEST, 1, 256)))
    axes = drawn.add_axes(((width - 0.72) / width, 1 - (upper + tall) / height, 0.13 / width, tall / height))
    low = -limit if signed else 0.0
    ticks = sorted({low, 0.0, limit})
    bar = drawn.colorbar(ScalarMappable(Normalize(low, limit), colours), cax=axes, ticks=ticks)
    bar.ax.set_yticklabels([f"{value:.2g}".replace("-", "−") for value in ticks])
    bar.ax.tick_params(labelsize=CAPTION, length=2, pad=2)
    bar.outline.set_visible(False)
