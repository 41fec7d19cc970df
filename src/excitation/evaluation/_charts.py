"""Figures of results: the layer sweep, categories, and localization against its threshold."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._errors import ExcitationError
from ._layer_report import layer_curves
from ._localization_report import localized
from ._results import Results
from ._rows import OWN, all_outcomes, heading_of, ordered
from ._statistics import SAMPLES, Accuracy, accuracy

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Okabe and Ito's, which the colour-blind tell apart."""

MARKERS = "os^Dv<>P"
MOST = 4
"""Methods in a figure by category."""

ROWS = 24
"""Categories below each other, before they go on beside."""

STYLE = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.linewidth": 0.4,
    "grid.color": "#dddddd", "axes.axisbelow": True, "legend.frameon": False,
}  # fmt: skip


def layer_figure(run: Results, *, difficult: bool = False, samples: int = SAMPLES) -> Figure:
    """Pointing accuracy by layer, from the top of the network down, with 95 % intervals (Fig. 6 of the paper).

    Args:
        run: results of a layer sweep.
        difficult: of the difficult pairs only.
        samples: of the bootstrap.

    Raises:
        ExcitationError: another game, or no such pairs.
    """
    curves = layer_curves(run, difficult=difficult, samples=samples)
    layers = list(dict.fromkeys(layer for curve in curves for layer in curve.layers))
    with matplotlib.style.context(["default", STYLE]):
        figure, axes = _axes(max(4.0, 0.5 * len(layers) + 1.8), 2.8)
        for place, curve in enumerate(curves):
            x = np.array([layers.index(layer) for layer in curve.layers])
            low, high = (np.array([getattr(item, end) for item in curve.intervals]) for end in ("low", "high"))
            axes.fill_between(x, 100 * low, 100 * high, color=_colour(place), alpha=0.15, linewidth=0)
            axes.plot(x, 100 * np.array(curve.values), marker=MARKERS[place % len(MARKERS)], markersize=3.5,
                      color=_colour(place), linewidth=1.2, label=curve.method)  # fmt: skip
        axes.set_xticks(range(len(layers)), layers, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_xlabel("layer, from the top of the network down")
        # The axis may leave out much below the curves; it ends at a round number, and its name says so.
        lowest = 10 * math.floor(10 * min(item.low for curve in curves for item in curve.intervals))
        axes.set_ylim(bottom=lowest)
        start = f"\naxis from {lowest}" if lowest else ""
        axes.set_ylabel(f"pointing accuracy, %{' (difficult)' if difficult else ''}{start}")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes.set_title(heading_of(run), loc="left")
    return figure


def category_figure(run: Results, methods: Sequence[str] | None = None, *, difficult: bool = False) -> Figure:
    """Pointing accuracy by category as bars, the easiest category of the first method on top.

    Args:
        run: results of the pointing game.
        methods: rows as `pointing_table` calls them; Excitation Backprop's own and the best of the others if not given.
        difficult: of the difficult pairs only.

    Raises:
        ExcitationError: no such row, or there are no such pairs.
    """
    found = all_outcomes(run, difficult)
    scores = {name: accuracy(item) for name, item in found.items()}
    chosen = list(methods) if methods is not None else _telling(scores)
    missing = [name for name in chosen if name not in scores]
    if missing or not chosen:
        raise ExcitationError(f"{run.path}: has no row {missing[:1]}; there is: {', '.join(scores)}.")
    first = scores[chosen[0]].by_category
    known = sorted({name for item in scores.values() for name in item.by_category}, reverse=True)
    names = sorted(known, key=lambda name: first.get(name, -1.0))
    columns = -(-len(names) // ROWS)
    rows = -(-len(names) // columns)
    width = 3.5 * columns
    # As many beside each other as fit: a letter takes about 0.06 inches, a colour half an inch.
    beside = min(len(chosen), max(1, int(width / (0.5 + 0.06 * max(len(f"{name} (100.0)") for name in chosen)))))
    told = textwrap.wrap(_which(chosen, scores, given=methods is not None), int(width / 0.06))
    above = 0.16 * (len(told) + -(-len(chosen) // beside))
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(width, 0.9 + above + 0.05 * rows * (1 + len(chosen))), layout="constrained")
        every = figure.subplots(1, columns, squeeze=False)[0]
        for column, axes in enumerate(every):
            # The last names come first, since the axis runs upwards.
            end = len(names) - column * rows
            _bars(axes, names[max(0, end - rows) : end], chosen, scores, rows)
            axes.set_xlabel(f"pointing accuracy, %{' (difficult)' if difficult else ''}")
        figure.legend(*every[0].get_legend_handles_labels(), loc="outside upper center", ncols=beside,
                      title="\n".join(told))  # fmt: skip
        every[0].set_title(heading_of(run), loc="left")
    return figure


def _bars(
    axes: Axes, names: Sequence[str], methods: Sequence[str], scores: Mapping[str, Accuracy], rows: int
) -> None:  # fmt: skip
    thick = 0.8 / len(methods)
    for place, method in enumerate(methods):
        values = [100 * scores[method].by_category.get(name, np.nan) for name in names]
        y = np.arange(len(names)) + 0.4 - thick * (place + 0.5)
        axes.barh(y, values, thick, color=_colour(place), label=f"{method} ({100 * scores[method].mean:.1f})")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - rows - 0.6, len(names) - 0.4)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)


def alpha_figure(run: Results) -> Figure:
    """Localization error on the held-out images against the threshold; rings mark the chosen ones.

    Args:
        run: results of a localization.

    Raises:
        ExcitationError: another game, or too few images.
    """
    found = localized(run, samples=1)
    with matplotlib.style.context(["default", STYLE]):
        figure, axes = _axes(4.6, 2.8)
        for place, name in enumerate(ordered(found)):
            search = found[name].search
            alphas = sorted(search.errors)
            axes.plot(alphas, [100 * search.errors[alpha] for alpha in alphas], color=_colour(place), linewidth=1.2,
                      label=name)  # fmt: skip
            axes.plot(search.alpha, 100 * search.error, marker="o", markersize=6, markerfacecolor="white",
                      color=_colour(place))  # fmt: skip
        axes.set_xlabel("alpha: threshold in multiples of the map's mean")
        axes.set_ylabel("localization error, %, held out")
        axes.set_ylim(0, 103)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes.set_title(heading_of(run), loc="left")
    return figure


def _telling(scores: Mapping[str, Accuracy]) -> list[str]:
    """Excitation Backprop's own at their best layers, and the best of the others."""
    means = {name: item.mean for name, item in scores.items()}
    plain = {name: name.partition(" ")[0] for name in means}
    chosen = []
    for own in ("c-mwp", "mwp", "r-mwp"):
        rows = [name for name in means if plain[name] == own]
        chosen += [max(rows, key=lambda name: means[name])] if rows else []
    others = [name for name in means if plain[name] not in {*OWN, "centre"}]
    return [*chosen, *([max(others, key=lambda name: means[name])] if others else [])][:MOST] or list(means)[:MOST]


def _which(chosen: Sequence[str], scores: Mapping[str, Accuracy], *, given: bool) -> str:
    """That others are left out, and by which rule; nothing where none is."""
    if len(chosen) == len(scores):
        return ""
    rule = "as named" if given else "Excitation Backprop's own and the best of the others by their mean, in brackets"
    return f"{len(chosen)} of {len(scores)} rows of the table: {rule}"


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
