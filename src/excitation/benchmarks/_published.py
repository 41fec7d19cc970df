"""Figures from elsewhere, to be set beside one's own: on the paper's networks, or a file's."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from .._errors import ExcitationError

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
    """What others measured on the paper's networks, and two of the paper's own figures as they were quoted.

    The paper's tables could not be read. Each row's name says whose figure it is; the notes say where it stands.
    """
    return _figures(json.loads((files(__package__) / "paper.json").read_text(encoding="utf-8")), "paper.json")


def read_published(path: str | os.PathLike[str]) -> PublishedFigures:
    """Figures from a JSON file, as `FORM` shows.

    Raises:
        ExcitationError: it cannot be read, or is of another form.
    """
    place = Path(path)
    try:
        return _figures(json.loads(place.read_text(encoding="utf-8")), str(place))
    except (OSError, ValueError, RecursionError) as error:
        raise ExcitationError(f"{place}: cannot be read as published figures: {error}.") from error


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
