"""A caption below its picture, with each explained phrase in the colour of its map (Fig. 1 and 7)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from PIL import Image

from .._checks import check_instances, check_names, check_number
from .._errors import ExcitationError
from .._maps import AttentionMap, Box, is_empty
from ._drawing import DPI, FINEST, GAP, fitted, line_height, mark_empty, put_picture, scaled_box, wrapped, write
from ._overlay import check_picture, overlay

PHRASE_COLOURS = ("#c42762", "#3b89eb", "#00624e", "#898900", "#890076", "#0000eb", "#4e3b00", "#b1769d")
"""Colours of phrases in order. Each has a contrast of at least 3.5 with white. Any two differ by at least 14 in
CIEDE2000, also as people with protanopia, deuteranopia or tritanopia see them."""

# Units are inches and points.
PANEL = 2.3
TALLEST = 1.25  # maximum height relative to the panel width
TITLE, NOTE, TEXT = 11.5, 9.0, 13.5
LEADING = 1.1  # of the caption, in addition to the line height
HINTED = 1.03  # text in PNG files is up to 3 % wider than its outlines, at 100 pixels per inch and more
UNEXPLAINED = "0.25"
CLOSING = re.compile(r"[.,;:!?)\]\"'”’]+")


@dataclass(frozen=True)
class CaptionPanel:
    """The map of one phrase.

    Attributes:
        attention: the map, of any size; non-negative.
        span: index of the phrase's first word and index after its last word, in the caption.
        words: indices of the caption's words that have the colour of the map, within the span.
        note: text below the map.
        region: a box to draw, `(x0, y0, x1, y1)` in pixels of the picture; `None` for no box.
    """

    attention: AttentionMap
    span: tuple[int, int]
    words: tuple[int, ...]
    note: str = ""
    region: Box | None = None


def caption_figure(
    picture: Image.Image,
    words: Sequence[str],
    panels: Sequence[CaptionPanel],
    *,
    box: Box | None = None,
    columns: int = 3,
) -> Figure:
    """Draw a picture, the map of each phrase in a colour of its own, and the caption with the words in these colours.

    Each map has its own scale. The title of a panel is its phrase, so that the colours are not the only connection. If
    there are more phrases than colours, colours are used again, and phrases are numbered.

    Args:
        picture: mode `"RGB"`.
        words: the words of the caption, with their punctuation.
        panels: the map of each phrase, at least one.
        box: the crop that the maps cover, `(x0, y0, x1, y1)` in pixels of the picture; the full picture if not given.
        columns: the largest number of pictures side by side, at least 1.

    Returns:
        A matplotlib figure without a window; see `save_figure`.

    Raises:
        ExcitationError: no words or panels, a span or word outside the caption, or an error of `overlay`.

    Source: Zhang et al., ECCV 2016, Fig. 1 and 7.
    """
    check_picture(picture)
    words = check_names("words", words)
    check_instances("panels", panels, CaptionPanel)
    check_number("columns", columns, "a whole number from 1 on", least=1, whole=True)
    _check(words, panels)
    tall = min(PANEL * picture.height / picture.width, PANEL * TALLEST)
    shown = fitted(picture, (tall * picture.width / picture.height, tall), FINEST)
    shown_box = scaled_box(box, picture.size, shown.size)
    cells: list[CaptionPanel | None] = [None, *panels]
    lines = -(-len(cells) // min(columns, len(cells)))
    wide = -(-len(cells) // lines)
    width = wide * PANEL + (wide + 1) * GAP
    titles = [wrapped(_title(words, panels, i), TITLE, PANEL) for i in range(len(panels))]
    rows = [range(at, min(at + wide, len(cells))) for at in range(0, len(cells), wide)]
    heads = [max([len(titles[i - 1]) for i in row if i] or [0]) * line_height(TITLE) for row in rows]
    note = line_height(NOTE) if any(panel.note for panel in panels) else 0.0
    text = _flow(words, panels, width - 2 * GAP)
    caption = len(text) * line_height(TEXT) * LEADING
    height = sum(heads) + len(rows) * (tall + note + 2 * GAP) + caption + 2 * GAP
    with matplotlib.style.context("default"):
        drawn = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(drawn)
        top = GAP
        for row, head in zip(rows, heads, strict=True):
            for column, i in enumerate(row):
                panel = cells[i]
                middle = GAP + column * (PANEL + GAP) + PANEL / 2
                across = min(PANEL, tall * picture.width / picture.height)
                place = middle - across / 2, top + head + GAP / 2, across, across * picture.height / picture.width
                if panel is None:
                    put_picture(drawn, shown, place, picture.size)
                    continue
                colour = _colour(i - 1)
                laid = overlay(shown, panel.attention, colour_map=_tints(colour), box=shown_box)
                axes = put_picture(drawn, laid, place, picture.size)
                if is_empty(panel.attention):
                    mark_empty(axes)
                if panel.region is not None:
                    _outline(axes, panel.region, colour)
                lines_of_title = titles[i - 1]
                above = top + head - len(lines_of_title) * line_height(TITLE)
                write(drawn, lines_of_title, middle, above, TITLE, colour=colour)
                write(drawn, [panel.note], middle, top + head + GAP / 2 + tall, NOTE, colour="0.4")
            top += head + tall + note + 2 * GAP
        _write_caption(drawn, text, top + GAP / 2)
    return drawn


@dataclass(frozen=True)
class _Word:
    """One piece of the caption, with the space before it and its own width in inches."""

    text: str
    colour: str
    explained: bool
    gap: float
    width: float


def _check(words: Sequence[str], panels: Sequence[CaptionPanel]) -> None:
    if not words or not panels:
        raise ExcitationError(f"there are {len(words)} words and {len(panels)} maps; give at least one of each.")
    for i, panel in enumerate(panels):
        first, end = panel.span
        if not 0 <= first < end <= len(words) or not all(first <= place < end for place in panel.words):
            raise ExcitationError(
                f"panel {i} has span {panel.span} and words {panel.words}; a span in the caption of {len(words)} words,"
                " and words within the span, are expected."
            )


def _colour(i: int) -> str:
    return PHRASE_COLOURS[i % len(PHRASE_COLOURS)]


def _tints(colour: str) -> LinearSegmentedColormap:
    """From a light tint to the full colour."""
    full = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return LinearSegmentedColormap.from_list(colour, np.array([[0.75 + 0.25 * part for part in full], full]))


def _title(words: Sequence[str], panels: Sequence[CaptionPanel], i: int) -> str:
    text = " ".join(words[slice(*panels[i].span)]).strip('.,;:!?"()[] ')
    return f"{i + 1}. {text}" if len(panels) > len(PHRASE_COLOURS) else text


def _flow(words: Sequence[str], panels: Sequence[CaptionPanel], wide: float) -> list[list[_Word]]:
    """Break the caption into lines of at most `wide` inches. Punctuation stays with the word before it."""
    owner = {place: i for i, panel in enumerate(panels) for place in panel.words}
    last = {max(panel.words): i for i, panel in enumerate(panels) if panel.words}
    lines: list[list[_Word]] = [[]]
    used = 0.0
    for place, word in enumerate(words):
        own = owner.get(place)
        numbered = len(panels) > len(PHRASE_COLOURS) and place in last
        text = f"{word} ({last[place] + 1})" if numbered else word
        gap = _space() if lines[-1] and not CLOSING.fullmatch(word) else 0.0
        item = _Word(text, UNEXPLAINED if own is None else _colour(own), own is not None, gap,
                     _width(text, own is not None))  # fmt: skip
        if lines[-1] and gap and used + gap + item.width > wide:
            lines.append([])
            item, used = replace(item, gap=0.0), 0.0
        lines[-1].append(item)
        used += item.gap + item.width
    return lines


def _font(bold: bool) -> FontProperties:
    return FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=TEXT)


def _width(text: str, bold: bool) -> float:
    width, _, _ = text_to_path.get_text_width_height_descent(text, _font(bold), False)
    return float(width) / 72 * HINTED


def _space() -> float:
    return 0.3 * TEXT / 72


def _write_caption(drawn: Figure, lines: Sequence[Sequence[_Word]], top: float) -> None:
    width, height = drawn.get_size_inches()
    for i, line in enumerate(lines):
        x = (width - sum(item.gap + item.width for item in line)) / 2
        y = top + (i + 1) * line_height(TEXT) * LEADING - 0.3 * TEXT / 72
        for item in line:
            x += item.gap
            drawn.text(x / width, 1 - y / height, item.text, ha="left", va="baseline", color=item.colour,
                       fontproperties=_font(item.explained), parse_math=False)  # fmt: skip
            x += item.width


def _outline(axes: Axes, region: Box, colour: str) -> None:
    """A box, visible on dark and light."""
    x0, y0, x1, y1 = region
    for edge, line in (("white", 3.0), (colour, 1.5)):
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=edge, linewidth=line))
