"""Reports on runs of the pointing game: the paper's Table 1, categories, and methods compared in pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from .._errors import ExcitationError
from ._published import Published
from ._results import Results
from ._rows import (
    POINTING,
    Measure,
    all_outcomes,
    by_method,
    heading_of,
    headings_of,
    hit,
    notes_of,
    ordered,
    outcomes_of,
    row_name,
    told_apart,
)  # fmt: skip
from ._statistics import SAMPLES, Average, accuracy, compare, interval, wins
from ._tables import EMPTY, Cell, Table, percent


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
    names: list[tuple[str, bool]] = [("All", False), ("Diff.", True)]
    over = "mean over categories" if average == "mean" else "pooled over pairs"
    return score_table(
        runs, f"{title}: accuracy in percent, {over}", subsets=names, average=average, intervals=intervals,
        samples=samples,
    )  # fmt: skip


def with_published(table: Table, published: Published) -> Table:
    """A table with rows of published figures below; what no run measured gets columns of its own."""
    other = [column for figures in published.values() for column in figures if column not in table.columns]
    groups = dict.fromkeys(group for group, _ in other)
    columns = (*table.columns, *((group, name) for group in groups for name in dict.fromkeys(
        name for own, name in other if own == group)))  # fmt: skip
    empty = (EMPTY,) * (len(columns) - len(table.columns))
    rows = [(name, (*cells, *empty)) for name, cells in table.rows]
    for name, figures in published.items():
        given = (figures.get(column) for column in columns)
        rows.append((name, tuple(EMPTY if f is None else Cell(f"{f:.1f}", value=f) for f in given)))
    return dataclasses.replace(table, columns=columns, rows=tuple(rows))


def score_table(
    runs: Sequence[Results],
    title: str,
    *,
    subsets: Sequence[tuple[str, bool]] = (("", False),),
    measures: Sequence[tuple[str, Measure]] = (("", hit),),
    games: Collection[str] = POINTING,
    average: Average = "mean",
    intervals: bool = False,
    samples: int = SAMPLES,
) -> Table:
    """What each method measured on each run, in percent: methods down, runs across.

    Args:
        runs: results of one game, each of one data set and network.
        title: of the table.
        subsets: name, and whether only difficult pairs count.
        measures: name, and what is added up.
        games: that are expected.
        average: over categories or pairs.
        intervals: with 95 % bootstrap intervals over images.
        samples: of the bootstrap.

    Raises:
        ExcitationError: no run, two that cannot be told apart, or another game.
    """
    several: set[str] = set().union(*(told_apart(run) for run in runs))
    headings = headings_of(runs)
    tables = {name: by_method(run, several, games) for name, run in zip(headings, runs, strict=True)}
    names = ordered(dict.fromkeys(name for table in tables.values() for name in table))
    kinds = [(f"{m} {s}".strip(), measure, hard) for m, measure in measures for s, hard in subsets]
    cells: dict[str, list[Cell]] = {name: [] for name in names}
    for group in headings:
        for _, measure, hard in kinds:
            found = {name: outcomes_of(tables[group].get(name, []), difficult=hard, measure=measure) for name in names}
            values = {name: getattr(accuracy(item), average) for name, item in found.items() if item is not None}
            best = max(values.values(), default=None)
            for name in names:
                outcomes = found[name]
                if outcomes is None:
                    cells[name].append(EMPTY)
                    continue
                ends = interval(outcomes, average, samples=samples) if intervals else None
                cells[name].append(percent(values[name], ends, best=values[name] == best))
    notes = list(notes_of(runs, difficult=any(hard for _, hard in subsets)))
    if intervals:
        notes.insert(0, f"In brackets: 95 % intervals, bootstrap over images with {samples} samples.")
    columns = tuple((group, kind) for group in headings for kind, _, _ in kinds)
    return Table(title, "Method", columns, tuple((name, tuple(row)) for name, row in cells.items()), tuple(notes))


def category_table(run: Results, *, difficult: bool = False) -> Table:
    """Accuracy of each method by category, and in how many categories it is best.

    Args:
        run: results of the pointing game.
        difficult: of the difficult pairs only.

    Raises:
        ExcitationError: there are no such pairs.
    """
    found = all_outcomes(run, difficult)
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
    found = all_outcomes(run, difficult)
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
