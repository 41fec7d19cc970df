"""The base class of games: evaluation of one unit, the run of all units into one file, and the tables of its rows."""

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
from ._rows import Measure, by_method, headings_of, hit, notes_of, ordered, outcomes_of, shown_with_layer
from ._running import LeftOut, device_of
from ._setup import Setup
from ._statistics import SAMPLES, Average, accuracy, interval
from ._store import Row, open_store
from ._tables import EMPTY, Cell, Table, percent


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        done: number of finished images, including earlier sessions.
        planned: total number of images.
        earlier: number of images that were finished before this session.
        seconds: time since the start of this session.
        counted: name of the units, if they are not images. The grid game counts `"photos"` during classification, then
            `"mosaics"`.
    """

    done: int
    planned: int
    earlier: int
    seconds: float
    counted: str = "images"

    @property
    def remaining(self) -> float | None:
        """Estimated remaining seconds, based on the speed of this session; `None` before its first image."""
        session = self.done - self.earlier
        return self.seconds / session * (self.planned - self.done) if session else None


@dataclass(frozen=True)
class Column:
    """One column of a game's table.

    Attributes:
        name: heading of the column; `""` if a table has one column per run.
        measure: the measure to average over the rows, 0 to 1.
        best: which value to mark as the best.
    """

    name: str = ""
    measure: Measure = hit
    best: Literal["highest", "lowest"] = "highest"


@dataclass
class Game(ABC):
    """A measurement of attention maps on pictures with known ground truth.

    The class defines the name and the reports of the game. An instance performs one run.

    Attributes:
        setup: methods, data and network.
        name: name in the configuration of its runs, and name of its command.
        label: description in messages.
        title: title of its table.
        columns: columns of its table, for each run.
        counted: name of the units.
        points: whether its rows are points on a category. Reports by category, by pairs of methods and on difficult
            pairs are then those of the pointing game.
        by_layer: whether its tables have one row per layer. Such tables show either all pairs or the difficult pairs,
            and cannot include published figures.
        sweepable: whether a layer can be selected from a run with several layers.
        drawn: content of its figure, for the file name; `""` if the game has no figure.
    """

    setup: Setup

    name: ClassVar[str]
    label: ClassVar[str]
    title: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]] = ()
    counted: ClassVar[str] = "images"
    points: ClassVar[bool] = False
    by_layer: ClassVar[bool] = False
    sweepable: ClassVar[bool] = False
    drawn: ClassVar[str] = ""

    @abstractmethod
    def play(self, unit: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Evaluate one unit of the run.

        Args:
            unit: name of the unit.
            device: device of the network.

        Returns:
            The rows of the unit, and its omitted pairs.
        """

    @classmethod
    def tables(cls, runs: Sequence[Results], *, average: Average, difficult: bool, samples: int) -> list[Table]:
        """Return the tables of runs of this game. By default, each column is the mean over all rows.

        Args:
            runs: at least one run of this game.
            average: mean over groups of queries (categories) or pooled over pairs, if the game supports both.
            difficult: whether to use only difficult pairs, if the game shows either all or difficult pairs.
            samples: number of bootstrap samples.

        Raises:
            ExcitationError: two runs have the same heading.
        """
        del average, difficult
        return [score_table(runs, cls.title, cls.columns, average="pooled", intervals=True, samples=samples)]

    @classmethod
    def figure(cls, run: Results, *, difficult: bool) -> Figure:
        """Return the figure of a run.

        Args:
            run: a run of this game.
            difficult: whether to use only difficult pairs, if the game has them.

        Raises:
            ExcitationError: the game has no figure, or the run has too few results.
        """
        del difficult
        raise ExcitationError(f"{run.path}: contains results of {cls.name!r}, which has no figure.")

    @classmethod
    def check(cls, run: Results) -> None:
        """Refuse runs of other games, except subclasses of this game.

        Raises:
            ExcitationError: the run belongs to another game.
        """
        name = run.configuration.get("game")
        if name not in {game.name for game in (cls, *cls.__subclasses__())}:
            raise ExcitationError(f"{run.path}: contains results of {name!r}, not of {cls.label}.")

    def run(
        self,
        out: str | os.PathLike[str],
        configuration: Mapping[str, object],
        units: Sequence[str],
        *,
        shard: tuple[int, int] = (0, 1),
        progress: Callable[[Progress], None] | None = None,
    ) -> Results:
        """Evaluate every unit that is not in the file yet.

        Args:
            out: file of results (see `open_store`).
            configuration: all settings that the results depend on.
            units: units of the whole run. The units of the shard are selected from them.
            shard: `(index, count)`: use every `count`-th unit, starting at `index` (from 0).
            progress: function that is called after each unit.

        Returns:
            All results of the file.

        Raises:
            StoreError: the file cannot be continued.
            ExcitationError: the shard is invalid, or an error of `play`.
        """
        check_path("the file of results", out)
        if not isinstance(shard, tuple) or len(shard) != 2 or not 0 <= shard[0] < shard[1]:
            raise ExcitationError(f"shard is {shard!r}; give (index, count) with an index from 0 to count - 1.")
        own = units[shard[0] :: shard[1]]
        data, runner = self.setup.data, self.setup.runner
        device = device_of(self.setup.model)
        start = time.perf_counter()

        def problems(known: int) -> list[tuple[str, str]]:
            return [(problem.path, problem.sentence) for problem in list(data.problems)[known:]]

        with open_store(out, configuration, planned=len(own), shard=shard, environment=environment(device)) as store:
            earlier = len(store.finished)
            runner.mark_successful(store.methods())
            store.note(problems(0))
            for unit in own:
                if unit in store.finished:
                    continue
                known = len(data.problems)
                rows, left_out = self.play(unit, device)
                store.add(unit, rows, left_out=left_out, problems=problems(known), own_layers=runner.own_layers())
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
    """Return the measures of each method on each run, in percent, with one row per method and column groups by run.

    Args:
        runs: results of one game, each of one data set and network.
        title: title of the table.
        columns: columns for each run.
        subsets: name of each subset, and whether it contains only difficult pairs. Each subset has all columns.
        average: mean over groups of queries (categories), or pooled over pairs.
        intervals: whether to add 95 % bootstrap intervals over images.
        samples: number of bootstrap samples.

    Raises:
        ExcitationError: there is no run, or two runs have the same heading.
    """
    several: set[str] = set().union(*(shown_with_layer(run) for run in runs))
    headings = headings_of(runs)
    tables = {name: by_method(run, several) for name, run in zip(headings, runs, strict=True)}
    names = ordered(dict.fromkeys(name for table in tables.values() for name in table))
    kinds = [(f"{column.name} {name}".strip(), column, hard) for column in columns for name, hard in subsets]
    cells: dict[str, list[Cell]] = {name: [] for name in names}
    for group in headings:
        for _, column, hard in kinds:
            every = {name: outcomes_of(tables[group].get(name, []), average, difficult=hard, measure=column.measure)
                     for name in names}  # fmt: skip
            values = {name: getattr(accuracy(item), average) for name, item in every.items() if item is not None}
            best = (min if column.best == "lowest" else max)(values.values(), default=None)
            for name in names:
                outcomes = every[name]
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
