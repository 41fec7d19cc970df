"""`excitation explain`: from pictures to figures, maps, and a line per target."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .._errors import ExcitationError
from ..core import FigureOptions
from ..core._figures import title_of
from ..data._pictures import PictureError, picture_size, read_picture
from ..explainers import Explainer
from ..models import LoadedModel
from ._console import ProgressDisplay, answer, report_line
from ._drawing import Drawing, Drawings, worker_count
from ._options import (
    AsJson,
    ClassNames,
    ColourScale,
    Device,
    FigureFormat,
    Folder,
    Format,
    ModelSpec,
    NetworkName,
    Policy,
    Scale,
    Targets,
    base_configuration,
    class_or_index,
    load_network,
    pictures_of,
    read_for,
    read_method,
    read_policies,
)
from ._results import Job, Result, make_jobs


def explain_command(
    places: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE_OR_FOLDER", help="Pictures, or folders of pictures.", show_default=False),
    ],
    model: ModelSpec,
    target: Targets,
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAME", help="Layer of the maps (see `excitation layers`). Default: the layer"
                     " of the model, or the last layer at stride 16.", show_default=False),
    ] = None,
    method: Annotated[
        str,
        typer.Option("--method", metavar="NAME", help="mwp, c-mwp (contrast with the dual unit), r-mwp (contrast with"
                     " all other classes), or another name from `excitation methods`. NAME:OPTION=VALUE sets an option"
                     " of the method."),
    ] = "mwp",
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="CLASS", help="Subtract the MWP map of this class. Only for --method mwp.",
                     show_default=False),
    ] = None,
    signed: Annotated[bool, typer.Option("--signed", help="Keep the negative values of a contrast.")] = False,
    policy: Policy = None,
    class_names: ClassNames = None,
    network: NetworkName = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", help="Whether to search the subfolders of folders. Hidden"
                           " folders are never searched."),
    ] = True,
    device: Device = "cpu",
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, help="Number of pictures in a batch.")
    ] = 8,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=0, max=64, help="Number of processes that draw figures while the"
                     " next batch is computed; 0 draws in the main process. Default: the number of processors minus"
                     " one, at most 4; 0 for few pictures.", show_default=False),
    ] = None,
    out: Folder = Path("out"),
    figure_format: FigureFormat = Format.png,
    scale: ColourScale = Scale.shared,
    boxes: Annotated[
        float | None,
        typer.Option("--boxes", metavar="ALPHA", help="Draw the box around all values above ALPHA times the mean of"
                     " the map.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show where in a picture a network finds the evidence for a class.

    Writes a figure and the raw maps (NPZ) of each picture to the --out folder, with the same subfolders. Prints a line
    per target, in the order of the pictures: the score, the position of the maximum in pixels of the picture (x, y) and
    the mass of the map. If a map is constant, it has no maximum (null in JSON).

    Pictures that are finished are not computed again. Results of another configuration are never overwritten. Pictures
    that cannot be read are reported and skipped, and the exit code is 2.
    """
    choice = read_method(method)
    settings: dict[str, Any] = {"layer": layer, "method": choice.method.name, **choice.options}
    if choice.layers:
        raise ExcitationError(f"--method {method} contains a layer; give it as --layer {choice.layers[0]}.")
    if against is not None:
        settings["against"] = class_or_index(against)
    if signed:
        settings["signed"] = True
    policies = read_policies(policy)
    if policies is not None:
        settings["policies"] = policies
    choice.method.check_options({key: settings[key] for key in ("against", "signed", "policies") if key in settings})
    pictures = pictures_of(places, out, recursive=recursive)
    configuration = {
        **base_configuration(model, target, class_names),
        "layer": layer,
        "method": choice.name,
        "against": against,
        "signed": signed,
        "policies": sorted(policy or []),
    }
    # All jobs are checked before any computation, so that a wrong folder is reported early.
    jobs = make_jobs(pictures, out, configuration, figure_format.value)
    finished, known = [job.finished() for job in jobs], [job.known() for job in jobs]
    todo = [i for i, job in enumerate(jobs) if not known[i]]
    figures = 0 if figure_format is Format.none else len(jobs) - sum(finished)
    lines = _Lines(jobs, as_json)
    with ProgressDisplay("explaining") as display, Drawings(worker_count(workers, figures)) as drawings:
        lines.display = display
        for i, job in enumerate(jobs):
            if finished[i]:
                lines.add(i, Result.load(job.maps))

        def style(result: Result, name: str) -> FigureOptions:
            kind = title_of(result.method) if against is None else f"{title_of(result.method)} against {against}"
            title = f"{kind} at {result.layer} of {name}"
            return FigureOptions(shared_scale=scale is Scale.shared, boxes=boxes, title=title)

        if not all(finished):
            loaded = load_network(model, device=device, class_names=class_names)
            name = network or loaded.label
            for i, job in enumerate(jobs):
                if known[i] and not finished[i]:  # the figure is missing
                    result = Result.load(job.maps)
                    lines.wait_for(i, result)
                    drawings.add(i, Drawing(result, job, read_picture(job.picture), style(result, name)))
            explainer = Explainer(loaded, **settings)
            for i, result, picture in _explained(explainer, loaded, jobs, todo, target, batch, lines.skip):
                lines.wait_for(i, result)
                drawings.add(i, Drawing(result, jobs[i], picture, style(result, name)))
                lines.drawn(drawings.finished())
            lines.drawn(drawings.finished(wait_for_all=True))
    if not as_json:
        left_out = f", {lines.failed} left out" if lines.failed else ""
        report_line(f"{len(jobs) - lines.failed} of {len(jobs)} pictures explained{left_out}; results in {out}.")
    if lines.failed:
        raise typer.Exit(2)


