"""The paper's Tables 1 to 3 and Fig. 6 in miniature, and their companions, on scenes of the symbol world.

`python -m experiments.paper_mini` (`make paper-mini`): every game is one `excitation bench` command, split over
processes by `--shard`, joined by `excitation merge`, printed by `excitation report`. Stopped at any moment, the same
command goes on. `--only NAME` plays some games; those that the paper has not, the grid game and deletion, are played
only when named (`make games-mini`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from excitation._files import write_whole

EXCITATION = [sys.executable, "-c", "from excitation.cli import main; main()"]

PEERS = "c-lrp@inception_3b,clrp@inception_3b,sglrp@inception_3b"
"""LRP with the same contrasts, where Excitation Backprop's maps are taken."""

POINTING = f"mwp,c-mwp,r-mwp,{PEERS},gradient,deconv,lrp-epsilon-plus,cam,grad-cam,layer-cam,centre"
LOCALIZATION = "mwp,c-mwp,gradient,deconv,lrp-epsilon-plus,cam,grad-cam"
GRID = f"mwp,c-mwp,r-mwp,{PEERS},gradient,deconv,lrp-epsilon-plus,cam,grad-cam"
DELETION = "mwp,c-mwp,r-mwp,gradient,deconv,lrp-epsilon-plus,cam,grad-cam"
LAYERS = "inception_4c,inception_4b,inception_4a,pool3,inception_3b,inception_3a,norm2,conv2,norm1,conv1"

GAMES = {
    "pointing": ["--methods", POINTING, "--layer", "inception_3b", "--shortest", "160"],
    "contrast": ["--layer", "inception_3b", "--shortest", "160"],
    "layers": ["--methods", "mwp,c-mwp,r-mwp", "--layer", LAYERS, "--shortest", "160"],
    "localization": ["--methods", LOCALIZATION, "--layer", "inception_3b", "--size", "224"],
    "grid-2": ["--methods", GRID, "--layer", "inception_3b", "--side", "2"],
    "grid-3": ["--methods", GRID, "--layer", "inception_3b", "--side", "3"],
    "deletion": ["--methods", DELETION, "--layer", "inception_3b", "--shortest", "160", "--steps", "20"],
}
"""What follows `excitation bench GAME`, beside the data, the model and the file of results."""

USUAL = ["pointing", "contrast", "layers", "localization"]
"""Those of the paper."""

WORLDS = {"symbol-scenes": "test", "dominant-symbols": "dominant"}
"""Folders, as tables call them, and their splits of the symbol world."""

TABLES = {
    "table_1": ["pointing"],
    "table_2": ["contrast"],
    "figure_6": ["layers"],
    "table_3": ["localization"],
    "grid": ["grid-2", "grid-3"],
    "deletion": ["deletion"],
}
"""The runs of each file below the results."""


def main() -> None:
    """Play what is not played yet, then write the tables and figures of all that has been played."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=GAMES, default=USUAL, metavar="NAME")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/paper_mini"))
    parser.add_argument("--results", type=Path, default=Path("docs/results/paper_mini"))
    given = parser.parse_args()
    folder = given.runs / str(given.scenes)
    clock = Clock(folder / "seconds.json")
    with clock.measuring("scenes"):
        worlds = [(folder / name, split) for name, split in WORLDS.items()]
        together([["symbols", "--count", given.scenes, "--split", split, "--out", out] for out, split in worlds])
    for name in given.only:
        with clock.measuring(name):
            play(folder, name, GAMES[name], given.workers, given.scenes)
    with clock.measuring("report"):
        report(folder, given.results, given.scenes)
    if all((folder / f"{name}.sqlite").exists() for name in USUAL):
        write_notes(given.results, clock.seconds, given.scenes, given.workers)


class Clock:
    """Seconds of each part, added up over interrupted sessions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
        self._name = ""

    def measuring(self, name: str) -> Clock:
        """A context whose time counts for a part."""
        self._name = name
        return self

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        taken = time.perf_counter() - self._start
        self.seconds[self._name] = self.seconds.get(self._name, 0.0) + taken
        write_whole(self._path, json.dumps(self.seconds, indent=1))


def words_of(name: str, options: list[str], folder: Path, scenes: int) -> list[object]:
    """The `excitation` command of one game, without its file of results."""
    game = name.partition("-")[0]
    world = "dominant-symbols" if game in {"localization", "grid", "deletion"} else "symbol-scenes"
    words: list[object] = ["bench", game, "--data", f"coco:{folder / world}", "--model", "symbols", *options]
    if game == "grid":
        side = int(options[options.index("--side") + 1])  # larger mosaics cost more: as many cells of either kind
        words += ["--cell", "160", "--probability", "sigmoid", "--mosaics", 4 * scenes // (5 * side**2)]
    if game == "deletion":
        words += ["--probability", "sigmoid", "--limit", max(1, scenes // 10)]
    return words


def play(folder: Path, name: str, options: list[str], workers: int, scenes: int) -> None:
    """One game in shards, and the shards joined."""
    whole = folder / f"{name}.sqlite"
    if whole.exists():
        return
    words = words_of(name, options, folder, scenes)
    parts = [folder / f"{name}-{number}.sqlite" for number in range(1, workers + 1)]
    together([[*words, "--shard", f"{number}/{workers}", "--out", part] for number, part in enumerate(parts, start=1)])
    together([["merge", *parts, "--out", whole]])


def report(folder: Path, results: Path, scenes: int) -> None:
    """A Markdown file for each table whose runs are there, under the commands that played them, with its figures."""
    for name, runs in TABLES.items():
        files = [folder / f"{run}.sqlite" for run in runs]
        if not all(file.exists() for file in files):
            continue
        words = ["report", *files, "--form", "markdown", "--figures", results / name]
        done = subprocess.run([*EXCITATION, *map(str, words)], check=True, capture_output=True, text=True, env=one())
        played = [" ".join(["excitation", *map(str, words_of(run, GAMES[run], folder, scenes))]) for run in runs]
        write_whole(results / f"{name}.md", "".join(f"`{command}`\n\n" for command in played) + done.stdout)


def write_notes(results: Path, seconds: dict[str, float], scenes: int, workers: int) -> None:
    """How long each part took: written once the whole of the usual games has been played, since a part says little."""
    lines = [
        f"# {scenes} symbol scenes, {workers} processes",
        "",
        f"`python -m experiments.paper_mini --scenes {scenes}`:",
    ]
    lines += ["", "| part | seconds |", "| --- | ---: |"]
    parts = {name: taken for name, taken in seconds.items() if name not in GAMES or name in USUAL}
    lines += [f"| {name} | {taken:.0f} |" for name, taken in parts.items()]
    lines += [f"| all | {sum(parts.values()):.0f} |"]
    beside = [f"{name} {taken:.0f}" for name, taken in seconds.items() if name not in parts]
    if beside:
        lines += ["", f"Beside these, by `--only NAME`: {', '.join(beside)}."]
    write_whole(results / "README.md", "\n".join([*lines, ""]))


def together(commands: list[list[object]]) -> None:
    """Run `excitation` commands at the same time; end the others when one fails."""
    running = [
        subprocess.Popen([*EXCITATION, *map(str, words)], stdout=subprocess.DEVNULL, env=one()) for words in commands
    ]
    try:
        for process in running:
            if process.wait() != 0:
                sys.exit(f"`excitation {' '.join(map(str, process.args[3:]))}` failed; the same command goes on.")
    finally:
        for process in running:
            process.terminate()


def one() -> dict[str, str]:
    """An environment in which each process keeps to a core."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
