"""The list of all games. A new game requires a module and an entry in this list."""

from __future__ import annotations

from .._errors import ExcitationError
from ._deletion import DeletionGame
from ._game import Game
from ._grid import GridGame
from ._layers import LayerGame
from ._localization import LocalizationGame
from ._pointing_game import ContrastGame, PointingGame
from ._results import Results

GAMES: dict[str, type[Game]] = {
    game.name: game for game in (PointingGame, ContrastGame, LayerGame, LocalizationGame, GridGame, DeletionGame)
}
"""All games by name, in the order of the report."""


def game_of(run: Results) -> type[Game]:
    """Return the game of a run.

    Raises:
        ExcitationError: the game is unknown.
    """
    name = str(run.configuration.get("game"))
    if name not in GAMES:
        raise ExcitationError(
            f"{run.path}: contains results of the unknown game {name!r}; the known games: {', '.join(GAMES)}."
        )
    return GAMES[name]
