"""The pointing game: is the maximum of a map on the category? Its run, its tables, its figure by category."""

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
"""Columns of each table, and whether only the difficult pairs count there."""

BARS = 4
"""Methods in a figure by category."""

ROWS = 24
"""Categories below each other, before they go on beside."""


@dataclass
class PointingGame(Game):
    """Does the maximum lie on the category, or near it?

    Attributes:
        difficult: categories of each image that are difficult, from a list; `None` for the paper's rule.
        tolerance: how near a maximum must be.
        truth: by segments or boxes.
        crowds: whether crowds are instances that a point can hit.
    """

    difficult: Mapping[str, Collection[str]] | None
    tolerance: Tolerance
    truth: Truth
    crowds: bool

    name = "pointing"
    called = "the pointing game"
    title = "Pointing game"
    columns = (Column(),)
    points = True
    sweepable = True
    drawn = "categories"

    @classmethod
    def tables(cls, runs: Sequence[Results], *, average: Average, difficult: bool, samples: int) -> list[Table]:
        """The accuracy of points, and the energy on the category where a map has any."""
        del difficult  # both subsets stand side by side
        tables = [pointing_table(runs, average=average, intervals=True, samples=samples, title=cls.title)]
        if any(row.value is not None for run in runs for row in run.rows):
            # Without the rows that measured nothing beside the hit, as the centre's.
            measured = [
                dataclasses.replace(run, rows=tuple(row for row in run.rows if row.value is not None)) for run in runs
            ]
            title = "Energy-based pointing: share of the positive attention on the category, in percent"
            tables.append(
                score_table(
                    measured, title, (Column(of=value),), subsets=SUBSETS, average=average, intervals=True,
                    samples=samples,
                )
            )  # fmt: skip
        return tables

    @classmethod
    def figure(cls, run: Results, *, difficult: bool) -> Figure:
        """Bars by category."""
        return category_figure(run, difficult=difficult)

    def configuration(self, game: str, network: str | None, limit: int | None) -> dict[str, object]:
        """All that results depend on."""
        listed = None if self.difficult is None else {key: sorted(item) for key, item in self.difficult.items()}
        return {
            **self.setup.configuration(game, network, limit),
            "difficult": "rule" if listed is None else hash_content(listed),
            "tolerance": dataclasses.asdict(self.tolerance),
            "truth": self.truth,
            "crowds": self.crowds,
        }

    def play(self, image_id: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Rows of one image, and its pairs that are left out."""
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
            mass = float(answer.attention.double().sum())
            x0, y0, x1, y1 = box_pixels(box, image.size)
            # Enlarged once for both measures: on small networks this takes as long as the map itself.
            enlarged = torch.from_numpy(enlarge_map(answer.attention, (y1 - y0, x1 - x0)))
            point: tuple[int, int] | None = None
            if not points_nowhere(answer.attention):
                point = point_of_map(enlarged, image.size, box=box, blur=answer.method in blur)
            row = self._row(image, answer.method, answer.layer, answer.category, point, truths, hard, radius)
            energy = energy_in_region(enlarged, truths[answer.category][y0:y1, x0:x1])
            yield dataclasses.replace(row, mass=mass, seconds=answer.seconds, value=energy)

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
                image.path, f"image {image.id!r} is not in the list of difficult images; taken for not difficult."
            )
        return category in self.difficult.get(image.id, ())


class ContrastGame(PointingGame):
    """The pointing game of methods with and without the dual unit (the paper's Table 2)."""

    name = "contrast"
    called = "the contrast analysis"
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
    """Play the pointing game, or go on where an earlier call was stopped.

    All categories of an image are asked at once, and all layers too where a method can; each method sees each image
    once. What is wrong with an image is noted, and the run goes on.

    Args:
        model: the network with its preprocessing.
        data: annotated images.
        methods: by the name that tables show.
        layers: where maps are taken, for all methods or for each by name; `None` is the method's or model's choice.
        out: the file of results (see `open_store`).
        mapping: classes of each category. If not given, the data set's own; if it has none, a category is the class
            of the same name. A category without classes is left out and counted.
        difficult: categories of each image that are difficult, from a list; by the paper's rule if not given.
        tolerance: how near a maximum must be; 15 pixels of the original picture if not given.
        mixture: the parts of a category's classes in its target: `"equal"`, or by the network's own
            `"probability"` in the picture, for all methods alike (r-MWP always takes the latter).
        blur: names of methods whose maps are smoothed first; those with `"blur"` among their `steps` if not given.
        truth: by segments or boxes; the data set's own if not given.
        crowds: whether crowd regions are instances that a point can hit. For the rule of what is difficult they always
            count: it is about the picture, of which they cover a part.
        shortest: shortest side of the network's input, aspect ratio kept; `None` for the model's own preprocessing.
        limit: only the first images.
        shard: `(index, count)`: only every count-th image from the index-th, counted from 0.
        network: the model's name in tables; its spec if not given.
        name: of the game, which decides how it is reported: `"pointing"`, `"layers"` or `"contrast"`.
        extra: what else belongs to the configuration, as JSON can hold it.
        progress: called after each image.

    Returns:
        All results of the file.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: the model, a layer or a method cannot be used as asked.

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
    """Accuracy as the paper's Table 1: methods down; data sets and networks across, all pairs and difficult ones.

    A method at several layers has a row for each.

    Args:
        runs: results of the pointing game, each of one data set and network.
        average: over categories, as the paper, or over pairs.
        intervals: with 95 % bootstrap intervals over images.
        samples: of the bootstrap.
        title: what is shown.

    Returns:
        Percent; the best of each column marked.

    Raises:
        ExcitationError: no run, two runs of the same data set and network, or another game.
    """
    for run in runs:
        PointingGame.check(run)
    over = "mean over categories" if average == "mean" else "pooled over pairs"
    return score_table(
        runs, f"{title}: accuracy in percent, {over}", PointingGame.columns, subsets=SUBSETS, average=average,
        intervals=intervals, samples=samples,
    )  # fmt: skip


def category_table(run: Results, *, difficult: bool = False) -> Table:
    """Accuracy of each method by category, and in how many categories it is best.

    Args:
        run: results of the pointing game.
        difficult: of the difficult pairs only.

    Raises:
        ExcitationError: there are no such pairs.
    """
    found = _all_outcomes(run, difficult)
    tables = {name: accuracy(outcomes).by_category for name, outcomes in found.items()}
    pairs = {name: dict(zip(item.categories, item.pairs.sum(0), strict=True)) for name, item in found.items()}
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
    won = wins(found)
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
    """Every method against one of them, on the pairs that both have.

    Args:
        run: results of the pointing game.
        reference: the row that the others are compared with, as `pointing_table` calls it.
        average: over categories or pairs.
        difficult: of the difficult pairs only.
        samples: of bootstrap and randomisation.

    Raises:
        ExcitationError: no such row, or there are no such pairs.
    """
    found = _all_outcomes(run, difficult)
    reference = row_name(reference)
    if reference not in found:
        raise ExcitationError(f"{run.path}: has no row {reference!r}; there is: {', '.join(found)}.")
    rows = []
    for name, outcomes in found.items():
        if name == reference:
            continue
        one = compare(outcomes, found[reference], average, samples=samples)
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
    """Pointing accuracy by category as bars, the easiest category of the first method on top.

    Args:
        run: results of the pointing game.
        methods: rows as `pointing_table` calls them; Excitation Backprop's own and the best of the others if not given.
        difficult: of the difficult pairs only.

    Raises:
        ExcitationError: no such row, or there are no such pairs.
    """
    found = _all_outcomes(run, difficult)
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
        axes.barh(y, values, thick, color=colour(place), label=f"{method} ({100 * scores[method].mean:.1f})")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - rows - 0.6, len(names) - 0.4)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)


def _telling(scores: Mapping[str, Accuracy]) -> list[str]:
    """Excitation Backprop's own at their best layers, and the best of the others."""
    means = {name: item.mean for name, item in scores.items()}
    plain = {name: name.partition(" ")[0] for name in means}
    chosen = []
    for own in ("c-mwp", "mwp", "r-mwp"):
        rows = [name for name in means if plain[name] == own]
        chosen += [max(rows, key=lambda name: means[name])] if rows else []
    others = [name for name in means if plain[name] not in {*OWN, "centre"}]
    return [*chosen, *([max(others, key=lambda name: means[name])] if others else [])][:BARS] or list(means)[:BARS]


def _which(chosen: Sequence[str], scores: Mapping[str, Accuracy], *, given: bool) -> str:
    """That others are left out, and by which rule; nothing where none is."""
    if len(chosen) == len(scores):
        return ""
    rule = "as named" if given else "Excitation Backprop's own and the best of the others by their mean, in brackets"
    return f"{len(chosen)} of {len(scores)} rows of the table: {rule}"


def _all_outcomes(run: Results, difficult: bool) -> dict[str, Outcomes]:
    """Of each method of the pointing game.

    Raises:
        ExcitationError: another game, or there are no such pairs.
    """
    PointingGame.check(run)
    found = {name: outcomes_of(rows, difficult=difficult) for name, rows in by_method(run).items()}
    judged = {name: item for name, item in found.items() if item is not None}
    if not judged:
        raise ExcitationError(f"{run.path}: has no {'difficult ' if difficult else ''}pairs to report.")
    return judged
