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
from ._console import answer, report_line
from ._progress import ProgressDisplay

if TYPE_CHECKING:
    from ..evaluation import Results

bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

METHODS = "mwp,c-mwp,gradient,grad-cam"
CONTRAST = "mwp,c-mwp,eb-without-norm,eb-post-norm,gradient,c-gradient,deconv,c-deconv,cam,c-cam"
"""The paper's Table 2."""

LISTED = 20
"""Problems that are told at the end of a run; `excitation report --problems` tells all."""

Run = Callable[..., Any]
"""Plays a game, with `progress=` still to be given."""


@bench.callback()
def _bench() -> None:
    """Measure methods on annotated images.

    A run that was stopped goes on only under the same options, with the same weights and the same data: annotations,
    choice of images, and names and sizes in bytes of their pictures. What is in the pictures is not compared; where
    one was replaced by another of the same size, begin a new run.
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
    """Play the pointing game: does each map's maximum lie on an object of its category, or within 15 pixels?

    Stopped at any moment, the same command goes on and repeats nothing. Bad images are listed and left out.
    """
    from ..evaluation import run_pointing

    return partial(run_pointing, **options.read())


@_game("contrast", CONTRAST)
def _contrast(options: PointOptions) -> Run:
    """Contrast analysis (the paper's Table 2): the pointing game with and without the dual unit, method by method."""
    return partial(_pointing(options), name="contrast")


@_game("layers", "mwp,c-mwp,gradient")
def _layers(
    options: SweepOptions,
    held_out: Annotated[
        int,
        typer.Option("--held-out", metavar="K", min=2, help="Every K-th image chooses the layer; the others judge."),
    ] = 5,
) -> Run:
    """Layer sweep (Figure 6 of the paper): the pointing game at every layer, one chosen on held-out images."""
    if options.limit is not None and options.limit < held_out:
        raise ExcitationError(f"--limit {options.limit} leaves no held-out image; give at least --held-out {held_out}.")
    return partial(_pointing(options), name="layers", extra={"held_out": held_out})


@_game("localization", METHODS)
def _localization(
    options: PictureOptions,
    size: Annotated[
        int, typer.Option("--size", metavar="PIXELS", min=8, help="Pictures are squashed to a square of this side.")
    ] = 224,
    held_out: Annotated[
        int, typer.Option("--held-out", metavar="K", min=2, help="Every K-th image chooses alpha; the others judge.")
    ] = 5,
) -> Run:
    """Localize dominant objects (the paper's Table 3): a box around all values above alpha times the mean.

    Alpha is searched in 0, 0.5, ..., 10 on held-out images and reported; a box is right from an overlap of one half.
    """
    from ..evaluation import run_localization

    return partial(run_localization, **options.read(), side=size, held_out=held_out)


@_game("grid", METHODS)
def _grid(
    options: RunOptions,
    side: Annotated[
        int, typer.Option("--side", metavar="N", min=2, max=5, help="Cells in a row and a column.")
    ] = 2,
    mosaics: Annotated[int, typer.Option("--mosaics", metavar="N", min=1, help="How many.")] = 100,
    low: Annotated[
        float, typer.Option("--low", metavar="P", min=0, max=1, help="Least probability of a picture's class.")
    ] = 0.9,
    high: Annotated[
        float, typer.Option("--high", metavar="P", min=0, max=1, help="Up to which probability pictures are taken.")
    ] = 1.0,
    probability: ScoreKind = Kind.softmax,
    cell: Annotated[
        int, typer.Option("--cell", metavar="PIXELS", min=8, help="Side of a picture in the mosaic.")
    ] = 224,
    seed: Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Of the draw.")] = 0,
) -> Run:  # fmt: skip
    """Play the grid pointing game: in mosaics of confidently classified pictures, is a class found in its cell?"""
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
        int, typer.Option("--steps", metavar="N", min=1, help="Equal parts of the pixels; two forward passes each.")
    ] = 50,
) -> Run:
    """Delete and insert pixels in the order of each map: how fast does the score fall, and rise?"""
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
        results: Results = run(progress=display.show)
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
        told = [f"{count} pairs were left out since {reason}" for reason, count in sorted(reasons.items())]
        told += [f"{len(results.problems)} problems with the data are listed above"] if results.problems else []
        said = "; ".join(told) or "no image of this run has an annotated category"
        raise ExcitationError(f"there is no result: {said}.")
