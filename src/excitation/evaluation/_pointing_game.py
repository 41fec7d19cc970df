"""The pointing game: whether the maximum of a map is on the category. The run, the tables, the figure by category."""

from __future__ import annotations

import dataclasses
import os
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import matplotlib.style
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._checks import check_choice
from .._errors import ExcitationError
from .._maps import enlarge_map, points_nowhere
from ..data._annotations import AnnotatedImage, box_pixels
from ..data._dataset import AnnotatedImages, Truth
from ..data._difficult import is_difficult
from ..models._loaded import LoadedModel
from ._charts import STYLE, colour
from ._classes import Mixture
from ._configuration import hash_content
from ._game import Column, Game, Progress, score_table
from ._method_runner import AnyMethod
from ._methods import Centre
from ._pointing import Tolerance, energy_in_region, is_hit, point_of_map, region
from ._results import Results
from ._rows import OWN, by_method, heading_of, notes_of, outcomes_of, row_name, value
from ._running import Layers, LeftOut
from ._setup import SHORTEST, Pairs, set_up, shortest_side
from ._statistics import SAMPLES, Accuracy, Average, Outcomes, accuracy, compare, wins
from ._store import Row
from ._tables import EMPTY, Cell, Table

SUBSETS = (("All", False), ("Diff.", True))
"""Name of each subset in tables, and whether it contains only the difficult pairs."""

BARS = 4
"""Maximum number of methods in the figure by category."""

ROWS = 24
"""Maximum number of categories in a column of the figure."""


