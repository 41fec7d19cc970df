"""`excitation report` and `excitation merge`: tables of runs, and shards put together."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import answer, remark

if TYPE_CHECKING:
    from ..benchmarks import Results


class Form(str, Enum):
    """How a table is written."""

    text = "text"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"


class Ending(str, Enum):
    """Of a figure's file."""

    png = "png"
    pdf = "pdf"
    svg = "svg"


class Over(str, Enum):
    """What accuracies are averaged over."""

    mean = "mean"
    pooled = "pooled"


def report_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Files of results.", show_default=False)],
    form: Annotated[Form, typer.Option("--form", help="How the tables are written.")] = Form.text,
    average: Annotated[
        Over, typer.Option("--average", help="Mean over categories, as the paper, or pooled over pairs.")
    ] = Over.mean,
    categories: Annotated[bool, typer.Option("--categories", help="Also accuracy by category.")] = False,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="METHOD", help="Also every method against this one.", show_default=False),
    ] = None,
    held_out: Annotated[
        int | None,
        typer.Option("--held-out", metavar="K", min=2, help="Also a layer for each method of a pointing game at several"
                     " layers, chosen on every K-th image and judged on the others.", show_default=False),
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Set the paper's own figures beside.")] = False,
    published: Annotated[
        Path | None,
        typer.Option("--published", metavar="FILE", help="Set a JSON file's figures beside.", show_default=False),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Draw the figures there too.", show_default=False),
    ] = None,
    ending: Annotated[Ending, typer.Option("--figure-form", help="Of the figures.")] = Ending.png,
    problems: Annotated[bool, typer.Option("--problems", help="List what was wrong with the data instead.")] = False,
) -> None:  # fmt: skip
    """Print the tables of runs: methods down, data sets and networks across."""
    from ..benchmarks import (
        as_sweep,
        category_table,
        comparison_table,
        layer_tables,
        paper_figures,
        read_published,
        read_results,
        report_tables,
    )
    from ..benchmarks._rows import POINTING, game_of

    results = [read_results(run) for run in runs]
    if problems:
        for run in results:
            answer(f"{place}: {sentence}" for place, sentence in run.problems)
            answer(f"{image}: {category} left out since {reason}." for image, category, reason in run.left_out)
        return
    other = paper_figures() if paper else None
    beside = other if published is None else read_published(published)
    tables = report_tables(results, average=average.value, published=beside)
    if held_out is not None:
        sweeps = [as_sweep(run, held_out) for run in results if game_of(run) == "pointing"]
        tables += [table for run in sweeps for table in layer_tables(run, average=average.value)[1:]]
    for run in results:
        if game_of(run) in POINTING and categories:
            tables.append(category_table(run))
        if game_of(run) in POINTING and against is not None:
            tables.append(comparison_table(run, against, average=average.value))
    for number, table in enumerate(tables):
        made = {
            Form.text: table.as_text,
            Form.markdown: table.as_markdown,
            Form.latex: table.as_latex,
            Form.csv: table.as_csv,
        }
        if number:
            answer([""])
        answer(made[form]().splitlines())
    if figures is not None:
        _draw(results, figures, ending.value)


def _draw(results: Sequence[Results], folder: Path, ending: str) -> None:
    """The figures of each run: a layer sweep, bars by category, or curves against alpha."""
    from ..benchmarks import alpha_figure, category_figure, layer_figure
    from ..benchmarks._rows import game_of
    from ..views import save_figure

    draw = {
        "layers": ("layers", layer_figure),
        "localization": ("alpha", alpha_figure),
        "pointing": ("categories", category_figure),
        "contrast": ("categories", category_figure),
    }
    for run in results:
        if game_of(run) in draw:
            kind, make = draw[game_of(run)]
            place = folder / f"{run.path.stem}_{kind}.{ending}"
            save_figure(make(run), place)
            remark(f"figure {place}.")


def merge_command(
    shards: Annotated[list[Path], typer.Argument(metavar="RUN", help="The shards' files.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The new file of results.", show_default=False)],
    partial: Annotated[
        bool, typer.Option("--partial", help="Although shards are missing or unfinished.")
    ] = False,
) -> None:  # fmt: skip
    """Put the shards of a run into one file of results."""
    from ..benchmarks import merge_results

    merged = merge_results(shards, out, partial=partial)
    remark(f"{len(merged.rows)} rows of {len(merged.finished)} images in {out}.")