class _Lines:
    """Prints the lines of finished pictures in the order of the pictures, and reports the others."""

    def __init__(self, jobs: Sequence[Job], as_json: bool) -> None:
        self.display: ProgressDisplay | None = None
        self.failed = 0
        self._jobs = jobs
        self._as_json = as_json
        self._waiting: dict[int, list[str]] = {}
        self._ready: dict[int, list[str]] = {}
        self._next = 0
        self._done = 0

    def add(self, index: int, result: Result) -> None:
        """A picture is finished."""
        self._close(index, result.lines(self._jobs[index], self._as_json))

    def wait_for(self, index: int, result: Result) -> None:
        """The maps of a picture are computed; `drawn` finishes it."""
        self._waiting[index] = result.lines(self._jobs[index], self._as_json)

    def drawn(self, finished: Iterator[tuple[int, Exception | None]]) -> None:
        """The files of some pictures are written, or could not be drawn."""
        for index, error in finished:
            lines = self._waiting.pop(index)
            if error is None:
                self._close(index, lines)
            else:
                self.skip(index, f"{self._jobs[index].picture}: {error}")

    def skip(self, index: int, reason: str) -> None:
        """A picture is left out."""
        self.failed += 1
        report_line(reason)
        self._close(index, [])

    def _close(self, index: int, lines: list[str]) -> None:
        self._ready[index] = lines
        self._done += 1
        while self._next in self._ready:
            answer(self._ready.pop(self._next))
            self._next += 1
        if self.display is not None:
            self.display.update(self._done, len(self._jobs))


def _explained(
    explainer: Explainer,
    loaded: LoadedModel,
    jobs: Sequence[Job],
    todo: Sequence[int],
    targets: Sequence[str],
    batch: int,
    skip: Callable[[int, str], None],
) -> Iterator[tuple[int, Result, Any]]:
    """Explain pictures in batches; yield the index, the result and the picture of each."""
    said: set[str] = set()
    classes = [class_or_index(text) for text in targets]
    for members in batches_of(_input_sizes(loaded, jobs, todo), batch):
        pictures = {}
        for i in members:
            found = read_for(loaded, jobs[i].picture)
            if isinstance(found, PictureError):
                skip(i, str(found))
            else:
                pictures[i] = found
        if not pictures:
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = explainer(list(pictures.values()), classes)
        for text in dict.fromkeys(str(warning.message) for warning in caught):
            if text not in said:
                said.add(text)
                report_line(text)
        for place, (i, picture) in enumerate(pictures.items()):
            yield i, Result.of(result.image(place), targets, jobs[i]), picture


def _input_sizes(loaded: LoadedModel, jobs: Sequence[Job], todo: Sequence[int]) -> dict[int, object]:
    """The size of the network input of each picture; `None` for pictures that cannot be read or have no input size."""
    return {i: _input_size(loaded, jobs[i].picture) for i in todo}


def _input_size(loaded: LoadedModel, picture: Path) -> tuple[int, int] | None:
    size = picture_size(picture)
    try:
        return None if size is None else loaded.preprocessing.input_size(size)
    except ExcitationError:
        return None


def batches_of(sizes: Mapping[int, object], most: int) -> Iterator[list[int]]:
    """Form batches of equal sizes over the whole list, in the order of their first pictures.

    Args:
        sizes: the size of each picture.
        most: number of pictures in a full batch.

    Yields:
        Batches of one to `most` pictures of one size. Each picture occurs once.
    """
    by_size: dict[object, list[int]] = {}
    for i, size in sizes.items():
        by_size.setdefault(size, []).append(i)
    batches = [items[at : at + most] for items in by_size.values() for at in range(0, len(items), most)]
    yield from sorted(batches, key=lambda items: items[0])
