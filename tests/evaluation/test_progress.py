"""What a waiting person is told: the time that is left, by a clock that tests turn."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
import torch
from games_world import make_single, play_game
from pointing_world import make_data, play
from rich.console import Console

from excitation.cli import _console
from excitation.cli._console import ProgressDisplay, duration
from excitation.evaluation import _game, _grid


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still."""
    found = SimpleNamespace(now=0.0)
    found.perf_counter = found.monotonic = lambda: found.now
    for module in (_game, _grid, _console):
        monkeypatch.setattr(module, "time", found)
    return found


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(_console, "_STDERR", Console(file=io.StringIO(), force_terminal=True, width=100))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("world") / "coco")


def slow(clock, seconds=40.0):
    """A method for which the clock goes on."""

    def method(model, images, targets, *, layer=None):
        clock.now += seconds
        return torch.eye(6).expand(len(images), len(targets), 6, 6)

    method.configuration = "slow"
    return {"slow": method}


def shown(display):
    """The bar as text."""
    console = Console(file=io.StringIO(), width=100)
    console.print(display.bar.get_renderable())
    return " ".join(console.file.getvalue().split())


def test_the_bar_tells_what_is_left_of_slow_images(tmp_path, world, clock, terminal):
    bars = []
    with ProgressDisplay("pointing") as display:
        assert "left" not in shown(display)

        def show(state):
            display.show_game(state)
            bars.append(shown(display))

        play(tmp_path / "run", world, methods=slow(clock), layers=(None,), progress=show)
    assert bars[0].startswith("pointing: images")
    assert bars[0].endswith("1/12 about 7 min left")  # 11 of 40 s
    assert bars[5].endswith("6/12 about 4 min left")
    assert bars[10].endswith("11/12 about 40 s left")
    assert bars[11].endswith("12/12")


def test_a_resumed_run_goes_by_its_own_pace(tmp_path, world, clock, terminal):
    def stop(state):
        if state.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(tmp_path / "run", world, methods=slow(clock, 1.0), layers=(None,), progress=stop)
    bars = []
    with ProgressDisplay("pointing") as display:

        def show(state):
            display.show_game(state)
            bars.append(shown(display))

        play(tmp_path / "run", world, methods=slow(clock), layers=(None,), progress=show)
    assert bars[0].endswith("6/12 about 4 min left")  # 6 of 40 s, though five were there at once
    assert bars[-2].endswith("11/12 about 40 s left")


def test_photos_are_counted_before_the_first_mosaic(tmp_path, clock, terminal, monkeypatch):
    single = make_single(tmp_path / "coco")
    real = _grid.probabilities

    def slowly(*words):
        clock.now += 40
        return real(*words)

    monkeypatch.setattr(_grid, "probabilities", slowly)
    states, bars = [], []
    with ProgressDisplay("grid") as display:

        def show(state):
            display.show_game(state)
            states.append((state.counted, state.done, state.planned))
            bars.append(shown(display))

        play_game("grid", tmp_path / "run", single, progress=show)
    assert states == [(what, done, 12) for what in ("photos", "mosaics") for done in range(1, 13)]
    assert bars[5].endswith("6/12 about 4 min left")
    assert bars[5].startswith("grid: photos")
    assert bars[12].startswith("grid: mosaics")
    assert "photos" not in bars[12]


def test_without_a_terminal_a_line_tells_it_now_and_then(tmp_path, world, clock, capsys):
    with ProgressDisplay("pointing") as display:
        play(tmp_path / "run", world, methods=slow(clock), layers=(None,), limit=7, progress=display.show_game)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "excitation: pointing: 2 of 7 images, about 3 min left",
        "excitation: pointing: 4 of 7 images, about 2 min left",
        "excitation: pointing: 6 of 7 images, about 40 s left",
        "excitation: pointing: 7 of 7 images in 5 min",
    ]
    with ProgressDisplay("pointing") as display:  # nothing is left to do, and nothing is told
        play(tmp_path / "run", world, methods=slow(clock), layers=(None,), limit=7, progress=display.show_game)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (99.0, "99 s"),
        (100.0, "2 min"),
        (5999.0, "1 h 40 min"),
        (7500.0, "2 h 05 min"),
        (273600.0, "3 d 4 h"),
    ],
)
def test_times_as_one_says_them(seconds, text):
    assert duration(seconds) == text
