"""A process that forks writers on request, so that tests can kill them without paying for imports each time.

Each line on its input is a JSON list of arguments for `WRITERS`; it answers with the writer's process id, and when
that ends, with its exit status (negative for a signal).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from excitation.evaluation import Progress

UNITS = 600


def write_units(path: str, units: int | str = UNITS) -> None:
    """A run in small: rows that depend on the unit alone, but for the time."""
    from excitation.evaluation._store import Row, open_store

    units = int(units)
    with open_store(path, {"seed": 7}, planned=units) as store:
        for number in range(units):
            name = f"{number:04d}"
            if name in store.finished:
                continue
            start = time.perf_counter()
            rng = random.Random(number)
            rows = [
                Row(name, f"c{c}", method, layer, rng.randrange(640), rng.randrange(480), rng.random() < 0.5,
                    rng.random() < 0.5, rng.random(), time.perf_counter() - start)
                for c in range(rng.randrange(5))
                for method in ("mwp", "c-mwp")
                for layer in ("pool4", "pool2")
            ]  # fmt: skip
            problems = [("images/9.jpg", "is broken.")] + ([(f"{name}.jpg", "is missing.")] if number % 9 == 0 else [])
            store.add(name, rows, left_out=[(name, "hat", "no class")], problems=problems)


def hold(path: str) -> None:
    """Keep a store open until killed."""
    from excitation.evaluation._store import open_store

    with open_store(path, {"seed": 7}, planned=UNITS) as store:
        store.add("0000")
        Path(f"{path}.held").touch()
        time.sleep(60)


UNITS_OF_A_LIFE = 2
"""The time of the second is that of the units after it; the first takes longer."""


class Death:
    """Kills the process it is in, by a real signal, at a random moment of the unit after its second.

    Args:
        seed: of the moment.
    """

    def __init__(self, seed: str) -> None:
        """Not begun."""
        self._part = random.Random(seed).random()
        self._before = 0.0
        self._sleeper: threading.Thread | None = None

    def __call__(self, state: Progress) -> None:
        """What a game calls after each unit."""
        if state.counted == "photos":
            return
        if state.done - state.earlier == UNITS_OF_A_LIFE:
            self._sleeper = threading.Thread(target=self._kill, args=[self._part * (state.seconds - self._before)])
            self._sleeper.start()
        self._before = state.seconds

    def wait(self) -> None:
        """A run that is over before its death waits for it."""
        if self._sleeper is not None:
            self._sleeper.join()

    def _kill(self, pause: float) -> None:
        time.sleep(pause)
        os.kill(os.getpid(), signal.SIGKILL)


def point(path: str, data: str, seed: str) -> None:
    """A pointing game with a real network in small, that is killed."""
    from pointing_world import play

    death = Death(seed)
    play(Path(path), Path(data), progress=death)
    death.wait()


def game(name: str, path: str, data: str, seed: str) -> None:
    """Any of the games with a real network in small, that is killed."""
    from games_world import play_game

    death = Death(seed)
    play_game(name, Path(path), Path(data), progress=death)
    death.wait()


WRITERS = {"write_units": write_units, "hold": hold, "point": point, "game": game}


class Writers:
    """The process, from a test's side."""

    def __init__(self) -> None:
        """Start it and wait until it has imported what writers need."""
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout.readline() == "ready\n"

    def start(self, name: str, *arguments: object) -> int:
        """Fork a writer; its process id."""
        self._process.stdin.write(json.dumps([name, *map(str, arguments)]) + "\n")
        self._process.stdin.flush()
        return self._answer("started")

    def kill(self, pid: int) -> int:
        """Kill a writer unless it has ended; its status."""
        assert pid > 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return self.status()

    def status(self) -> int:
        """Wait for the writer's end: its exit status, or minus the signal that ended it."""
        return self._answer("ended")

    def kill_often(self, out: Path, *words: object, kills: int = 3) -> None:
        """Run what kills itself amid its units, until so many died and left a file that is begun and not complete.

        Every run adds units and is then killed, whatever the machine's speed: no clock decides whether.
        """
        from excitation.evaluation import read_results

        for attempt in range(5):
            finished = 0
            for life in range(kills):
                self.start(*words, f"{attempt}.{life}")
                status, found = self.status(), read_results(out)
                if found.complete:  # the kill came late
                    break
                assert status == -signal.SIGKILL
                assert len(found.finished) >= finished + UNITS_OF_A_LIFE
                finished = len(found.finished)
            else:
                return
            out.unlink()
        raise AssertionError(f"not once {kills} kills in a row before the run was complete")

    def _answer(self, word: str) -> int:
        said, number = self._process.stdout.readline().split()
        assert said == word
        return int(number)

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def serve() -> None:
    """The process itself."""
    import games_world
    import torch

    import excitation.evaluation

    assert excitation.evaluation
    assert games_world
    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                WRITERS[name](*arguments)
                status = 0
            finally:
                os._exit(status)
        print("started", pid, flush=True)
        _, ended = os.waitpid(pid, 0)
        print("ended", os.waitstatus_to_exitcode(ended), flush=True)
    os._exit(0)


if __name__ == "__main__":
    serve()
