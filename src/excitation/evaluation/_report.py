"""The tables of `excitation report` for any set of runs, and published values for comparison."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from .._checks import check_path
from .._errors import ExcitationError
from ._games import GAMES, game_of
from ._results import Results
from ._statistics import SAMPLES, Average
from ._tables import EMPTY, Cell, Table

Published = dict[str, dict[tuple[str, str], float]]
"""For each row's name, percent by column: data set with network as the group, and subset."""

FORM = '{"pointing": {"METHOD": {"DATA, NETWORK": {"All": 80.0, "Diff.": 66.8}}}, "notes": ["..."]}'


@dataclass(frozen=True)
class PublishedFigures:
    """Published values for comparison, by game.

    Attributes:
        games: rows for the table of each game.
        notes: notes on the values. The first note is the source.
    """

    games: dict[str, Published]
    notes: tuple[str, ...]


def paper_figures() -> PublishedFigures:
    """Return Tables 1 to 5 of the paper, and TorchRay's results of the pointing game with the VGG16 of the paper.

    `"pointing"` is Table 1, `"contrast"` Table 2, `"localization"` Table 3, `"phrases"` Table 4, and
    `"phrases by type"` Table 5. All values are in percent, except the parameters alpha and gamma. The name of each row
    contains the source.

    Source: Zhang et al., ECCV 2016; docs/pointing.csv of TorchRay.
    """
    return _figures(json.loads((files(__package__) / "paper.json").read_text(encoding="utf-8")), "paper.json")


def read_published(path: str | os.PathLike[str]) -> PublishedFigures:
    """Read published values from a JSON file in the format `FORM`.

    Raises:
        ExcitationError: the file cannot be read, has another format, or contains a game without a table.
    """
    check_path("the file of published figures", path)
    file = Path(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExcitationError(f"{file}: cannot be read as published figures: {error}.") from error
    published = _figures(content, str(file))
    shown = [name for name, game in GAMES.items() if not game.by_layer]
    unknown = [name for name in published.games if name not in shown]
    if unknown or not published.games:
        problem = f"contains the game {unknown[0]!r}" if unknown else "contains no game"
        raise ExcitationError(f"{file}: {problem}; published figures can be given for {', '.join(shown)}.")
    return published


def report_tables(
    runs: Sequence[Results],
    *,
    average: Average = "mean",
    difficult: bool = False,
    samples: int = SAMPLES,
    published: PublishedFigures | None = None,
) -> list[Table]:
    """Return all tables of the runs. Runs of one game share their tables.

    Args:
        runs: results of any games.
        average: mean over categories, as in the paper, or pooled over pairs.
        difficult: whether layer sweeps use only difficult pairs. The tables of the pointing game contain both subsets.
        samples: number of bootstrap samples.
        published: published values, which are added to the first table of the same game.

    Raises:
        ExcitationError: there is no run, a run has no results or an unknown game, or two runs have the same heading.
    """
    if not runs:
        raise ExcitationError("no results were given; give at least one run to report.")
    for run in runs:
        game_of(run)
        if not run.rows:
            raise ExcitationError(
                f"{run.path}: has no results to report: {len(run.left_out)} pairs were left out, and"
                f" {len(run.problems)} problems were recorded (--problems lists them)."
            )
    tables: list[Table] = []
    for name, game in GAMES.items():
        own = [run for run in runs if game_of(run) is game]
        if not own:
            continue
        first, *others = game.tables(own, average=average, difficult=difficult, samples=samples)
        if published is not None and published.games.get(name):
            first = _with_published(first, published.games[name])
            first = dataclasses.replace(first, notes=(*first.notes, *published.notes))
        tables += [first, *others]
    return tables


def _figures(content: Any, source: str) -> PublishedFigures:
    try:
        notes = tuple(filter(None, [content.get("source", ""), *content.get("notes", [])]))
        games = {
            game: {
                method: {
                    (group, subset): float(value) for group, cells in columns.items() for subset, value in cells.items()
                }
                for method, columns in rows.items()
            }
            for game, rows in content.items()
            if game not in {"source", "notes"}
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise ExcitationError(f"{source}: does not have the format {FORM}.") from error
    return PublishedFigures(games, tuple(map(str, notes)))


def _with_published(table: Table, published: Published) -> Table:
    """Add rows of published values to a table. Values without a matching run get new columns."""
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
