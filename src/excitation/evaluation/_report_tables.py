"""All tables of a set of runs, game by game, as `excitation report` prints them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from .._errors import ExcitationError
from ._layer_report import layer_tables
from ._localization_report import localization_table
from ._published import PublishedFigures
from ._report import pointing_table, score_table, with_published
from ._results import Results
from ._rows import game_of, hit, value
from ._statistics import SAMPLES, Average
from ._tables import Table

GAMES = ("pointing", "contrast", "layers", "localization", "grid", "deletion")
"""In the order of the report."""


def report_tables(
    runs: Sequence[Results],
    *,
    average: Average = "mean",
    difficult: bool = False,
    samples: int = SAMPLES,
    published: PublishedFigures | None = None,
) -> list[Table]:
    """Every table that the runs give: runs of one game share theirs.

    Args:
        runs: results of any games.
        average: over categories, as the paper, or over pairs.
        difficult: layer sweeps of the difficult pairs only; the pointing game's tables show both side by side.
        samples: of the bootstrap.
        published: figures to set beside those of the same game, below its first table.

    Raises:
        ExcitationError: no run, one without results, an unknown game, or two runs that cannot be told apart.
    """
    if not runs:
        raise ExcitationError("no results were given to report.")
    for run in runs:
        if game_of(run) not in GAMES:
            raise ExcitationError(f"{run.path}: holds results of {game_of(run)!r}, which cannot be reported.")
        if not run.rows:
            raise ExcitationError(
                f"{run.path}: has no results to report: {len(run.left_out)} pairs were left out, {len(run.problems)}"
                " problems are listed in it (--problems shows them)."
            )
    tables: list[Table] = []
    for game in GAMES:
        own = [run for run in runs if game_of(run) == game]
        if not own:
            continue
        first, *others = _tables_of(game, own, average, difficult, samples)
        if published is not None and published.games.get(game):
            first = with_published(first, published.games[game])
            first = dataclasses.replace(first, notes=(*first.notes, *published.notes))
        tables += [first, *others]
    return tables


def _tables_of(game: str, runs: Sequence[Results], average: Average, difficult: bool, samples: int) -> list[Table]:
    if game == "layers":
        sweeps = [layer_tables(run, average=average, difficult=difficult, samples=samples) for run in runs]
        return [table for sweep in sweeps for table in sweep]
    if game == "localization":
        return [localization_table(runs, samples=samples)]
    if game == "grid":
        return [
            score_table(
                runs,
                "Grid pointing game, in percent: maxima in the right cell, and its share of the positive attention",
                measures=(("Hits", hit), ("Share", value)),
                games=("grid",),
                average="pooled",
                intervals=True,
                samples=samples,
            )
        ]
    if game == "deletion":
        return [_deletion_table(runs, samples)]
    title = "Contrast analysis" if game == "contrast" else "Pointing game"
    tables = [pointing_table(runs, average=average, intervals=True, samples=samples, title=title)]
    if any(row.value is not None for run in runs for row in run.rows):
        tables.append(
            score_table(
                [_with_values(run) for run in runs],
                "Energy-based pointing: share of the positive attention on the category, in percent",
                subsets=(("All", False), ("Diff.", True)),
                measures=(("", value),),
                average=average,
                intervals=True,
                samples=samples,
            )
        )
    return tables


def _deletion_table(runs: Sequence[Results], samples: int) -> Table:
    """Areas under the curves; deletion is best low, so nothing is marked there."""
    table = score_table(
        runs,
        "Deletion (low is good) and insertion (high is good): area under the curve of the score, in percent",
        measures=(
            ("Deletion", lambda row: row.series[0]), ("Insertion", lambda row: row.series[1]), ("Difference", value)
        ),
        games=("deletion",),
        average="pooled",
        intervals=True,
        samples=samples,
    )  # fmt: skip
    columns = range(len(table.columns))
    worst = {place for place in columns if table.columns[place][1] == "Deletion"}
    lowest = {place: min((cells[place].value or 0.0) for _, cells in table.rows) for place in worst}
    rows = tuple(
        (
            name,
            tuple(
                dataclasses.replace(cell, best=cell.value == lowest[place]) if place in worst else cell
                for place, cell in enumerate(cells)
            ),
        )
        for name, cells in table.rows
    )
    return dataclasses.replace(table, rows=rows)


def _with_values(run: Results) -> Results:
    """Without the rows that measured nothing beside the hit, as the centre's."""
    return dataclasses.replace(run, rows=tuple(row for row in run.rows if row.value is not None))
