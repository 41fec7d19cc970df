"""`excitation report` and `excitation merge`: tables of runs, and shards put together."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .._errors import ExcitationError
from ._console import answer, report_line
from ._options import split

if TYPE_CHECKING:
    from ..evaluation import PublishedFigures, Results, Table


class Form(str, Enum):
    """The format of a table."""

    text = "text"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"


class Ending(str, Enum):
    """The file extension of a figure."""

    png = "png"
    pdf = "pdf"
    svg = "svg"


class Over(str, Enum):
    """The averaging of accuracies."""

    mean = "mean"
    pooled = "pooled"


def report_command(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Files of results, from `excitation bench`.", show_default=False),
    ],
    form: Annotated[Form, typer.Option("--form", help="Format of the tables.")] = Form.text,
    average: Annotated[
        Over, typer.Option("--average", help="Average accuracies over categories, as in the paper, or over pairs.")
    ] = Over.mean,
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="NAMES", help="Show only these comma-separated methods, named as in the"
                     " tables; NAME@LAYER or NAME@LAYER+LAYER shows some layers of a method.", show_default=False),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAMES", help="For methods with several layers, and without @LAYER in"
                     " --methods, show only these layers.", show_default=False),
    ] = None,
    categories: Annotated[
        bool,
        typer.Option("--categories", help="Add the accuracy by category, and the number of categories in which each row"
                     " is best. Each layer of a method is a row: select one with --layer."),
    ] = False,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="ROW", help="Add a comparison of each row with this one, such as 'mwp' or"
                     " 'mwp @ pool4'; may be repeated.", show_default=False),
    ] = None,
    held_out: Annotated[
        int | None,
        typer.Option("--held-out", metavar="K", min=2, help="For pointing games at several layers, add a layer for each"
                     " method, chosen on every K-th image and measured on the others.", show_default=False),
    ] = None,
    difficult: Annotated[
        bool,
        typer.Option("--difficult", help="Use only the difficult pairs for categories, comparisons, layer sweeps,"
            " chosen"
                     " layers and figures. The table of the pointing game always shows both."),
    ] = False,
    main: Annotated[
        bool, typer.Option("--main/--no-main", help="Whether to print the main tables of the runs.")
    ] = True,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="Add the numbers of the paper (Tables 1 to 3), and those of TorchRay for the"
                     " pointing game on the VGG16 of the paper."),
    ] = False,
    published: Annotated[
        Path | None,
        typer.Option("--published", metavar="FILE", help="Add published numbers from a JSON file.", show_default=False),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Also write figures to this folder.", show_default=False),
    ] = None,
    ending: Annotated[Ending, typer.Option("--figure-form", help="File format of the figures.")] = Ending.png,
    problems: Annotated[bool, typer.Option("--problems", help="List the problems with the data instead of the"
        " tables.")] = False,
) -> None:  # fmt: skip
    """Print tables of runs: one row per method, one column per data set and network."""
    from ..evaluation import as_csv, choose_rows, paper_figures, read_published, read_results, report_tables

    results = [read_results(run) for run in runs]
    if problems:
        for run in results:
            answer(f"{place}: {sentence}" for place, sentence in run.problems)
            answer(f"{image}: {category} left out since {reason}." for image, category, reason in run.left_out)
            if not run.problems and not run.left_out:
                report_line(f"{run.path}: no problems with the data, and no pair was left out.")
        return
    if methods is not None or layer is not None:
        results = choose_rows(results, None if methods is None else _named(methods), split(layer or ""))
    if paper and published is not None:
        raise ExcitationError("--paper and --published were both given; choose one of them.")
    other = paper_figures() if paper else None
    beside = other if published is None else read_published(published)
    _check_games(results, categories=categories, against=bool(against), held_out=held_out is not None,
                 figures=figures is not None)  # fmt: skip
    extras = _beside(results, average, categories, against or [], held_out, difficult)
    _check_use(results, extras, beside, main=main, difficult=difficult, drawn=figures is not None)
    tables = report_tables(results, average=average.value, difficult=difficult, published=beside) if main else []
    tables += extras
    if form == Form.csv:
        answer(as_csv(tables).splitlines())
    for number, table in enumerate(tables if form != Form.csv else []):
        made = {Form.text: table.as_text, Form.markdown: table.as_markdown, Form.latex: table.as_latex}
        if number:
            answer([""])
        answer(made[form]().splitlines())
    if figures is not None:
        _draw(results, figures, ending.value, difficult)


def _named(text: str) -> dict[str, list[str]]:
    """Parse methods and their layers from `NAME,NAME@LAYER+LAYER`.

    Raises:
        ExcitationError: a method is given twice, or there is none.
    """
    found: dict[str, list[str]] = {}
    for item in split(text):
        name, own = (part.strip() for part in item.partition("@")[::2])
        if name in found:
            raise ExcitationError(f"method {name!r} is given twice; give all its layers at once, NAME@LAYER+LAYER.")
        found[name] = [layer for layer in map(str.strip, own.split("+")) if layer]
    if not found:
        raise ExcitationError("--methods is empty; omit it for all methods.")
    return found


def _beside(
    results: Sequence[Results], average: Over, categories: bool, against: Sequence[str], held_out: int | None,
    difficult: bool,
) -> list[Table]:  # fmt: skip
    """Return the requested additional tables, run by run."""
    from ..evaluation import as_sweep, category_table, comparison_table, layer_tables
    from ..evaluation._games import game_of

    tables = []
    for run in results:
        if held_out is not None and game_of(run).sweepable:
            tables += layer_tables(as_sweep(run, held_out), average=average.value, difficult=difficult)[1:]
    for run in results:
        if game_of(run).points and categories:
            tables.append(category_table(run, difficult=difficult))
        if game_of(run).points:
            tables += [comparison_table(run, row, average=average.value, difficult=difficult) for row in against]
    return tables


def _check_games(
    results: Sequence[Results], *, categories: bool, against: bool, held_out: bool, figures: bool
) -> None:  # fmt: skip
    """Refuse options that do not apply to the games of the runs.

    Raises:
        ExcitationError: there is such an option.
    """
    from ..evaluation._games import GAMES, game_of

    games = {game_of(run).name for run in results}
    points = [name for name, game in GAMES.items() if game.points]
    for given, option, wanted in (
        (categories, "--categories", points),
        (against, "--against", points),
        (held_out, "--held-out", [name for name, game in GAMES.items() if game.sweepable]),
        (figures, "--figures", [name for name, game in GAMES.items() if game.drawn]),
    ):
        if given and not games & {*wanted}:
            raise ExcitationError(
                f"{option} is for runs of {' or '.join(wanted)}; the given ones are of {', '.join(sorted(games))}."
            )


def _check_use(
    results: Sequence[Results], extras: Sequence[Table], beside: PublishedFigures | None, *, main: bool,
    difficult: bool, drawn: bool,
) -> None:  # fmt: skip
    """Refuse options without an effect.

    Raises:
        ExcitationError: `--difficult` or published figures apply to no table, or `--no-main` is given without another
            table or figure.
    """
    from ..evaluation._games import game_of

    played = [game_of(run) for run in results]
    games = {game.name for game in played}
    if not main and not extras:
        raise ExcitationError("--no-main leaves nothing to print; add --categories, --against or --held-out.")
    if beside is not None and not (main and games & {*beside.games}):
        printed = ", ".join(sorted(games)) if main else "none, since --no-main leaves the main tables out"
        raise ExcitationError(
            f"the published figures are for {', '.join(beside.games)}; the games to print are: {printed}."
        )
    shown = any(game.by_layer or (drawn and game.points) for game in played)
    if difficult and not (extras or shown):
        raise ExcitationError(
            "--difficult changes nothing here: it is for --categories, --against, --held-out, --figures and layer"
            " sweeps; the table of the pointing game shows the difficult pairs anyway."
        )


def _draw(results: Sequence[Results], folder: Path, ending: str, difficult: bool) -> None:
    """Draw the figure of each run, if its game has one."""
    from ..evaluation._games import game_of
    from ..views import save_figure

    for run in results:
        game = game_of(run)
        if game.drawn:
            subset = "_difficult" if difficult and game.points else ""
            place = folder / f"{run.path.stem}_{game.drawn}{subset}.{ending}"
            save_figure(game.figure(run, difficult=difficult), place)
            report_line(f"figure {place}.")


def merge_command(
    shards: Annotated[list[Path], typer.Argument(metavar="RUN", help="Files of the shards.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="File for the merged results.", show_default=False)],
    partial: Annotated[
        bool, typer.Option("--partial", help="Merge although shards are missing or unfinished.")
    ] = False,
) -> None:  # fmt: skip
    """Merge the shards of a run into one file of results."""
    from ..evaluation import merge_results

    merged = merge_results(shards, out, partial=partial)
    report_line(f"{len(merged.rows)} rows of {len(merged.finished)} images in {out}.")
