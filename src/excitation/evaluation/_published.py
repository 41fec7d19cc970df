"""Published figures, to be set beside one's own: the paper's, or a file's."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from .._checks import check_path
from .._errors import ExcitationError

Published = dict[str, dict[tuple[str, str], float]]
"""For each row's name, percent by column: data set with network as the group, and subset."""

GAMES = ("pointing", "contrast", "localization", "grid", "deletion")
"""Games whose table can show published figures."""

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
    unknown = [game for game in found.games if game not in GAMES]
    if unknown or not found.games:
        named = f"names the game {unknown[0]!r}" if unknown else "names no game"
        raise ExcitationError(f"{place}: {named}; published figures can be given for {', '.join(GAMES)}.")
    return found


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
