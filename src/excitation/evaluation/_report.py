"""The tables of any set of runs, as `excitation report` prints them, and published figures to set beside."""

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
    """Published figures, game by game.

    Attributes:
        games: rows of each game's table.
        notes: what a reader must know of them, their source first.
    """

    games: dict[str, Published]
    notes: tuple[str, ...]


def paper_figures() -> PublishedFigures:
    """The paper's Tables 1 to 5, and TorchRay's run of the pointing game on the paper's VGG16.

    `"pointing"` is Table 1, `"contrast"` Table 2, `"localization"` Table 3, `"phrases"` Table 4, `"phrases by type"`
    Table 5; all in percent but the parameters alpha and gamma. Each row's name says whose figure it is.

    Source: Zhang et al., ECCV 2016; docs/pointing.csv of TorchRay.
    """
    return _figures(json.loads((files(__package__) / "paper.json").read_text(encoding="utf-8")), "paper.json")


def read_published(path: str | os.PathLike[str]) -> PublishedFigures:
    """Figures from a JSON file, as `FORM` shows.

    Raises:
        ExcitationError: it cannot be read, is of another form, or names a game that no table can show.
    """
    check_path("the file of published figures", path)
    place = Path(path)
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExcitationError(f"{place}: cannot be read as published figures: {error}.") from error
    found = _figures(content, str(place))
    shown = [name for name, game in GAMES.items() if not game.by_layer]
    unknown = [name for name in found.games if name not in shown]
    if unknown or not found.games:
        named = f"names the game {unknown[0]!r}" if unknown else "names no game"
        raise ExcitationError(f"{place}: {named}; published figures can be given for {', '.join(shown)}.")
    return found


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
        game_of(run)
        if not run.rows:
            raise ExcitationError(
                f"{run.path}: has no results to report: {len(run.left_out)} pairs were left out, {len(run.problems)}"
                " problems are listed in it (--problems shows them)."
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


def _figures(content: Any, where: str) -> PublishedFigures:
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
        raise ExcitationError(f"{where}: is not of the form {FORM}.") from error
    return PublishedFigures(games, tuple(map(str, notes)))


def _with_published(table: Table, published: Published) -> Table:
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
