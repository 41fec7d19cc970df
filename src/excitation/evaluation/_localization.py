"""Localization (Table 3 of the paper): boxes from maps at all thresholds, and the threshold from held-out images."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.style
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from .._checks import check_number
from .._errors import ExcitationError
from .._maps import ALPHAS, SIDE, Box, boxes_of_map
from ..data._annotations import AnnotatedImage
from ..data._dataset import AnnotatedImages
from ..models._loaded import LoadedModel
from ._charts import STYLE, colour, one_axes
from ._classes import Mixture
from ._game import Game, Progress
from ._method_runner import AnyMethod
from ._results import Results
from ._rows import (
    by_method,
    heading_of,
    headings_of,
    held_out_images,
    images_with_rows,
    notes_of,
    ordered,
    shown_with_layer,
)
from ._running import Layers, LeftOut
from ._setup import Pairs, set_up, squashed
from ._statistics import SAMPLES, Average, Interval, Outcomes, accuracy, interval
from ._store import Row
from ._tables import EMPTY, Cell, Table, percent

HELD_OUT = 5
"""By default, every fifth image is held out for the selection of the threshold."""

OVERLAP = 0.5
"""Minimum intersection over union of a correct box."""


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return float(shared / (areas - shared))


def best_overlap(box: Box | None, instances: Sequence[Box]) -> float:
    """Return the largest overlap with an instance, 0 to 1; 0 if there is no box.

    Raises:
        ExcitationError: there is no instance.
    """
    if not instances:
        raise ExcitationError("the image has no box; localization requires at least one box for each image.")
    return 0.0 if box is None else max(overlap(box, item) for item in instances)


@dataclass(frozen=True)
class AlphaSearch:
    """The threshold selected on held-out images, and the errors of all thresholds on these images.

    Attributes:
        alpha: threshold with the lowest error; the smallest one if several are equal.
        error: fraction of wrong boxes at this threshold, 0 to 1.
        errors: error of each threshold.
        images: number of held-out images.
    """

    alpha: float
    error: float
    errors: dict[float, float]
    images: int


def search_alpha(
    overlaps: Float[np.ndarray, "image alpha"], alphas: Sequence[float] = ALPHAS, *, least: float = OVERLAP
) -> AlphaSearch:
    """Select the threshold on held-out images.

    Args:
        overlaps: overlap of the box of each image at each threshold, `(image, alpha)` (see `best_overlap`).
        alphas: the thresholds in ascending order.
        least: minimum overlap of a correct box, 0 to 1.

    Raises:
        ExcitationError: there is no image, or the numbers of thresholds differ.
    """
    if not overlaps.size or overlaps.shape[1] != len(alphas):
        raise ExcitationError(
            f"overlaps have shape {overlaps.shape}; give a row of {len(alphas)} thresholds for each held-out image."
        )
    errors = 1 - (overlaps >= least).mean(0)
    best = int(errors.argmin())
    table = dict(zip(map(float, alphas), errors.tolist(), strict=True))
    return AlphaSearch(float(alphas[best]), float(errors[best]), table, len(overlaps))


@dataclass
class LocalizationGame(Game):
    """The localization game: the overlap of the object with a box around the high values of a map."""

    name = "localization"
    label = "localization"
    title = "Localization: error in percent"
    drawn = "alpha"

    @classmethod
    def tables(cls, runs: Sequence[Results], *, average: Average, difficult: bool, samples: int) -> list[Table]:
        """Return the table of thresholds and errors."""
        del average, difficult
        return [localization_table(runs, samples=samples)]

    @classmethod
    def figure(cls, run: Results, *, difficult: bool) -> Figure:
        """Return a plot of the errors against the threshold."""
        del difficult
        return alpha_figure(run)

    def play(self, image_id: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Return the rows of one image, and its omitted pairs."""
        return self.setup.play(image_id, device, self._rows, crowds=False)

    def _rows(self, image: AnnotatedImage, one: torch.Tensor, pairs: Pairs) -> Iterator[Row]:
        grid = self.setup.preprocessing.size
        for answer in self.setup.runner.run(image.path, one, pairs):
            boxes = boxes_of_map(self.setup.smoothed(answer, grid), image.size, ALPHAS, grid=grid)
            truths = [item.box for item in image.of(answer.query) if not item.crowd]
            overlaps = tuple(best_overlap(box, truths) for box in boxes)
            best = max(overlaps)
            yield answer.row(image.id, hit=best >= OVERLAP, value=best, series=overlaps)


