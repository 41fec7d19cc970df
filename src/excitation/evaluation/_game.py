"""What a game is: how one unit is played, the run of all units into one file, and the tables of its rows."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from matplotlib.figure import Figure

from .._checks import check_path
from .._errors import ExcitationError
from ._configuration import environment
from ._results import Results, read_results
from ._rows import Measure, by_method, headings_of, hit, notes_of, ordered, outcomes_of, told_apart
from ._running import LeftOut, device_of
from ._setup import Setup
from ._statistics import SAMPLES, Average, accuracy, interval
from ._store import Row, open_store
from ._tables import EMPTY, Cell, Table, percent


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: images finished, those of earlier sessions included.
        planned: images in all.
        earlier: images that were finished before this session.
        seconds: since this session began.
        counted: what is counted in place of images, as the grid game's `"photos"`, classified before the first of its
            `"mosaics"`.
    """

    done: int
    planned: int
    earlier: int
    seconds: float
    counted: str = "images"

    @property
    def left(self) -> float | None:
        """Seconds left, by this session's own pace; `None` before its first image."""
        here = self.done - self.earlier
        return self.seconds / here * (self.planned - self.done) if here else None


@dataclass(frozen=True)
class Column:
    """One column of a game's table.

    Attributes:
        name: its heading; `""` where a table has one column for a run.
        of: what is averaged over the rows, 0 to 1.
        best: which value is marked.
    """

    name: str = ""
    of: Measure = hit
    best: Literal["highest", "lowest"] = "highest"


