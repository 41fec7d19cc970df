"""Common drawing functions of all figures: resized pictures, wrapped text, rings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from .._errors import ExcitationError
from .._maps import Box

# Sizes are in inches, text sizes in points.
GAP = 0.09
LEADING = 1.3
DPI = 200.0
FINEST = 400  # pixels per inch of the pictures in a figure
LONGEST = 60_000  # pixels of a side of a figure; matplotlib draws up to 65536


def line_height(points: float) -> float:
    """The distance between two lines of text, in inches."""
    return points * LEADING / 72


def wrapped(text: str, points: float, wide: float) -> list[str]:
    """Wrap text to lines of at most `wide` inches; each line of the text becomes at most two lines."""
    # The mean character width of DejaVu Sans, which is part of matplotlib, is about 0.62 em.
    letters = int(wide * 72 / (0.62 * points))
    lines = []
    for part in text.splitlines():
        words = " ".join(_shortened(word, letters) for word in part.split())
        lines += textwrap.wrap(words, letters, max_lines=2, placeholder=" …", break_on_hyphens=False)
    return lines


def _shortened(word: str, letters: int) -> str:
    # Remove the middle: long words are usually file names, which differ at their ends.
    keep = letters - 1
    return word if len(word) <= letters else f"{word[: keep // 2]}…{word[-(keep - keep // 2) :]}"


def write(
    drawn: Figure,
    lines: Sequence[str],
    x: float,
    top: float,
    points: float,
    *,
    colour: str = "black",
    align: Literal["center", "right"] = "center",
) -> None:
    """Write lines below a given height, each on its own baseline, so that adjacent texts are aligned."""
    width, height = drawn.get_size_inches()
    for i, line in enumerate(lines):
        y = top + (i + 1) * line_height(points) - 0.3 * points / 72
        drawn.text(
            x / width, 1 - y / height, line, ha=align, va="baseline", fontsize=points, color=colour,
            family="DejaVu Sans", parse_math=False,
        )  # fmt: skip


def fitted(picture: Image.Image, inches: tuple[float, float], dpi: float | int) -> Image.Image:
    """Resize a picture to the pixels on which a figure draws it, so that a figure contains no pixels that nobody sees.

    Args:
        picture: the picture.
        inches: `(width, height)` in the figure.
        dpi: pixels per inch of the figure.
    """
    fine = min(dpi, FINEST)
    size = max(1, round(inches[0] * fine)), max(1, round(inches[1] * fine))
    if size == picture.size:
        return picture
    return picture.resize(size, Image.Resampling.LANCZOS if size < picture.size else Image.Resampling.BICUBIC)


def check_pixels(width: float, height: float, dpi: float | int) -> None:
    """Raise an error if a figure has more pixels than matplotlib draws; sizes in inches.

    Raises:
        ExcitationError: the figure is too large.
    """
    if max(width, height) * dpi > LONGEST:
        raise ExcitationError(
            f"the figure would have {round(width * dpi)} x {round(height * dpi)} pixels, and {LONGEST} is the most;"
            f" draw"
            " fewer maps at a time, or use a smaller dpi."
        )


def scaled_box(box: Box | None, size: tuple[int, int], shown: tuple[int, int]) -> Box | None:
    """Convert a box from pixels of a picture to pixels of its resized version; sizes are `(width, height)`."""
    if box is None:
        return None
    x, y = shown[0] / size[0], shown[1] / size[1]
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def put_picture(
    drawn: Figure, content: Image.Image, place: tuple[float, float, float, float], size: tuple[int, int]
) -> Axes:
    """Draw a picture in a figure.

    Args:
        drawn: the figure.
        content: the picture to show.
        place: left, top, width and height in inches, from the upper left corner of the figure.
        size: `(width, height)` of the axes in pixels.

    Returns:
        The axes, without ticks.
    """
    width, height = drawn.get_size_inches()
    left, top, wide, tall = place
    axes = drawn.add_axes((left / width, 1 - (top + tall) / height, wide / width, tall / height))
    axes.imshow(np.asarray(content), extent=(0, size[0], size[1], 0), aspect="auto")
    axes.set_axis_off()
    return axes


def mark_empty(axes: Axes, points: float = 13.0) -> None:
    """Write "empty" in the centre of a picture whose map has no mass."""
    axes.text(0.5, 0.5, "empty", transform=axes.transAxes, ha="center", va="center", fontsize=points, color="black",
              bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 3})  # fmt: skip


def outline(axes: Axes, box: Box, points: float = 1.6) -> None:
    """Draw a box in pixels of the picture, visible on dark and light, with lines of this width."""
    x0, y0, x1, y1 = box
    for colour, line in (("black", 2 * points), ("white", points)):
        axes.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=line, clip_on=False)
        )


def ring(axes: Axes, peak: tuple[int, int] | None, points: float = 9.0) -> None:
    """Draw a ring of width `points` around a pixel, visible on dark and light; nothing if there is no peak."""
    if peak is None:
        return
    x, y = peak[0] + 0.5, peak[1] + 0.5
    for colour, line in (("black", 2.8 * points / 9), ("white", 1.4 * points / 9)):
        axes.plot([x], [y], "o", markersize=points, markerfacecolor="none", markeredgecolor=colour,
                  markeredgewidth=line, scalex=False, scaley=False, clip_on=False)  # fmt: skip
