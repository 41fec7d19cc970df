"""Localization (the paper's Table 3): its run at every threshold, one chosen on held-out images, errors on others."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.style
import numpy as np
import torch
from matplotlib.figure import Figure

from .._checks import check_number
from .._errors import ExcitationError
from .._maps import ALPHAS, SIDE, boxes_of_map
from ..data._annotations import AnnotatedImage
from ..data._dataset import AnnotatedImages
from ..models._loaded import LoadedModel
from ._charts import STYLE, colour, one_axes
from ._classes import Mixture
from ._game import Game, Progress
from ._localization import OVERLAP, AlphaSearch, best_overlap, search_alpha
from ._method_runner import AnyMethod
from ._results import Results
from ._rows import by_method, heading_of, headings_of, held_out_images, images_with_rows, notes_of, ordered, told_apart
from ._running import Layers, LeftOut
from ._setup import Pairs, set_up, squashed
from ._statistics import SAMPLES, Average, Interval, Outcomes, accuracy, interval
from ._store import Row
from ._tables import EMPTY, Cell, Table, percent

HELD_OUT = 5
"""Every fifth image chooses the threshold."""


@dataclass
class LocalizationGame(Game):
    """Does a box around what a map is high on overlap with the object?"""

    name = "localization"
    called = "localization"
    title = "Localization: error in percent"
    drawn = "alpha"

    @classmethod
    def tables(cls, runs: Sequence[Results], *, average: Average, difficult: bool, samples: int) -> list[Table]:
        """Thresholds and errors."""
        del average, difficult
        return [localization_table(runs, samples=samples)]

    @classmethod
    def figure(cls, run: Results, *, difficult: bool) -> Figure:
        """Errors against the threshold."""
        del difficult
        return alpha_figure(run)

    def play(self, image_id: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Rows of one image, and its pairs that are left out."""
        return self.setup.play(image_id, device, self._rows, crowds=False)

    def _rows(self, image: AnnotatedImage, one: torch.Tensor, pairs: Pairs) -> Iterator[Row]:
        grid = self.setup.preprocessing.size
        for answer in self.setup.runner.run(image.path, one, pairs):
            boxes = boxes_of_map(self.setup.smoothed(answer, grid), image.size, ALPHAS, grid=grid)
            truths = [item.box for item in image.of(answer.category) if not item.crowd]
            overlaps = tuple(best_overlap(box, truths) for box in boxes)
            best = max(overlaps)
            mass = float(answer.attention.double().sum())
            yield Row(
                image.id, answer.category, answer.method, answer.layer, None, None, best >= OVERLAP, False, mass,
                answer.seconds, best, overlaps,
            )  # fmt: skip


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
    """Locate the object of each category that an image is known to hold, or go on where an earlier call was stopped.

    The picture is squashed to a square, the label is given, and at each threshold the box is put around all values
    above that multiple of the map's mean. A row's series holds the box's overlap with the best instance at each
    threshold, its value the largest of them. The threshold is chosen later, on every K-th image.

    Args:
        model: the network with its preprocessing.
        data: annotated images.
        methods: by the name that tables show; the centre, which has no map, is passed over.
        layers: where maps are taken, for all methods or for each by name; `None` is the method's or model's choice.
        out: the file of results (see `open_store`).
        mapping: classes of each category, as `run_pointing` takes it.
        mixture: the parts of a category's classes in its target: `"equal"`, or by the network's own
            `"probability"` in the picture, for all methods alike (r-MWP always takes the latter).
        blur: names of methods whose maps are smoothed first; those with `"blur"` among their `steps` if not given.
        side: of the square, in pixels.
        held_out: K.
        limit: only the first images.
        shard: `(index, count)`: only every count-th image from the index-th, counted from 0.
        network: the model's name in tables; its spec if not given.
        progress: called after each image.

    Returns:
        All results of the file.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: the model, a layer or a method cannot be used as asked.

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
    """How a method localizes.

    Attributes:
        search: the threshold chosen on the held-out images, with all errors there.
        error: share of wrong boxes among the others, 0 to 1.
        interval: of the error.
        judged: how many boxes the others have.
    """

    search: AlphaSearch
    error: float
    interval: Interval
    judged: int


def localized(
    run: Results, several: set[str] | None = None, *, samples: int = SAMPLES
) -> dict[str, Localized]:  # fmt: skip
    """The threshold of each method, chosen on every K-th image of the run, and its error on all others.

    Args:
        run: results of a localization.
        several: methods whose layers are told apart; those that were asked at several in this run if not given.
        samples: of the bootstrap over images.

    Raises:
        ExcitationError: another game; nothing held out, or nothing left to judge.
    """
    LocalizationGame.check(run)
    methods = by_method(run, several)
    alphas, least = (run.configuration[name] for name in ("alphas", "overlap"))
    step, held = held_out_images(run)
    assert isinstance(alphas, list)
    assert isinstance(least, float)
    found = {}
    for name, rows in methods.items():
        first = [row for row in rows if row.image in held]
        others = [row for row in rows if row.image not in held]
        if not first or not others:
            raise ExcitationError(
                f"{run.path}: the {len(run.finished)} images that are finished give {name} {len(first)} boxes among"
                f" the held-out ones (every {step}-th) and {len(others)} among the others; more images are needed."
            )
        search = search_alpha(np.array([row.series for row in first], dtype=np.float64), alphas, least=least)
        place = alphas.index(search.alpha)
        wrong = Outcomes.from_pairs((row.image, row.category, row.series[place] < least) for row in others)
        # ImageNet's error counts images alike, whatever their class.
        error = accuracy(wrong).pooled
        found[name] = Localized(search, error, interval(wrong, "pooled", samples=samples), len(others))
    return found


def localization_table(runs: Sequence[Results], *, samples: int = SAMPLES) -> Table:
    """Localization error: methods down; data sets and networks across, each with the threshold and both errors.

    Args:
        runs: results of localizations.
        samples: of the bootstrap.

    Raises:
        ExcitationError: no run, two that cannot be told apart, another game, or too few images.
    """
    headings = headings_of(runs)
    several: set[str] = set().union(*(told_apart(run) for run in runs))
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
        step, aside = held_out_images(run)
        images = images_with_rows(run.rows)
        held = sum(image in aside for image in images)
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
    """Localization error on the held-out images against the threshold; rings mark the chosen ones.

    Args:
        run: results of a localization.

    Raises:
        ExcitationError: another game, or too few images.
    """
    found = localized(run, samples=1)
    with matplotlib.style.context(["default", STYLE]):
        figure, axes = one_axes(4.6, 2.8)
        for place, name in enumerate(ordered(found)):
            search = found[name].search
            alphas = sorted(search.errors)
            axes.plot(alphas, [100 * search.errors[alpha] for alpha in alphas], color=colour(place), linewidth=1.2,
                      label=name)  # fmt: skip
            axes.plot(search.alpha, 100 * search.error, marker="o", markersize=6, markerfacecolor="white",
                      color=colour(place))  # fmt: skip
        axes.set_xlabel("alpha: threshold in multiples of the map's mean")
        axes.set_ylabel("localization error, %, held out")
        axes.set_ylim(0, 103)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes.set_title(heading_of(run), loc="left")
    return figure