@dataclass
class PointingGame(Game):
    """The pointing game: whether the maximum of a map is on or near the category.

    Attributes:
        difficult: difficult categories of each image; `None` for the rule of the paper.
        tolerance: tolerance of a hit.
        truth: ground truth, segments or boxes.
        crowds: whether crowds count as instances.
    """

    difficult: Mapping[str, Collection[str]] | None
    tolerance: Tolerance
    truth: Truth
    crowds: bool

    name = "pointing"
    label = "the pointing game"
    title = "Pointing game"
    columns = (Column(),)
    points = True
    sweepable = True
    drawn = "categories"

    @classmethod
    def tables(cls, runs: Sequence[Results], *, average: Average, difficult: bool, samples: int) -> list[Table]:
        """Return the table of pointing accuracies, and the table of the energy on the category."""
        del difficult  # the tables contain both subsets
        tables = [pointing_table(runs, average=average, intervals=True, samples=samples, title=cls.title)]
        if any(row.value is not None for run in runs for row in run.rows):
            # Without rows that have only a hit, such as those of the centre.
            measured = [
                dataclasses.replace(run, rows=tuple(row for row in run.rows if row.value is not None)) for run in runs
            ]
            title = "Energy-based pointing: share of the positive attention on the category, in percent"
            tables.append(
                score_table(
                    measured, title, (Column(measure=value),), subsets=SUBSETS, average=average, intervals=True,
                    samples=samples,
                )
            )  # fmt: skip
        return tables

    @classmethod
    def figure(cls, run: Results, *, difficult: bool) -> Figure:
        """Return a bar chart of the accuracy by category."""
        return category_figure(run, difficult=difficult)

    def configuration(self, game: str, network: str | None, limit: int | None) -> dict[str, object]:
        """Return all settings that the results depend on."""
        listed = None if self.difficult is None else {key: sorted(item) for key, item in self.difficult.items()}
        return {
            **self.setup.configuration(game, network, limit),
            "difficult": "rule" if listed is None else hash_content(listed),
            "tolerance": dataclasses.asdict(self.tolerance),
            "truth": self.truth,
            "crowds": self.crowds,
        }

    def play(self, image_id: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Return the rows of one image, and its omitted pairs."""
        return self.setup.play(image_id, device, self._rows, crowds=self.crowds)

    def _rows(self, image: AnnotatedImage, one: torch.Tensor, pairs: Pairs) -> Iterator[Row]:
        box = self.setup.preprocessing.field_of_view(image.size)
        seen = (round(box[3] - box[1]), round(box[2] - box[0]))
        radius = self.tolerance.pixels(seen, (one.shape[2], one.shape[3]))
        truths = {category: region(image, category, self.truth, crowds=self.crowds) for category in pairs}
        hard = {category: self._is_difficult(image, category) for category in pairs}
        blur = self.setup.blur or ()
        for name, method in self.setup.methods.items():
            if isinstance(method, Centre):
                for category in pairs:
                    yield self._row(image, name, "", category, method.point(image.size), truths, hard, radius)
        for answer in self.setup.runner.run(image.path, one, pairs):
            x0, y0, x1, y1 = box_pixels(box, image.size)
            # Resized once for both measures: for small networks, this takes as long as the map.
            enlarged = torch.from_numpy(enlarge_map(answer.attention, (y1 - y0, x1 - x0)))
            point: tuple[int, int] | None = None
            if not points_nowhere(answer.attention):
                point = point_of_map(enlarged, image.size, box=box, blur=answer.method in blur)
            row = self._row(image, answer.method, answer.layer, answer.query, point, truths, hard, radius)
            energy = energy_in_region(enlarged, truths[answer.query][y0:y1, x0:x1])
            yield dataclasses.replace(row, mass=answer.mass, seconds=answer.seconds, value=energy)

    def _row(
        self,
        image: AnnotatedImage,
        method: str,
        layer: str,
        category: str,
        point: tuple[int, int] | None,
        truths: Mapping[str, np.ndarray],
        hard: Mapping[str, bool],
        radius: float,
    ) -> Row:
        hit = point is not None and is_hit(point, truths[category], radius, self.tolerance.shape)
        x, y = point or (None, None)
        return Row(image.id, category, method, layer, x, y, hit, hard[category], None, 0.0)

    def _is_difficult(self, image: AnnotatedImage, category: str) -> bool:
        if self.difficult is None:
            return is_difficult(image, category, self.truth)
        if image.id not in self.difficult:
            self.setup.data.problems.report(
                image.path,
                f"image {image.id!r} is not in the list of difficult images; its pairs are treated as not difficult.",
            )
        return category in self.difficult.get(image.id, ())


class ContrastGame(PointingGame):
    """The pointing game of methods with and without the dual unit (the paper's Table 2)."""

    name = "contrast"
    label = "the contrast analysis"
    title = "Contrast analysis"
    sweepable = False


def run_pointing(
    model: LoadedModel,
    data: AnnotatedImages,
    methods: Mapping[str, AnyMethod],
    layers: Layers | Mapping[str, Layers] = (None,),
    *,
    out: str | os.PathLike[str],
    mapping: Mapping[str, Collection[int]] | None = None,
    difficult: Mapping[str, Collection[str]] | None = None,
    tolerance: Tolerance | None = None,
    mixture: Mixture = "equal",
    blur: Collection[str] | None = None,
    truth: Truth | None = None,
    crowds: bool = True,
    shortest: int | None = SHORTEST,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    network: str | None = None,
    name: str = "pointing",
    extra: Mapping[str, object] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Run the pointing game. An interrupted run is continued.

    Each method computes the maps of all categories of an image together, and of all layers if it supports this.
    Problems with an image are recorded, and the run continues.

    Args:
        model: the network with its preprocessing.
        data: annotated images.
        methods: methods by their names in tables.
        layers: layers of the maps, for all methods or by method name; `None` for the method's or model's choice.
        out: file of results (see `open_store`).
        mapping: classes of each category. By default, see `classes_of`. Categories without classes are omitted and
            counted.
        difficult: difficult categories of each image; by default, the rule of the paper.
        tolerance: tolerance of a hit; by default, 15 pixels of the original picture.
        mixture: weights of a category's classes in its target: `"equal"`, or `"probability"` for the network's
            probabilities in the picture. The weights are the same for all methods (r-MWP always uses probabilities).
        blur: names of methods with smoothed maps; by default, the methods with `"blur"` among their `steps`.
        truth: ground truth, segments or boxes; by default, that of the data set.
        crowds: whether crowds count as instances. In the rule for difficult pairs, they always count, because this rule
            concerns the covered area of the picture.
        shortest: shortest side of the network's input, aspect ratio kept; `None` for the model's own preprocessing.
        limit: number of images, from the first; all images if `None`.
        shard: `(index, count)`: use every `count`-th image, starting at `index` (from 0).
        network: name of the model in tables; by default, its label.
        name: name of the game, which determines its reports: `"pointing"`, `"layers"` or `"contrast"`.
        extra: further entries of the configuration, compatible with JSON.
        progress: function that is called after each image.

    Returns:
        All results of the file.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: the model, a layer or a method cannot be used with these arguments.

    Source: Zhang et al., ECCV 2016, Sec. 4.1.
    """
    setup = set_up(
        model, data, methods, layers, mapping, shortest_side(model, shortest), mixture=mixture, blur=blur, centre=True
    )
    if truth is not None:
        check_choice("truth", truth, get_args(Truth))
    game = PointingGame(setup, difficult, tolerance or Tolerance(), truth or data.truth, crowds)
    configuration = {**game.configuration(name, network, limit), **(extra or {})}
    return game.run(out, configuration, data.ids[:limit], shard=shard, progress=progress)


def pointing_table(
    runs: Sequence[Results],
    *,
    average: Average = "mean",
    intervals: bool = False,
    samples: int = SAMPLES,
    title: str = "Pointing game",
) -> Table:
    """Return a table like Table 1 of the paper: one row per method, columns for all and difficult pairs of each run.

    A method with several layers has one row per layer.

    Args:
        runs: results of the pointing game, each of one data set and network.
        average: mean over categories, as in the paper, or pooled over pairs.
        intervals: with 95 % bootstrap intervals over images.
        samples: number of bootstrap samples.
        title: title of the table.

    Returns:
        The table in percent. The best value of each column is marked.

    Raises:
        ExcitationError: there is no run, two runs have the same data set and network, or a run is another game.
    """
    for run in runs:
        PointingGame.check(run)
    over = "mean over categories" if average == "mean" else "pooled over pairs"
    return score_table(
        runs, f"{title}: accuracy in percent, {over}", PointingGame.columns, subsets=SUBSETS, average=average,
        intervals=intervals, samples=samples,
    )  # fmt: skip


def category_table(run: Results, *, difficult: bool = False) -> Table:
    """Return the accuracy of each method by category, and the number of categories in which it is best.

    Args:
        run: results of the pointing game.
        difficult: whether to use only difficult pairs.

    Raises:
        ExcitationError: there are no such pairs.
    """
    every = _all_outcomes(run, difficult)
    tables = {name: accuracy(outcomes).by_group for name, outcomes in every.items()}
    pairs = {name: dict(zip(item.groups, item.pairs.sum(0), strict=True)) for name, item in every.items()}
    categories = sorted({category for table in tables.values() for category in table})
    rows = []
    for category in categories:
        best = max(table.get(category, -1.0) for table in tables.values())
        count = max(int(table.get(category, 0)) for table in pairs.values())
        cells = [Cell(str(count), value=count)]
        for table in tables.values():
            value = table.get(category)
            cells.append(EMPTY if value is None else Cell(f"{100 * value:.1f}", value == best, 100 * value))
        rows.append((category, tuple(cells)))
    won = wins(every)
    rows.append(("best alone", (EMPTY, *(Cell(str(item.alone), value=item.alone) for item in won.values()))))
    rows.append(("best with others", (EMPTY, *(Cell(str(item.shared), value=item.shared) for item in won.values()))))
    which = "difficult pairs" if difficult else "all pairs"
    return Table(
        f"Pointing game on {heading_of(run)}: accuracy in percent by category, {which}",
        "Category",
        (("", "Pairs"), *(("", name) for name in tables)),
        tuple(rows),
        notes_of([run]),
    )


def comparison_table(
    run: Results, reference: str, *, average: Average = "mean", difficult: bool = False, samples: int = SAMPLES
) -> Table:
    """Compare every method with a reference method, on the pairs that both have.

    Args:
        run: results of the pointing game.
        reference: name of the reference row in `pointing_table`.
        average: mean over categories, or pooled over pairs.
        difficult: whether to use only difficult pairs.
        samples: number of samples of the bootstrap and of the randomisation test.

    Raises:
        ExcitationError: there is no such row, or there are no such pairs.
    """
    every = _all_outcomes(run, difficult)
    reference = row_name(reference)
    if reference not in every:
        raise ExcitationError(f"{run.path}: has no row {reference!r}; its rows: {', '.join(every)}.")
    rows = []
    for name, outcomes in every.items():
        if name == reference:
            continue
        one = compare(outcomes, every[reference], average, samples=samples)
        low, high = 100 * one.interval.low, 100 * one.interval.high
        rows.append(
            (
                name,
                (
                    Cell(f"{100 * one.first:.1f}", value=100 * one.first),
                    Cell(f"{100 * one.difference:+.1f}", value=100 * one.difference, low=low, high=high),
                    Cell(f"[{low:+.1f}, {high:+.1f}]", low=low, high=high),
                    Cell(f"{one.p_value:.3f}" if one.p_value >= 0.001 else "< 0.001", value=one.p_value),
                    Cell(str(one.pairs), value=one.pairs),
                ),
            )
        )
    which = "difficult pairs" if difficult else "all pairs"
    heads = ("Accuracy", f"minus {reference}", "95 % interval", "p", "Pairs")
    return Table(
        f"Pointing game on {heading_of(run)}: methods against {reference}, {which}, in percent",
        "Method",
        tuple(("", head) for head in heads),
        tuple(rows),
        (
            f"Intervals: bootstrap over images, {samples} samples. p: methods swapped at random image by image; not"
            " corrected for the number of comparisons.",
            *notes_of([run]),
        ),
    )


def category_figure(run: Results, methods: Sequence[str] | None = None, *, difficult: bool = False) -> Figure:
    """Plot the pointing accuracy by category as bars, sorted by the accuracy of the first method.

    Args:
        run: results of the pointing game.
        methods: names of rows in `pointing_table`; by default, the methods of Excitation Backprop and the best other.
        difficult: whether to use only difficult pairs.

    Raises:
        ExcitationError: no such row, or there are no such pairs.
    """
    every = _all_outcomes(run, difficult)
    scores = {name: accuracy(item) for name, item in every.items()}
    chosen = list(methods) if methods is not None else _default_rows(scores)
    missing = [name for name in chosen if name not in scores]
    if not chosen:
        raise ExcitationError(f"no row was given to plot; the rows of {run.path}: {', '.join(scores)}.")
    if missing:
        raise ExcitationError(f"{run.path}: has no row {missing[0]!r}; its rows: {', '.join(scores)}.")
    first = scores[chosen[0]].by_group
    known = sorted({name for item in scores.values() for name in item.by_group}, reverse=True)
    names = sorted(known, key=lambda name: first.get(name, -1.0))
    columns = -(-len(names) // ROWS)
    rows = -(-len(names) // columns)
    width = 3.5 * columns
    # Number of legend entries per row: a letter takes about 0.06 inches, a colour half an inch.
    per_row = min(len(chosen), max(1, int(width / (0.5 + 0.06 * max(len(f"{name} (100.0)") for name in chosen)))))
    title = textwrap.wrap(_describe_selection(chosen, scores, given=methods is not None), int(width / 0.06))
    above = 0.16 * (len(title) + -(-len(chosen) // per_row))
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(width, 0.9 + above + 0.05 * rows * (1 + len(chosen))), layout="constrained")
        panels = figure.subplots(1, columns, squeeze=False)[0]
        for column, axes in enumerate(panels):
            # In reverse order, because the axis points upwards.
            end = len(names) - column * rows
            _bars(axes, names[max(0, end - rows) : end], chosen, scores, rows)
            axes.set_xlabel(f"pointing accuracy, %{' (difficult)' if difficult else ''}")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=per_row,
                      title="\n".join(title))  # fmt: skip
        panels[0].set_title(heading_of(run), loc="left")
    return figure


def _bars(
    axes: Axes, names: Sequence[str], methods: Sequence[str], scores: Mapping[str, Accuracy], rows: int
) -> None:  # fmt: skip
    height = 0.8 / len(methods)
    for index, method in enumerate(methods):
        values = [100 * scores[method].by_group.get(name, np.nan) for name in names]
        y = np.arange(len(names)) + 0.4 - height * (index + 0.5)
        axes.barh(y, values, height, color=colour(index), label=f"{method} ({100 * scores[method].mean:.1f})")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - rows - 0.6, len(names) - 0.4)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)


def _default_rows(scores: Mapping[str, Accuracy]) -> list[str]:
    """Return the methods of Excitation Backprop at their best layers, and the best other method."""
    means = {name: item.mean for name, item in scores.items()}
    plain = {name: name.partition(" ")[0] for name in means}
    chosen = []
    for own in ("c-mwp", "mwp", "r-mwp"):
        rows = [name for name in means if plain[name] == own]
        chosen += [max(rows, key=lambda name: means[name])] if rows else []
    others = [name for name in means if plain[name] not in {*OWN, "centre"}]
    return [*chosen, *([max(others, key=lambda name: means[name])] if others else [])][:BARS] or list(means)[:BARS]


def _describe_selection(chosen: Sequence[str], scores: Mapping[str, Accuracy], *, given: bool) -> str:
    """Describe which methods are omitted and why; empty if none is omitted."""
    if len(chosen) == len(scores):
        return ""
    rule = "as given" if given else "those of Excitation Backprop and the best other one by its mean (in brackets)"
    return f"{len(chosen)} of {len(scores)} rows of the table: {rule}"


def _all_outcomes(run: Results, difficult: bool) -> dict[str, Outcomes]:
    """Return the outcomes of each method of the pointing game.

    Raises:
        ExcitationError: the run is another game, or there are no such pairs.
    """
    PointingGame.check(run)
    every = {name: outcomes_of(rows, difficult=difficult) for name, rows in by_method(run).items()}
    judged = {name: item for name, item in every.items() if item is not None}
    if not judged:
        raise ExcitationError(f"{run.path}: has no {'difficult ' if difficult else ''}pairs to report.")
    return judged
