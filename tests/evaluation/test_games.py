"""The list of games: what each must have so that it is known everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from tests.conftest import document

from excitation import ExcitationError
from excitation.cli._app import app
from excitation.evaluation import Results, Row
from excitation.evaluation._game import Column, score_table
from excitation.evaluation._games import GAMES, game_of


def results(game, rows=()):
    """A run of two methods at layers of their own choice."""
    configuration = {"game": game, "data": {"name": "voc"}, "network": "net", "layers": {"a": [None], "b": [None]}}
    return Results(Path("voc.sqlite"), configuration, (0, 1), 1, ("1",), tuple(rows), (), (), ())


def test_every_game_has_a_command_and_a_line_in_the_documentation():
    commands = typer.main.get_command(app).commands["bench"].commands
    assert set(commands) == set(GAMES)
    text = document("benchmarks.md").read_text(encoding="utf-8")
    assert [name for name in GAMES if f"| `{name}` |" not in text] == []


def test_a_run_knows_its_game():
    for name, game in GAMES.items():
        run = results(name)
        assert game_of(run) is game
        game.check(run)
        if not game.drawn:
            with pytest.raises(ExcitationError, match="which has no figure"):
                game.figure(run, difficult=False)
        for other in GAMES.values():
            if not issubclass(game, other):
                with pytest.raises(ExcitationError, match=f"contains results of '{name}', not of {other.label}"):
                    other.check(run)
    with pytest.raises(ExcitationError, match="contains results of the unknown game 'chess'"):
        game_of(results("chess"))


@pytest.mark.parametrize(("best", "marked"), [("lowest", "b"), ("highest", "a")])
def test_the_best_of_a_column_is_its_lowest_or_highest(best, marked):
    rows = [Row("1", "cat", name, "default", None, None, False, False, 1.0, 0.1, share)
            for name, share in (("a", 0.75), ("b", 0.25))]  # fmt: skip
    columns = (Column("Area", lambda row: row.value, best),)
    table = score_table([results("deletion", rows)], "Areas", columns, average="pooled")
    assert [name for name, (cell,) in table.rows if cell.best] == [marked]
    assert table.columns[0][1] == "Area"
