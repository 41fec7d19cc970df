"""`excitation bench GAME`: a command for each game."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from .._errors import ExcitationError
from ._bench_options import Kind, PictureOptions, PointOptions, RunOptions, ScoreKind, Shortest, SweepOptions
from ._console import ProgressDisplay, answer, report_line

if TYPE_CHECKING:
    from ..evaluation import Results

bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

METHODS = "mwp,c-mwp,gradient,grad-cam"
CONTRAST = "mwp,c-mwp,eb-without-norm,eb-post-norm,gradient,c-gradient,deconv,c-deconv,cam,c-cam"
"""The paper's Table 2."""

LISTED = 20
"""Largest number of problems that a run prints at its end. `excitation report --problems` prints all."""

Run = Callable[..., Any]
"""A game with all arguments but `progress`."""


@bench.callback()
def _bench() -> None:
    """Measure methods on annotated images.

    The same command continues an interrupted run. The options, weights and data must be the same: annotations, choice
    of images, and names and file sizes of their pictures. The content of the pictures is not compared: if you replace
    a picture by another of the same file size, begin a new run.
    """


def _game(name: str, methods: str) -> Callable[[Callable[..., Run]], Callable[..., Run]]:
    """Return a decorator that converts a function to the command of a game.

    The first argument of the function is a group of options. Its fields become options of the command, followed by the
    other arguments of the function. The docstring is the help text. The function returns the run as a function with
    the only argument `progress`.

    Args:
        name: name of the game and of its command.
        methods: default methods.
    """

    def add(function: Callable[..., Run]) -> Callable[..., Run]:
        hints = get_type_hints(function, include_extras=True)
        first, *own = inspect.signature(function).parameters.values()
        group = hints[first.name]
        of_group = get_type_hints(group, include_extras=True)
        usual = {item.name: inspect.Parameter.empty if item.default is MISSING else item.default
                 for item in fields(group)} | {"methods": methods}  # fmt: skip
        options = [(key, of_group[key], default) for key, default in usual.items()]
        options += [(item.name, hints[item.name], item.default) for item in own]

        def command(**given: Any) -> None:
            common = group(**{key: given.pop(key) for key in usual})
            _run_with_bar(name, function(common, **given))

        # What typer reads.
        command.__dict__["__signature__"] = inspect.Signature([
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
            for key, kind, default in options
        ])  # fmt: skip
        command.__annotations__ = {key: kind for key, kind, _ in options}
        bench.command(name, help=inspect.getdoc(function))(command)
        return function

    return add


@_game("pointing", "mwp,c-mwp,gradient,grad-cam,centre")
def _pointing(options: PointOptions) -> Run:
    """Pointing game: whether the maximum of each map is on an object of its category, or within 15 pixels of one.

    The same command continues an interrupted run. Unreadable images are skipped and listed.
    """
    from ..evaluation import run_pointing

    return partial(run_pointing, **options.read())


@_game("contrast", CONTRAST)
def _contrast(options: PointOptions) -> Run:
    """Contrast analysis (Table 2 of the paper): the pointing game for each method with and without the dual unit."""
    return partial(_pointing(options), name="contrast")


@_game("layers", "mwp,c-mwp,gradient")
def _layers(
    options: SweepOptions,
    held_out: Annotated[
        int,
        typer.Option(
            "--held-out",
            metavar="K",
            min=2,
            help="Every K-th image is used to choose the layer, the others to measure it.",
        ),
    ] = 5,
) -> Run:
    """Layer sweep (Figure 6 of the paper): the pointing game at each layer, and a layer chosen on held-out images."""
    if options.limit is not None and options.limit < held_out:
        raise ExcitationError(f"--limit {options.limit} leaves no held-out image; give at least --held-out {held_out}.")
    return partial(_pointing(options), name="layers", extra={"held_out": held_out})


@_game("localization", METHODS)
def _localization(
    options: PictureOptions,
    size: Annotated[
        int, typer.Option("--size", metavar="PIXELS", min=8, help="Side of the square to which pictures are resized.")
    ] = 224,
    held_out: Annotated[
        int,
        typer.Option(
            "--held-out", metavar="K", min=2, help="Every K-th image is used to choose alpha, the others to measure."
        ),
    ] = 5,
) -> Run:
    """Localize dominant objects (Table 3 of the paper) by a box around all values above alpha times the mean.

    Alpha is chosen from 0, 0.5, ..., 10 on held-out images and printed. A box is correct from an overlap (IoU) of 0.5.
    """
    from ..evaluation import run_localization

    return partial(run_localization, **options.read(), side=size, held_out=held_out)


@_game("grid", METHODS)
def _grid(
    options: RunOptions,
    side: Annotated[
        int, typer.Option("--side", metavar="N", min=2, max=5, help="Number of cells per side of a mosaic.")
    ] = 2,
    mosaics: Annotated[int, typer.Option("--mosaics", metavar="N", min=1, help="Number of mosaics.")] = 100,
    low: Annotated[
        float, typer.Option("--low", metavar="P", min=0, max=1, help="Minimum probability of the class of a picture.")
    ] = 0.9,
    high: Annotated[
        float, typer.Option("--high", metavar="P", min=0, max=1, help="Maximum probability of the class of a picture.")
    ] = 1.0,
    probability: ScoreKind = Kind.softmax,
    cell: Annotated[
        int, typer.Option("--cell", metavar="PIXELS", min=8, help="Side of a cell.")
    ] = 224,
    seed: Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Seed of the random selection.")] = 0,
) -> Run:  # fmt: skip
    """Grid pointing game: in mosaics of confidently classified pictures, how much of a map is in its cell."""
    from ..evaluation import run_grid

    return partial(
        run_grid, **options.read(), side=side, mosaics=mosaics, lowest=low, highest=high, cell=cell, seed=seed,
        probability=probability.value,
    )  # fmt: skip


@_game("deletion", METHODS)
def _deletion(
    options: PictureOptions,
    shortest: Shortest = 224,
    probability: ScoreKind = Kind.softmax,
    steps: Annotated[
        int,
        typer.Option(
            "--steps", metavar="N", min=1, help="Number of equal parts of the pixels. Each costs two forward passes."
        ),
    ] = 50,
) -> Run:
    """Deletion and insertion: how fast the score falls or rises if pixels are deleted or inserted by map value."""
    from ..evaluation import run_deletion

    return partial(run_deletion, **options.read(), shortest=shortest, probability=probability.value, steps=steps)


def _run_with_bar(name: str, run: Run) -> None:
    """Run a game with a progress bar, then print its tables and the problems with the data.

    Args:
        name: name of the game.
        run: function that runs the game.

    Raises:
        ExcitationError: there is no result. The message contains the reasons.
    """
    from ..evaluation import report_tables

    with ProgressDisplay(name) as display:
        results: Results = run(progress=display.show_game)
    if results.rows:
        for table in report_tables([results]):
            answer(table.as_text().splitlines())
    for place, problem in results.problems[:LISTED]:
        report_line(f"{place}: {problem}")
    report_line(
        f"{len(results.rows)} rows in {results.path}; {len(results.left_out)} pairs left out,"
        f" {len(results.problems)} problems."
    )
    if not results.rows:
        reasons = Counter(reason for _, _, reason in results.left_out)
        causes = [f"{count} pairs were left out since {reason}" for reason, count in sorted(reasons.items())]
        causes += [f"{len(results.problems)} problems with the data are listed above"] if results.problems else []
        why = "; ".join(causes) or "no image of this run has an annotated category"
        raise ExcitationError(f"there is no result: {why}.")
