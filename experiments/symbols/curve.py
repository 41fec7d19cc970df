"""The curve of a training run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from excitation._files import whole_file


def draw_curve(history: dict[str, list], place: Path) -> None:
    """Draw the loss and the precision on unseen scenes of two formats against training steps.

    Args:
        history: `loss` of each step; `precision` as pairs of step and value.
        place: of the PNG.
    """
    figure = Figure(figsize=(6, 3), layout="constrained")
    left = figure.subplots()
    loss = np.array(history["loss"])
    width = min(50, len(loss))
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    left.plot(np.arange(width, len(loss) + 1), smooth, color="#c44e52", label="training loss")
    left.set_yscale("log")
    for ticks in (left.yaxis.set_major_formatter, left.yaxis.set_minor_formatter):
        ticks(StrMethodFormatter("{x:g}"))
    left.set_xlabel("training step")
    left.set_ylabel("multi-label cross-entropy", color="#c44e52")
    right = left.twinx()
    steps, values = zip(*history["precision"], strict=True)
    right.plot(steps, values, ".-", color="#4c72b0")
    right.set_ylim(0, 1)
    right.axhline(0.95, color="#4c72b0", linewidth=0.5, linestyle=":")
    right.set_ylabel("mean average precision over 5 %,\nin two of five picture formats", color="#4c72b0")
    with whole_file(place) as file:
        figure.savefig(file, format="png", dpi=150)
