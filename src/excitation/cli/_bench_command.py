"""`excitation bench pointing` and `excitation report`: the pointing game, and its tables."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from ._console import answer, progress_bar, remark
from ._options import ModelSpec

bench = typer.Typer(no_args_is_help=True, help="Measure methods on annotated images.", rich_markup_mode=None)


@bench.callback()
def _bench() -> None:
    """Measure methods on annotated images."""


@bench.command("pointing")
def pointing_command(
    data: Annotated[
        str, typer.Option("--data", metavar="SPEC", help="coco:ROOT, voc:ROOT or imagenet:ROOT.", show_default=False)
    ],
    model: ModelSpec,
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The file of results.", show_default=False)],
    methods: Annotated[
        str, typer.Option("--methods", metavar="NAMES", help="With commas between, as docs/methods.md has them, and"
                     " centre; NAME@LAYER for a layer of its own.")
    ] = "mwp,c-mwp,gradient,grad-cam,centre",
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAMES", help="Where Excitation Backprop's maps are taken, with commas"
                     " between; all others have NAME@LAYER or their own choice.", show_default=False),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option("--mapping", metavar="FILE", help="JSON: the classes of each category.", show_default=False),
    ] = None,
    shortest: Annotated[
        int, typer.Option("--shortest", metavar="PIXELS", min=1, help="Shortest side of the network's input.")
    ] = 224,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first images.", show_default=False)
    ] = None,
) -> None:  # fmt: skip
    """Play the pointing game: does each map's maximum lie on an object of its category, or within 15 pixels?

    Stopped at any moment, the same command goes on and repeats nothing. Bad images are listed and left out.
    """
    from ..benchmarks import Centre, Progress, pointing_table, run_pointing
    from ..data import open_data, read_mapping
    from ..methods import find_method
    from ..networks._catalogue import load_model

    chosen: dict[str, Any] = {}
    places: dict[str, tuple[str | None, ...]] = {}
    for item in filter(None, map(str.strip, methods.split(","))):
        name, _, own = item.partition("@")
        found = Centre() if name == "centre" else find_method(name)
        chosen[name] = found
        general = layer is not None and getattr(found, "family", "") == "excitation"
        places[name] = (own,) if own else tuple(map(str.strip, str(layer).split(","))) if general else (None,)
    with progress_bar() as progress:
        task = progress.add_task("pointing", total=None)

        def show(state: Progress) -> None:
            progress.update(task, total=state.planned, completed=state.done)

        results = run_pointing(
            load_model(model),
            open_data(data),
            chosen,
            places,
            out=out,
            mapping=None if mapping is None else read_mapping(mapping),
            shortest=shortest,
            limit=limit,
            progress=show,
        )
    answer(pointing_table([results], intervals=True).as_text().splitlines())
    for place, problem in results.problems[:20]:
        remark(f"{place}: {problem}")
    remark(
        f"{len(results.rows)} rows in {out}; {len(results.left_out)} pairs left out, {len(results.problems)} problems."
    )


class Form(str, Enum):
    """How a table is written."""

    text = "text"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"


def report_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Files of results.", show_default=False)],
    form: Annotated[Form, typer.Option("--form", help="How the table is written.")] = Form.text,
) -> None:
    """Print the pointing game's table of one or several runs: methods down, data sets and networks across."""
    from ..benchmarks import pointing_table, read_results

    table = pointing_table([read_results(run) for run in runs], intervals=True)
    made = {
        Form.text: table.as_text,
        Form.markdown: table.as_markdown,
        Form.latex: table.as_latex,
        Form.csv: table.as_csv,
    }
    answer(made[form]().splitlines())
