"""`excitation report` and `excitation merge`: tables of runs, and shards put together."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ._console import answer, remark


class Form(str, Enum):
    """How a table is written."""

    text = "text"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"


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
    problems: Annotated[bool, typer.Option("--problems", help="List what was wrong with the data instead.")] = False,
) -> None:
    """Print the tables of runs: methods down, data sets and networks across."""
    from ..benchmarks import category_table, comparison_table, read_results, report_tables
    from ..benchmarks._rows import POINTING, game_of

    results = [read_results(run) for run in runs]
    if problems:
        for run in results:
            answer(f"{place}: {sentence}" for place, sentence in run.problems)
            answer(f"{image}: {category} left out since {reason}." for image, category, reason in run.left_out)
        return
    tables = report_tables(results, average=average.value)
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
