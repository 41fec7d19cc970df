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
import time
from pathlib import Path

UNITS = 600


def write_units(path: str, units: int | str = UNITS) -> None:
    """A run in small: rows that depend on the unit alone, but for the time."""
    from excitation.benchmarks._sqlite import Row
    from excitation.benchmarks._store import open_store

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
    from excitation.benchmarks._store import open_store

    with open_store(path, {"seed": 7}, planned=UNITS) as store:
        store.add("0000")
        Path(f"{path}.held").touch()
        time.sleep(60)


def point(path: str, data: str) -> None:
    """A pointing game with a real network in small."""
    from pointing_world import play

    play(Path(path), Path(data))


def game(name: str, path: str, data: str) -> None:
    """Any of the games with a real network in small."""
    from games_world import play_game

    play_game(name, Path(path), Path(data))


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

    import excitation.benchmarks

    assert excitation.benchmarks
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
