"""`excitation explain`: from pictures to figures, maps, and a line per target."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import answer, progress_bar, report_line
from ._options import AsJson, ClassNames, ModelSpec, Targets
from ._pictures import pictures_of
from ._query import Query

if TYPE_CHECKING:
    from ._results import Job, Result


def explain_command(
    places: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE_OR_FOLDER", help="Pictures, or folders of them with all their subfolders (hidden"
                       " ones aside).", show_default=False),
    ],
    model: ModelSpec,
    target: Targets,
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAME", help="Where to take the maps (see `excitation layers`). Default: the"
                     " model's own choice, or the last layer at stride 16.", show_default=False),
    ] = None,
    method: Annotated[
        str,
        typer.Option("--method", metavar="NAME", help="mwp, c-mwp (minus the dual), r-mwp (minus all other classes by"
                     " their probability), or another one out of `excitation methods`."),
    ] = "mwp",
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="CLASS", help="A class whose MWP is subtracted, for --method mwp.",
                     show_default=False),
    ] = None,
    class_names: ClassNames = None,
    signed: Annotated[bool, typer.Option("--signed", help="Keep a contrast's negative values.")] = False,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where figures and maps go.")] = Path("out"),
    as_json: AsJson = False,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Pictures at a time.")] = 8,
) -> None:  # fmt: skip
    """Show where in each picture a network finds the evidence for each class.

    Writes a figure (PNG) and the raw maps (NPZ) of each picture to the --out folder, those of subfolders to subfolders
    of the same names, and prints a line per class with
    its score, the map's peak (x, y) in the picture's pixels (none, in JSON null, if the map is the same everywhere),
    and the map's mass. A picture that is finished there is not done again; results of another configuration are never
    overwritten. A picture that cannot be read is reported and left out, and the exit code is then 2.
    """
    from .. import __version__
    from ..methods import find_method
    from ..models._catalogue import model_files
    from ._results import Result, digest, make_jobs

    query = Query(tuple(target), layer, find_method(method).name, against, signed)
    pictures = pictures_of(places, out)
    configuration = {
        "version": __version__,
        "model": model,
        "weights": [digest(path) for path in model_files(model) if path.is_file()],
        "targets": target,
        "layer": layer,
        "method": query.method,
        "against": against,
        "signed": signed,
    }
    if class_names is not None:
        configuration["class_names"] = digest(class_names)
    jobs = make_jobs(pictures, out, configuration)
    # Check all jobs before any computation, so that a wrong folder is reported early.
    is_finished = [job.finished() for job in jobs]
    failed = 0
    with progress_bar() as progress:
        task = progress.add_task("explaining", total=len(jobs))

        def refused(error: Exception) -> None:
            nonlocal failed
            failed += 1
            report_line(str(error))
            progress.advance(task)

        def report(job: Job, result: Result) -> None:
            answer(result.lines(job, as_json))
            progress.advance(task)

        for job, done in zip(jobs, is_finished, strict=True):
            if done:
                report(job, Result.load(job.maps))
        todo = [job for job, done in zip(jobs, is_finished, strict=True) if not done]
        for job, result in _explained(todo, model, query, class_names, batch, refused):
            report(job, result)
    if failed:
        raise typer.Exit(2)


def _explained(
    jobs: Sequence[Job],
    model: str,
    query: Query,
    class_names: Path | None,
    batch: int,
    refused: Callable[[Exception], None],
) -> Iterator[tuple[Job, Result]]:
    """Explain pictures in batches and write their files."""
    if not jobs:
        return
    from ..models._catalogue import load_model
    from ._finish import finish_job
    from ._inputs import explain_batch, in_batches

    loaded = load_model(model)
    if class_names is not None:
        loaded = dataclasses.replace(loaded, class_names=class_names.read_text(encoding="utf-8").splitlines())
    of_picture = {job.picture: job for job in jobs}
    said: set[str] = set()
    for items in in_batches(loaded, of_picture, batch, refused):
        explained = explain_batch(loaded, items, query)
        for text in explained.warnings:
            if text not in said:
                said.add(text)
                report_line(text)
        for i, item in enumerate(items):
            job = of_picture[item.path]
            yield job, finish_job(job, item, explained, i, loaded, query)
