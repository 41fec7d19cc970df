"""Line charts for papers: panels in a grid, one line per method, with a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.style
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .._checks import check_instances, check_number
from .._errors import ExcitationError

# Units are inches and points.
WIDE, TALL = 3.5, 2.7
LEGEND, LEFT, FOOT, HEAD, BETWEEN = 2.1, 0.62, 0.3, 0.34, 0.16
TEXT, SMALL = 10.0, 8.5
LETTER = 0.075  # height per letter of the slanted labels below the bottom panels
DPI = 200

COLOURS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#8c564b", "#5b3fa8")
"""Colours of the lines in order; the first eight are distinguishable with colour blindness (Okabe and Ito)."""

MARKERS = "os^DvPX<>*"


@dataclass(frozen=True)
class Line:
    """A line with a band of confidence intervals.

    Attributes:
        name: name in the legend.
        values: one value per tick; NaN for missing values.
        low: lower ends of the intervals, or `None` for no band.
        high: upper ends of the intervals.
        style: index of the colour and marker; the index of the line in the panel if not given.
        dashed: whether the line is based on fewer data than the others.
    """

    name: str
    values: Float[np.ndarray, " tick"]
    low: Float[np.ndarray, " tick"] | None = None
    high: Float[np.ndarray, " tick"] | None = None
    style: int | None = None
    dashed: bool = False


@dataclass(frozen=True)
class LinePanel:
    """Lines with common axes."""

    title: str
    lines: Sequence[Line]


def line_chart(
    panels: Sequence[LinePanel],
    ticks: Sequence[str],
    *,
    ylabel: str,
    xlabel: str = "",
    limits: tuple[float, float] = (-0.1, 1.05),
    columns: int = 2,
) -> Figure:
    """Draw panels in rows, all with the same axes.

    Args:
        panels: at least one panel.
        ticks: labels of the horizontal axis, one per value of each line.
        ylabel: label of the vertical axis.
        xlabel: label of the horizontal axis.
        limits: limits of the vertical axis.
        columns: number of panels in a row.

    Returns:
        A matplotlib figure without a window; see `save_figure`.

    Raises:
        ExcitationError: no panels, more lines in a panel than distinguishable styles, or a line with a wrong length.
    """
    check_instances("panels", panels, LinePanel)
    check_number("columns", columns, "a whole number from 1 on", least=1, whole=True)
    if not panels:
        raise ExcitationError("there are no panels to draw; give at least one.")
    for panel in panels:
        if len(panel.lines) > len(COLOURS):
            raise ExcitationError(
                f"panel {panel.title!r} has {len(panel.lines)} lines; {len(COLOURS)} can be told apart."
            )
        for line in panel.lines:
            if len(line.values) != len(ticks):
                raise ExcitationError(f"line {line.name!r} has {len(line.values)} values for {len(ticks)} ticks.")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    foot = FOOT + LETTER * max(map(len, ticks))
    width = LEFT + columns * (WIDE + LEGEND)
    height = rows * (HEAD + TALL) + (rows - 1) * BETWEEN + foot
    with matplotlib.style.context("default"):
        drawn = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(drawn)
        for i, panel in enumerate(panels):
            row, column = divmod(i, columns)
            left = LEFT + column * (WIDE + LEGEND)
            top = row * (HEAD + TALL + BETWEEN) + HEAD
            axes = drawn.add_axes((left / width, 1 - (top + TALL) / height, WIDE / width, TALL / height))
            _draw(axes, panel, len(ticks), limits)
            lowest = i + columns >= len(panels)
            axes.set_xticks(range(len(ticks)), ticks if lowest else [""] * len(ticks))
            axes.tick_params(axis="x", labelsize=SMALL, rotation=60, length=2)
            for label in axes.get_xticklabels():
                label.set_horizontalalignment("right")
                label.set_rotation_mode("anchor")
            if column == 0:
                axes.set_ylabel(ylabel, fontsize=TEXT)
            if lowest and xlabel:
                axes.set_xlabel(xlabel, fontsize=TEXT)
    return drawn


def _draw(axes: Axes, panel: LinePanel, ticks: int, limits: tuple[float, float]) -> None:
    x = np.arange(ticks)
    for place, line in enumerate(panel.lines):
        style = (place if line.style is None else line.style) % len(COLOURS)
        colour = COLOURS[style]
        known = np.isfinite(line.values)
        axes.plot(x[known], line.values[known], color=colour, marker=MARKERS[style], markersize=3.6, linewidth=1.4,
                  linestyle="--" if line.dashed else "-", label=line.name)  # fmt: skip
        if line.low is not None and line.high is not None:
            axes.fill_between(x[known], line.low[known], line.high[known], color=colour, alpha=0.12, linewidth=0)
    axes.set_title(panel.title, fontsize=TEXT, loc="left", pad=4)
    axes.set_xlim(-0.3, ticks - 0.7)
    axes.set_ylim(*limits)
    axes.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", labelsize=SMALL, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=SMALL, frameon=False, handlelength=1.6)
