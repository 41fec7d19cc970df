"""Localization (the paper's Table 3): thresholds chosen on held-out images, errors on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._errors import ExcitationError
from ._localization import AlphaSearch, search_alpha
from ._results import Results
from ._rows import by_method, headings_of, held_out_images, images_with_rows, notes_of, ordered, told_apart
from ._sqlite import Row
from ._statistics import SAMPLES, Interval, Outcomes, accuracy, interval
from ._tables import EMPTY, Cell, Table, percent


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
    methods = by_method(run, several, ("localization",))
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
        search = search_alpha(_overlaps(first), alphas, least=least)
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
        "Localization: error in percent",
        "Method",
        tuple((name, column) for name in headings for column in ("alpha", "Held out", "Error")),
        tuple((name, tuple(row)) for name, row in cells.items()),
        (*notes, *notes_of(runs, difficult=False)),
    )


def _overlaps(rows: Sequence[Row]) -> np.ndarray:
    return np.array([row.series for row in rows], dtype=np.float64)
