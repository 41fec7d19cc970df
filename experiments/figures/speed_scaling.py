"""How the time of a map grows, drawn from the committed figures: `python -m experiments.figures.speed_scaling`."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import typer
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from experiments.figures.places import FIGURES
from experiments.speed.page import FIGURES as MEASURED
from experiments.speed.table import Part, parts_of_kind

STYLES = {
    "VGG16": ("#b2182b", "o"),
    "GoogLeNet": ("#2166ac", "s"),
    "SqueezeNet 1.0": ("#e08214", "^"),
    "ResNet-50": ("#1b7837", "D"),
    "MobileNetV2": ("#762a83", "v"),
}
"""Colour and mark of each network, in all panels; they can be told apart in grey, too."""

TITLES = {"classes": "classes", "batch": "images", "size": "pixels", "threads": "threads"}


def main(
    measured: Annotated[Path, typer.Option(help="What `make bench` found.")] = MEASURED,
    out: Annotated[Path, typer.Option(help="The picture.")] = FIGURES / "speed_scaling.png",
) -> None:
    """Draw time against classes, images, pixels and threads."""
    runs = list(json.loads(measured.read_text())["runs"].values())
    draw = {"classes": _classes, "batch": _batch, "size": _size, "threads": _threads}
    found = {kind: parts for kind in draw if (parts := _parts(runs, kind))}
    if not found:
        raise SystemExit(f"{measured} has nothing on scaling; `make bench` measures it.")
    rows = math.ceil(len(found) / 2)
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        picture, grid = plt.subplots(rows, 2, figsize=(6.8, 0.3 + 2.45 * rows), layout="constrained", squeeze=False)
        for axes in grid.flat[len(found) :]:
            axes.set_axis_off()
        for letter, (kind, parts), axes in zip("abcd", found.items(), grid.flat, strict=False):
            draw[kind](axes, parts)
            axes.set_title(f"({letter}) {TITLES[kind]}", loc="left", fontsize=9)
        shown = [name for name in STYLES if any(name in parts for parts in found.values())]
        lines = [Line2D([], [], color=STYLES[n][0], marker=STYLES[n][1], markersize=4, label=n) for n in shown]
        picture.legend(handles=lines, loc="outside upper center", ncols=len(lines), frameon=False)
        picture.savefig(out, dpi=200)
        plt.close(picture)


def _parts(runs: list[dict[str, Any]], kind: str) -> dict[str, Part]:
    """What was measured of a kind, by the first run that did, in the order of the legend."""
    found = next((parts for run in runs if (parts := parts_of_kind(run, kind))), {})
    return {name: found[name] for name in STYLES if name in found}


def _points(part: Part, pattern: str) -> tuple[list[int], list[list[float]]]:
    found = [(int(match[1]), row) for name, row in part["rows"].items() if (match := re.fullmatch(pattern, name))]
    return [at for at, _ in found], [row for _, row in found]


def _curves(axes: Axes, parts: dict[str, Part], pattern: str, line: str = "-") -> None:
    """A line through the medians; bars for the middle half of the turns."""
    ticks: list[int] = []
    for name, part in parts.items():
        colour, mark = STYLES[name]
        ticks, rows = _points(part, pattern)
        middle = [median for median, _, _ in rows]
        reach = [[m - low for m, low, _ in rows], [high - m for m, _, high in rows]]
        axes.errorbar(
            ticks, middle, reach, color=colour, marker=mark, markersize=4, linewidth=1.2, linestyle=line,
            elinewidth=0.8, markerfacecolor=colour if line == "-" else "white",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()


def _classes(axes: Axes, parts: dict[str, Part]) -> None:
    _curves(axes, parts, r"gradient / U, (\d+) classes", ":")
    _curves(axes, parts, r"MWP / U, (\d+) classes")
    axes.set_yscale("log")
    axes.set_xlabel("classes of one image in one call")
    axes.set_ylabel("time of the call / U")
    styles = [
        Line2D([], [], color="0.3", marker="o", markersize=4, label="MWP"),
        Line2D([], [], color="0.3", linestyle=":", marker="o", markersize=4, markerfacecolor="white", label="gradient"),
    ]
    axes.legend(handles=styles, frameon=False, loc="upper left")


def _batch(axes: Axes, parts: dict[str, Part]) -> None:
    _curves(axes, parts, r"MWP / U, batch (\d+)")
    axes.set_xlabel("images in one call")
    _one_map(axes)


def _size(axes: Axes, parts: dict[str, Part]) -> None:
    _curves(axes, parts, r"MWP / U, (\d+) pixels")
    axes.set_xlabel("height and width of one image, pixels")
    _one_map(axes)


def _one_map(axes: Axes) -> None:
    """The axis of one map's cost, and what it is by arithmetic."""
    axes.set_ylabel("time of an MWP map / U")
    axes.set_ylim(bottom=0)
    axes.axhline(3, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    axes.annotate("3 U", (1.01, 3), xycoords=("axes fraction", "data"), va="center", color="0.45")


def _threads(axes: Axes, parts: dict[str, Part]) -> None:
    """Bars for two threads; where there are more cores, for as many as were measured."""
    pattern = r"{}, times as fast, (\d+) threads"
    works = {"U": "0.75", "gradient": "0.5", "MWP": "0.15"}
    most = max(_points(next(iter(parts.values())), pattern.format("U"))[0])
    for place, (work, shade) in enumerate(works.items()):
        rows = [_points(part, pattern.format(work))[1][-1] for part in parts.values()]
        at = [index + (place - 1) * 0.26 for index in range(len(rows))]
        reach = [[m - low for m, low, _ in rows], [high - m for m, _, high in rows]]
        axes.bar(at, [row[0] for row in rows], 0.24, yerr=reach, color=shade, label=work, error_kw={"elinewidth": 0.8})
    axes.axhline(1, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(parts)), [name.replace(" 1.0", "") for name in parts], rotation=20, ha="right")
    axes.set_ylabel(f"times as fast, {most} threads over 1")
    axes.margins(y=0.2)  # room for the legend over the bars
    axes.legend(frameon=False, ncols=3, loc="upper center")


if __name__ == "__main__":
    typer.run(main)
