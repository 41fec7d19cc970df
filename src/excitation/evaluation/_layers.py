"""The layer sweep (Fig. 6 of the paper): the pointing game at every layer, with a layer selected on held-out images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from .._errors import ExcitationError
from ..core import forward, whole_places
from ..data._dataset import AnnotatedImages
from ..models._loaded import LoadedModel
from ._charts import MARKERS, STYLE, colour, one_axes
from ._pointing_game import PointingGame
from ._results import Results
from ._rows import (
    heading_of,
    held_out_images,
    images_with_rows,
    notes_of,
    ordered,
    outcomes_of,
    with_several_layers,
)
from ._setup import shortest_side
from ._statistics import SAMPLES, Average, Interval, accuracy, interval
from ._store import Row
from ._tables import EMPTY, Cell, Table, percent


class LayerGame(PointingGame):
    """The layer sweep: the accuracy of the pointing game at each layer."""

    name = "layers"
    label = "a layer sweep"
    title = "Layer sweep"
    by_layer = True
    sweepable = False
    drawn = "layers"

    @classmethod
    def tables(cls, runs: Sequence[Results], *, average: Average, difficult: bool, samples: int) -> list[Table]:
        """Return the sweep of each run, and the selected layers."""
        sweeps = [layer_tables(run, average=average, difficult=difficult, samples=samples) for run in runs]
        return [table for sweep in sweeps for table in sweep]

    @classmethod
    def figure(cls, run: Results, *, difficult: bool) -> Figure:
        """Return a line plot of the accuracy by layer."""
        return layer_figure(run, difficult=difficult)


@dataclass(frozen=True)
class LayerCurve:
    """A method's accuracy at each layer, on all images.

    Attributes:
        method: name of the method.
        layers: names of the layers.
        values: accuracy at each layer, 0 to 1.
        intervals: bootstrap interval at each layer.
    """

    method: str
    layers: tuple[str, ...]
    values: tuple[float, ...]
    intervals: tuple[Interval, ...]


@dataclass(frozen=True)
class ChosenLayer:
    """A layer selected on held-out images, and its accuracy on the other images.

    Attributes:
        method: name of the method.
        layer: the best layer on the held-out images; the first one in the order of the sweep if several are equal.
        held_out: accuracy on the held-out images, 0 to 1.
        judged: accuracy on the other images, 0 to 1.
        interval: bootstrap interval of `judged`.
        images: number of held-out images and of other images with at least one pair.
    """

    method: str
    layer: str
    held_out: float
    judged: float
    interval: Interval
    images: tuple[int, int]


def sweep_layers(model: LoadedModel, data: AnnotatedImages, shortest: int) -> tuple[str, ...]:
    """Return the layers at which a map and its contrast are defined, determined with the first readable image.

    Modules with the same output value count once, by the outermost module. Layers with the same neurons in a chain of
    convolution, normalisation and rectifier also count once, by the last layer.

    Args:
        model: the network.
        data: data set with the image.
        shortest: shortest side of the input, in pixels.

    Returns:
        Names of the layers, the highest layer first.

    Raises:
        ExcitationError: no image can be read, or there is no such layer.
    """
    prepare = shortest_side(model, shortest)
    for image in data:
        picture = data.read(image)
        if picture is not None:
            break
    else:
        raise ExcitationError(f"{data.name}: no image can be read; at least one is needed to determine the layers.")
    parameter = next(model.model.parameters(), None)
    one = prepare(picture)[None]
    record = forward(model.model, one if parameter is None else one.to(parameter), None, model.output)
    names: dict[tuple[frozenset[int] | int, tuple[int, ...]], str] = {}
    for place, _ in whole_places(record):
        value = place.value
        if place.kind != "module" or value is None:
            continue
        # Layers with equal sets of weighted operations and equal shapes contain the same neurons.
        key = (value.weighted, tuple(value.shape))
        names.pop(key, None)
        names[key] = place.name
    if not names:
        raise ExcitationError(
            "no layer with spatial dimensions is on every path through the network; name layers with --layer."
        )
    return tuple(reversed(names.values()))


def as_sweep(run: Results, held_out: int) -> Results:
    """Convert a pointing game at several layers to a layer sweep.

    Args:
        run: results of the pointing game. Methods with a single layer are omitted.
        held_out: K: every K-th image is held out for the selection of the layer.

    Raises:
        ExcitationError: the run is another game, no method has several layers, or K is less than 2.
    """
    if held_out < 2:
        raise ExcitationError(
            f"held_out is {held_out}; give at least 2, because the other images measure the accuracy."
        )
    name = run.configuration.get("game")
    if name != PointingGame.name:
        raise ExcitationError(
            f"{run.path}: contains results of {name!r}; a layer is selected from a run of the pointing game."
        )
    several = with_several_layers(run)
    if not several:
        raise ExcitationError(f"{run.path}: no method has several layers, so no layer can be selected.")
    given = run.configuration["layers"]
    assert isinstance(given, Mapping)
    layers = {method: names for method, names in given.items() if method in several}
    configuration = {**run.configuration, "game": LayerGame.name, "held_out": held_out, "layers": layers}
    rows = tuple(row for row in run.rows if row.method in several)
    return dataclasses.replace(run, configuration=configuration, rows=rows)


def layer_curves(
    run: Results, *, average: Average = "mean", difficult: bool = False, samples: int = SAMPLES
) -> list[LayerCurve]:
    """Return the accuracy of each method at each of its layers.

    Args:
        run: results of a layer sweep.
        average: mean over categories, or pooled over pairs.
        difficult: whether to use only difficult pairs.
        samples: number of bootstrap samples.

    Raises:
        ExcitationError: the run is another game, or there are no such pairs.
    """
    curves = []
    for method, by_layer in _by_layer(run).items():
        every = {layer: outcomes_of(rows, average, difficult=difficult) for layer, rows in by_layer.items()}
        judged = {layer: item for layer, item in every.items() if item is not None}
        curves.append(
            LayerCurve(
                method,
                tuple(judged),
                tuple(float(getattr(accuracy(item), average)) for item in judged.values()),
                tuple(interval(item, average, samples=samples) for item in judged.values()),
            )
        )
    if not any(curve.layers for curve in curves):
        raise ExcitationError(f"{run.path}: has no {'difficult ' if difficult else ''}pairs to report.")
    return curves


def choose_layers(
    run: Results, *, average: Average = "mean", difficult: bool = False, samples: int = SAMPLES
) -> list[ChosenLayer]:
    """Select the best layer of each method on every K-th image of the run, and compute its accuracy on the others.

    The held-out images depend only on the sorted names of the finished images and on K.

    Args:
        run: results of a layer sweep. Its configuration contains K.
        average: mean over categories, or pooled over pairs.
        difficult: whether to use only difficult pairs.
        samples: number of bootstrap samples.

    Raises:
        ExcitationError: the run is another game, or there are no held-out images or no other images.
    """
    _, held_out = held_out_images(run)
    chosen = []
    for method, by_layer in _by_layer(run).items():
        scores, choosing, others = {}, {}, {}
        for layer, rows in by_layer.items():
            first = outcomes_of([row for row in rows if row.image in held_out], average, difficult=difficult)
            second = outcomes_of([row for row in rows if row.image not in held_out], average, difficult=difficult)
            if first is not None and second is not None:
                scores[layer], choosing[layer], others[layer] = float(getattr(accuracy(first), average)), first, second
        if not scores:
            raise ExcitationError(
                f"{run.path}: the {len(run.finished)} finished images need pairs both on held-out images and on the"
                " others; more images are needed."
            )
        layer = max(scores, key=lambda name: scores[name])
        judged = others[layer]
        chosen.append(
            ChosenLayer(
                method,
                layer,
                scores[layer],
                float(getattr(accuracy(judged), average)),
                interval(judged, average, samples=samples),
                (len(choosing[layer].images), len(judged.images)),
            )
        )
    return chosen


def layer_tables(
    run: Results, *, average: Average = "mean", difficult: bool = False, samples: int = SAMPLES
) -> list[Table]:
    """Return a table of the sweep, with one row per layer and one column per method, and a table of selected layers.

    Args:
        run: results of a layer sweep.
        average: mean over categories, or pooled over pairs.
        difficult: whether to use only difficult pairs.
        samples: number of bootstrap samples.

    Raises:
        ExcitationError: the run is another game or has no results.
    """
    curves = layer_curves(run, average=average, difficult=difficult, samples=samples)
    layers = list(dict.fromkeys(layer for curve in curves for layer in curve.layers))
    rows = []
    for layer in layers:
        cells = []
        for curve in curves:
            if layer not in curve.layers:
                cells.append(EMPTY)
                continue
            index = curve.layers.index(layer)
            value = curve.values[index]
            cells.append(percent(value, curve.intervals[index], best=value == max(curve.values)))
        rows.append((layer, tuple(cells)))
    over = "mean over categories" if average == "mean" else "pooled over pairs"
    which = "difficult pairs" if difficult else "all pairs"
    sweep = Table(
        f"{LayerGame.title} on {heading_of(run)}: pointing accuracy in percent, {over}, {which}",
        "Layer",
        tuple(("", curve.method) for curve in curves),
        tuple(rows),
        (f"In brackets: 95 % intervals, bootstrap over images with {samples} samples.", *notes_of([run])),
    )
    try:
        chosen = choose_layers(run, average=average, difficult=difficult, samples=samples)
    except ExcitationError as error:
        return [
            Table(sweep.title, sweep.corner, sweep.columns, sweep.rows, (*sweep.notes, f"No layer chosen: {error}"))
        ]
    return [sweep, _chosen_table(run, chosen, f"{over}, {which}", difficult)]


def layer_figure(run: Results, *, difficult: bool = False, samples: int = SAMPLES) -> Figure:
    """Plot the pointing accuracy by layer, from the top of the network down, with 95 % intervals (Fig. 6 of the paper).

    Args:
        run: results of a layer sweep.
        difficult: whether to use only difficult pairs.
        samples: number of bootstrap samples.

    Raises:
        ExcitationError: the run is another game, or there are no such pairs.
    """
    curves = layer_curves(run, difficult=difficult, samples=samples)
    layers = list(dict.fromkeys(layer for curve in curves for layer in curve.layers))
    with matplotlib.style.context(["default", STYLE]):
        figure, axes = one_axes(max(4.0, 0.5 * len(layers) + 1.8), 2.8)
        for index, curve in enumerate(curves):
            x = np.array([layers.index(layer) for layer in curve.layers])
            low, high = (np.array([getattr(item, end) for item in curve.intervals]) for end in ("low", "high"))
            axes.fill_between(x, 100 * low, 100 * high, color=colour(index), alpha=0.15, linewidth=0)
            axes.plot(x, 100 * np.array(curve.values), marker=MARKERS[index % len(MARKERS)], markersize=3.5,
                      color=colour(index), linewidth=1.2, label=curve.method)  # fmt: skip
        axes.set_xticks(range(len(layers)), layers, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_xlabel("layer, from the top of the network down")
        # The axis starts at a round number below the curves, and its label contains the range.
        lowest = 10 * math.floor(10 * min(item.low for curve in curves for item in curve.intervals))
        axes.set_ylim(bottom=lowest)
        start = f"\naxis from {lowest}" if lowest else ""
        axes.set_ylabel(f"pointing accuracy, %{' (difficult)' if difficult else ''}{start}")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes.set_title(heading_of(run), loc="left")
    return figure


def _chosen_table(run: Results, chosen: Sequence[ChosenLayer], what: str, difficult: bool) -> Table:
    """Return the table of selected layers, with the numbers of images that have such a pair for any method."""
    step, held_out = held_out_images(run)
    images = images_with_rows(row for row in run.rows if row.difficult or not difficult)
    held = sum(image in held_out for image in images)
    best = max(item.judged for item in chosen)
    without = len(run.finished) - len(images)
    kind = "difficult pair" if difficult else "pair"
    return Table(
        f"Layers chosen on {held} held-out images of {heading_of(run)}, accuracy on the {len(images) - held} others in"
        f" percent, {what}",
        "Method",
        (("", "Layer"), ("", "Held out"), ("", "Others")),
        tuple(
            (
                item.method,
                (
                    Cell(item.layer),
                    percent(item.held_out),
                    percent(item.judged, item.interval, best=item.judged == best),
                ),
            )
            for item in chosen
        ),
        (
            f"Every {step}-th of {len(run.finished)} images was held out to choose the layer and is not judged."
            + (f" {without} images have no {kind} and are not counted." if without else ""),
        ),
    )


def _by_layer(run: Results) -> Mapping[str, Mapping[str, Sequence[Row]]]:
    """Return the rows by method and layer, in the order of the sweep."""
    LayerGame.check(run)
    given = run.configuration["layers"]
    assert isinstance(given, Mapping)
    by_method: dict[str, dict[str, list[Row]]] = {}
    for method in ordered(given):
        rows = [row for row in run.rows if row.method == method]
        layers = [layer for layer in given[method] if layer is not None] or sorted({row.layer for row in rows})
        by_layer = {layer: [row for row in rows if row.layer == layer] for layer in layers}
        by_method[method] = {layer: items for layer, items in by_layer.items() if items}
    return {method: by_layer for method, by_layer in by_method.items() if by_layer}
