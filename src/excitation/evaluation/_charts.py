"""The style of figures of results, with colours for colour-blind readers."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Okabe and Ito's colours, which colour-blind readers can distinguish."""

MARKERS = "os^Dv<>P"

STYLE = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.linewidth": 0.4,
    "grid.color": "#dddddd", "axes.axisbelow": True, "legend.frameon": False,
}  # fmt: skip


def one_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def colour(index: int) -> str:
    """Return the colour of a line or bar by its index, counted from 0."""
    return COLOURS[index % len(COLOURS)]
