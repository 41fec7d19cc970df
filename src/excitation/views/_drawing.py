"""What all figures are drawn with: pictures of a fitting size, wrapped lines of text, rings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from .._maps import Box

# Sizes are inches, text is in points.
GAP = 0.09
LEADING = 1.3
DPI = 200
PIXELS = 480, 1000  # longest side of a picture in a figure: made larger below the first, smaller above the second


def line_height(points: float) -> float:
    """From one line of text to the next, in inches."""
    return points * LEADING / 72


def wrapped(text: str, points: float, wide: float) -> list[str]:
    """Text in lines of at most `wide` inches, at most two for each of its own lines."""
    # DejaVu Sans, which comes with matplotlib, is about 0.62 em wide in running text.
    letters = int(wide * 72 / (0.62 * points))
    lines = []
    for part in text.splitlines():
        words = " ".join(_shortened(word, letters) for word in part.split())
        lines += textwrap.wrap(words, letters, max_lines=2, placeholder=" …", break_on_hyphens=False)
    return lines


def _shortened(word: str, letters: int) -> str:
    # The middle goes, since long words here are file names, which differ at their ends.
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
    """Lines below a height, on baselines of their own, so that texts side by side stand level."""
    width, height = drawn.get_size_inches()
    for i, line in enumerate(lines):
        y = top + (i + 1) * line_height(points) - 0.3 * points / 72
        drawn.text(
            x / width, 1 - y / height, line, ha=align, va="baseline", fontsize=points, color=colour,
            family="DejaVu Sans", parse_math=False,
        )  # fmt: skip


def fitted(picture: Image.Image) -> Image.Image:
    """A picture neither too coarse to draw on nor larger than a figure shows."""
    longest = max(picture.size)
    if longest < PIXELS[0]:
        return picture.resize([side * -(-PIXELS[0] // longest) for side in picture.size], Image.Resampling.BICUBIC)
    share = min(1.0, PIXELS[1] / longest)
    return picture.resize([max(1, round(side * share)) for side in picture.size], Image.Resampling.LANCZOS)


def scaled_box(box: Box | None, picture: Image.Image, shown: Image.Image) -> Box | None:
    """A box of a picture in the pixels of the same picture at another size."""
    if box is None:
        return None
    x, y = shown.width / picture.width, shown.height / picture.height
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def put_picture(
    drawn: Figure, content: Image.Image, place: tuple[float, float, float, float], size: tuple[int, int]
) -> Axes:
    """A picture in a figure.

    Args:
        drawn: the figure.
        content: what is shown.
        place: left, top, width and height in inches, from the figure's upper left corner.
        size: `(width, height)` that the axes count, in pixels.

    Returns:
        Its axes, without ticks.
    """
    width, height = drawn.get_size_inches()
    left, top, wide, tall = place
    axes = drawn.add_axes((left / width, 1 - (top + tall) / height, wide / width, tall / height))
    axes.imshow(np.asarray(content), extent=(0, size[0], size[1], 0), aspect="auto")
    axes.set_axis_off()
    return axes


def mark_empty(axes: Axes) -> None:
    """The word "empty" in the middle of a picture whose map has no mass."""
    axes.text(0.5, 0.5, "empty", transform=axes.transAxes, ha="center", va="center", fontsize=13, color="black",
              bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 3})  # fmt: skip


def ring(axes: Axes, peak: tuple[int, int] | None, points: float = 9.0) -> None:
    """A ring around a pixel, `points` wide, that shows on dark and on light; none where there is no peak."""
    if peak is None:
        return
    x, y = peak[0] + 0.5, peak[1] + 0.5
    for colour, line in (("black", 2.8 * points / 9), ("white", 1.4 * points / 9)):
        axes.plot([x], [y], "o", markersize=points, markerfacecolor="none", markeredgecolor=colour,
                  markeredgewidth=line, scalex=False, scaley=False, clip_on=False)  # fmt: skip