@dataclass
class Game(ABC):
    """A question about maps on pictures whose answer is known.

    The class says what the game is called and how its runs are reported; an object plays one run.

    Attributes:
        setup: methods, data and network.
        name: in the configuration of its runs, and of its command.
        called: what messages call it.
        title: of its table.
        columns: of its table, for each run.
        counted: what a unit is.
        points: whether its rows are points on a category: its reports by category, by pairs of methods and of the
            difficult pairs are those of the pointing game.
        by_layer: whether its tables have a row for each layer: they show either all pairs or the difficult ones, and
            published figures cannot stand beside.
        sweepable: whether a layer can be chosen from a run at several layers.
        drawn: what its figure shows, in the name of the figure's file; `""` if it has none.
    """

    setup: Setup

    name: ClassVar[str]
    called: ClassVar[str]
    title: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]] = ()
    counted: ClassVar[str] = "images"
    points: ClassVar[bool] = False
    by_layer: ClassVar[bool] = False
    sweepable: ClassVar[bool] = False
    drawn: ClassVar[str] = ""

    @abstractmethod
    def play(self, unit: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Play one unit of the run.

        Args:
            unit: its name.
            device: where the network is.

        Returns:
            The unit's rows, and its pairs that are left out.
        """

    @classmethod
    def tables(cls, runs: Sequence[Results], *, average: Average, difficult: bool, samples: int) -> list[Table]:
        """The tables of runs of this game: the mean of each column over all rows, unless the game does otherwise.

        Args:
            runs: of this game, at least one.
            average: over categories or pairs, where the game has both.
            difficult: of the difficult pairs only, where the game shows one or the other.
            samples: of the bootstrap.

        Raises:
            ExcitationError: two runs that cannot be told apart.
        """
        del average, difficult
        return [score_table(runs, cls.title, cls.columns, average="pooled", intervals=True, samples=samples)]

    @classmethod
    def figure(cls, run: Results, *, difficult: bool) -> Figure:
        """The figure of a run, if the game has one.

        Args:
            run: of this game.
            difficult: of the difficult pairs only, where the game knows them.

        Raises:
            ExcitationError: the game has no figure, or the run too few results.
        """
        del difficult
        raise ExcitationError(f"{run.path}: holds results of {cls.name!r}, which has no figure.")

    @classmethod
    def check(cls, run: Results) -> None:
        """Refuse a run of a game that is neither this one nor derived from it.

        Raises:
            ExcitationError: the run is of another game.
        """
        name = run.configuration.get("game")
        if name not in {game.name for game in (cls, *cls.__subclasses__())}:
            raise ExcitationError(f"{run.path}: holds results of {name!r}, not of {cls.called}.")

    def run(
        self,
        out: str | os.PathLike[str],
        configuration: Mapping[str, object],
        units: Sequence[str],
        *,
        shard: tuple[int, int] = (0, 1),
        progress: Callable[[Progress], None] | None = None,
    ) -> Results:
        """Play every unit that is not in the file yet.

        Args:
            out: the file of results (see `open_store`).
            configuration: all that the results depend on.
            units: of the whole run; this shard's are picked here.
            shard: `(index, count)`: only every count-th unit from the index-th, counted from 0.
            progress: called after each unit.

        Returns:
            All results of the file.

        Raises:
            StoreError: the file cannot be continued.
            ExcitationError: a shard that is none, or as `play` raises.
        """
        check_path("the file of results", out)
        if not isinstance(shard, tuple) or len(shard) != 2 or not 0 <= shard[0] < shard[1]:
            raise ExcitationError(f"shard is {shard}; give (index, count) with an index from 0 to count - 1.")
        own = units[shard[0] :: shard[1]]
        data, runner = self.setup.data, self.setup.runner
        device = device_of(self.setup.model)
        start = time.perf_counter()

        def problems(known: int) -> list[tuple[str, str]]:
            return [(problem.path, problem.sentence) for problem in list(data.problems)[known:]]

        with open_store(out, configuration, planned=len(own), shard=shard, environment=environment(device)) as store:
            earlier = len(store.finished)
            runner.has_worked(store.methods())
            store.note(problems(0))
            for unit in own:
                if unit in store.finished:
                    continue
                known = len(data.problems)
                rows, left_out = self.play(unit, device)
                store.add(unit, rows, left_out=left_out, problems=problems(known), taken=runner.taken())
                if progress is not None:
                    done = len(store.finished)
                    progress(Progress(done, len(own), earlier, time.perf_counter() - start, self.counted))
        return read_results(Path(out))


def score_table(
    runs: Sequence[Results],
    title: str,
    columns: Sequence[Column] = (Column(),),
    *,
    subsets: Sequence[tuple[str, bool]] = (("", False),),
    average: Average = "mean",
    intervals: bool = False,
    samples: int = SAMPLES,
) -> Table:
    """What each method measured on each run, in percent: methods down, runs across.

    Args:
        runs: results of one game, each of one data set and network.
        title: of the table.
        columns: for each run.
        subsets: name, and whether only difficult pairs count; each has all columns.
        average: over categories or pairs.
        intervals: with 95 % bootstrap intervals over images.
        samples: of the bootstrap.

    Raises:
        ExcitationError: no run, or two that cannot be told apart.
    """
    several: set[str] = set().union(*(told_apart(run) for run in runs))
    headings = headings_of(runs)
    tables = {name: by_method(run, several) for name, run in zip(headings, runs, strict=True)}
    names = ordered(dict.fromkeys(name for table in tables.values() for name in table))
    kinds = [(f"{column.name} {name}".strip(), column, hard) for column in columns for name, hard in subsets]
    cells: dict[str, list[Cell]] = {name: [] for name in names}
    for group in headings:
        for _, column, hard in kinds:
            found = {name: outcomes_of(tables[group].get(name, []), difficult=hard, measure=column.of)
                     for name in names}  # fmt: skip
            values = {name: getattr(accuracy(item), average) for name, item in found.items() if item is not None}
            best = (min if column.best == "lowest" else max)(values.values(), default=None)
            for name in names:
                outcomes = found[name]
                if outcomes is None:
                    cells[name].append(EMPTY)
                    continue
                ends = interval(outcomes, average, samples=samples) if intervals else None
                cells[name].append(percent(values[name], ends, best=values[name] == best))
    notes = list(notes_of(runs, difficult=any(hard for _, hard in subsets)))
    if intervals:
        notes.insert(0, f"In brackets: 95 % intervals, bootstrap over images with {samples} samples.")
    heads = tuple((group, kind) for group in headings for kind, _, _ in kinds)
    return Table(title, "Method", heads, tuple((name, tuple(row)) for name, row in cells.items()), tuple(notes))
