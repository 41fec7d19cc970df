"""`excitation compare`: many methods on one picture, in one figure."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import answer, progress_bar, report_line
from ._options import AsJson, ClassNames, ModelSpec, Targets
from ._query import Query

if TYPE_CHECKING:
    from ._comparison import Asked

PAPER = "gradient,deconv,lrp,cam,grad-cam,layer-cam,mwp,c-mwp"


def compare_command(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture.", show_default=False)],
    model: ModelSpec,
    target: Targets,
    methods: Annotated[
        str, typer.Option("--methods", metavar="NAMES", help="With commas between: those of `excitation methods`;"
                     " NAME@LAYER for a layer of its own.")
    ] = PAPER,
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAME", help="Where Excitation Backprop's maps are taken; all others have"
                     " NAME@LAYER or their own choice.", show_default=False),
    ] = None,
    class_names: ClassNames = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the figure and the maps go.")] = Path("out"),
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Set attention methods side by side on one picture: a row for each method, a column for each class.

    Writes a figure (PNG), and each method's raw maps (NPZ) to a folder of the picture's name, both in the --out
    folder. Below each map stands its mass, below each method's name the time of all its maps together. Maps are shown
    as the paper shows them (Grad, Deconv, LRP blurred; coarse maps enlarged), each from zero to its own largest value;
    blue is negative. A method that does not apply to the network is told with its reason. What was finished by an
    earlier run is not done again.
    """
    from .. import __version__
    from ..models._catalogue import load_model, model_files
    from ._comparison import asked_methods, compare_methods, draw_comparison, told_lines
    from ._inputs import prepare
    from ._results import Job, digest, make_jobs

    asked = asked_methods(methods, layer)
    query = Query(tuple(target), layer, "", None, signed=False)
    configuration = {
        "version": __version__,
        "model": model,
        "weights": [digest(path) for path in model_files(model) if path.is_file()],
        "targets": target,
    }
    if class_names is not None:
        configuration["class_names"] = digest(class_names)
    loaded = load_model(model)
    if class_names is not None:
        loaded = dataclasses.replace(loaded, class_names=class_names.read_text(encoding="utf-8").splitlines())
    item = prepare(loaded, image)
    (whole,) = make_jobs({image: Path(image.stem)}, out, configuration)
    jobs = [
        Job(image, whole.figure, out / image.stem / f"{one.key}.npz",
            {**whole.configuration, "method": one.method.name, "layer": one.layer})
        for one in asked
    ]  # fmt: skip
    with progress_bar() as progress:
        task = progress.add_task(f"comparing: {asked[0].method.name}", total=len(asked))

        def done(one: Asked) -> None:
            following = asked[asked.index(one) + 1 :]
            progress.update(task, advance=1, description=f"comparing: {(following or [one])[0].method.name}")

        rows = compare_methods(loaded, item, query, list(zip(asked, jobs, strict=True)), report_line, done)
    draw_comparison(loaded, item, rows, whole.figure)
    answer(told_lines(rows, image, whole.figure, jobs, as_json))
    if not as_json:
        report_line(f"figure {whole.figure}, raw maps in {out / image.stem}.")