def run_localization(
    model: LoadedModel,
    data: AnnotatedImages,
    methods: Mapping[str, AnyMethod],
    layers: Layers | Mapping[str, Layers] = (None,),
    *,
    out: str | os.PathLike[str],
    mapping: Mapping[str, Collection[int]] | None = None,
    mixture: Mixture = "equal",
    blur: Collection[str] | None = None,
    side: int = SIDE,
    held_out: int = HELD_OUT,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    network: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Localize the object of each known category of each image. An interrupted run is continued.

    The picture is resized to a square, without keeping the aspect ratio. At each threshold, the box contains all values
    above this multiple of the mean of the map. The series of a row contains the overlap of the box with the best
    instance at each threshold, and its value is the largest overlap. The threshold is selected later, on every K-th
    image.

    Args:
        model: the network with its preprocessing.
        data: annotated images.
        methods: methods by their names in tables. The centre is skipped, because it has no map.
        layers: layers of the maps, for all methods or by method name; `None` for the method's or model's choice.
        out: file of results (see `open_store`).
        mapping: classes of each category (see `run_pointing`).
        mixture: weights of a category's classes in its target: `"equal"`, or `"probability"` for the network's
            probabilities in the picture. The weights are the same for all methods (r-MWP always uses probabilities).
        blur: names of methods with smoothed maps; by default, the methods with `"blur"` among their `steps`.
        side: side of the square, in pixels.
        held_out: K: every K-th image is held out for the selection of the threshold.
        limit: number of images, from the first; all images if `None`.
        shard: `(index, count)`: use every `count`-th image, starting at `index` (from 0).
        network: name of the model in tables; by default, its label.
        progress: function that is called after each image.

    Returns:
        All results of the file.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: the model, a layer or a method cannot be used with these arguments.

    Source: Zhang et al., ECCV 2016, Sec. 4.2.
    """
    check_number("held_out", held_out, "a whole number from 2 on", least=2, whole=True)
    setup = set_up(model, data, methods, layers, mapping, squashed(model, side), mixture=mixture, blur=blur)
    configuration = {
        **setup.configuration(LocalizationGame.name, network, limit),
        "alphas": list(ALPHAS), "overlap": OVERLAP, "held_out": held_out,
    }  # fmt: skip
    return LocalizationGame(setup).run(out, configuration, data.ids[:limit], shard=shard, progress=progress)


@dataclass(frozen=True)
class Localized:
    """The localization result of a method.

    Attributes:
        search: the threshold selected on the held-out images, with the errors on these images.
        error: fraction of wrong boxes on the other images, 0 to 1.
        interval: bootstrap interval of the error.
        judged: number of boxes on the other images.
    """

    search: AlphaSearch
    error: float
    interval: Interval
    judged: int


def localized(
    run: Results, several: set[str] | None = None, *, samples: int = SAMPLES
) -> dict[str, Localized]:  # fmt: skip
    """Return the threshold of each method, selected on every K-th image of the run, and its error on the others.

    Args:
        run: results of a localization.
        several: methods with one row per layer; by default, the methods with several layers in this run.
        samples: number of bootstrap samples over images.

    Raises:
        ExcitationError: the run is another game, or there are no held-out images or no other images.
    """
    LocalizationGame.check(run)
    methods = by_method(run, several)
    alphas, least = (run.configuration[name] for name in ("alphas", "overlap"))
    step, held_out = held_out_images(run)
    assert isinstance(alphas, list)
    assert isinstance(least, float)
    results = {}
    for name, rows in methods.items():
        first = [row for row in rows if row.image in held_out]
        others = [row for row in rows if row.image not in held_out]
        if not first or not others:
            raise ExcitationError(
                f"{run.path}: {name} has {len(first)} boxes on held-out images (every {step}-th of {len(run.finished)}"
                f" finished images) and {len(others)} on the others; both are needed, so finish more images."
            )
        search = search_alpha(np.array([row.series for row in first], dtype=np.float64), alphas, least=least)
        index = alphas.index(search.alpha)
        wrong = Outcomes.from_pairs((row.image, row.query, row.series[index] < least) for row in others)
        # The error of ImageNet weights all images equally, independent of their class.
        error = accuracy(wrong).pooled
        results[name] = Localized(search, error, interval(wrong, "pooled", samples=samples), len(others))
    return results


def localization_table(runs: Sequence[Results], *, samples: int = SAMPLES) -> Table:
    """Return the localization errors: one row per method, columns for the threshold and both errors of each run.

    Args:
        runs: results of localizations.
        samples: number of bootstrap samples.

    Raises:
        ExcitationError: there is no run, two runs have the same heading, a run is another game, or has too few images.
    """
    headings = headings_of(runs)
    several: set[str] = set().union(*(shown_with_layer(run) for run in runs))
    tables = {name: localized(run, several, samples=samples) for name, run in zip(headings, runs, strict=True)}
    names = ordered(dict.fromkeys(name for table in tables.values() for name in table))
    cells: dict[str, list[Cell]] = {name: [] for name in names}
    for table in tables.values():
        best = min(item.error for item in table.values())
        for name in names:
            item = table.get(name)
            if item is None:
                cells[name] += [EMPTY] * 3
                continue
            cells[name] += [
                Cell(f"{item.search.alpha:g}", value=item.search.alpha),
                percent(item.search.error),
                percent(item.error, item.interval, best=item.error == best),
            ]
    notes = [f"In brackets: 95 % intervals, bootstrap over images with {samples} samples."]
    for name, run in zip(headings, runs, strict=True):
        least = run.configuration["overlap"]
        step, held_out = held_out_images(run)
        images = images_with_rows(run.rows)
        held = sum(image in held_out for image in images)
        notes.append(
            f"{name}: alpha chosen on {held} held-out images, every {step}-th; error on the {len(images) - held}"
            f" others: boxes with an intersection over union under {least} with every instance."
        )
    return Table(
        LocalizationGame.title,
        "Method",
        tuple((name, column) for name in headings for column in ("alpha", "Held out", "Error")),
        tuple((name, tuple(row)) for name, row in cells.items()),
        (*notes, *notes_of(runs, difficult=False)),
    )


def alpha_figure(run: Results) -> Figure:
    """Plot the localization error on the held-out images against the threshold. Rings mark selected thresholds.

    Args:
        run: results of a localization.

    Raises:
        ExcitationError: the run is another game, or has too few images.
    """
    results = localized(run, samples=1)
    with matplotlib.style.context(["default", STYLE]):
        figure, axes = one_axes(4.6, 2.8)
        for index, name in enumerate(ordered(results)):
            search = results[name].search
            alphas = sorted(search.errors)
            axes.plot(alphas, [100 * search.errors[alpha] for alpha in alphas], color=colour(index), linewidth=1.2,
                      label=name)  # fmt: skip
            axes.plot(search.alpha, 100 * search.error, marker="o", markersize=6, markerfacecolor="white",
                      color=colour(index))  # fmt: skip
        axes.set_xlabel("alpha: threshold in multiples of the map's mean")
        axes.set_ylabel("localization error, %, held out")
        axes.set_ylim(0, 103)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes.set_title(heading_of(run), loc="left")
    return figure
