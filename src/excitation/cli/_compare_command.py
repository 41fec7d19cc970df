"""`excitation compare`: several methods on one picture, in one figure."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from .._errors import ExcitationError, NotApplicableError, UnsupportedOperationError
from ..core import Explanation, layer_name
from ..data._pictures import PictureError
from ..explainers import Comparison, Explainer, none_applies
from ..explainers._comparison import PAPER
from ..models import LoadedModel
from ._console import ProgressDisplay, answer, report_line
from ._options import (
    AsJson,
    ClassNames,
    ColourScale,
    Device,
    FigureFormat,
    Folder,
    Format,
    MethodChoice,
    ModelSpec,
    NetworkName,
    Policy,
    Scale,
    Targets,
    base_configuration,
    class_or_index,
    load_network,
    read_for,
    read_method,
    read_policies,
    split,
)
from ._results import Job, Result, make_jobs, peak_in_words


@dataclass(frozen=True)
class Compared:
    """One method of a comparison.

    Attributes:
        choice: the method with its options.
        layer: layer of the maps; the choice of the method if `None`.
        job: the files of the result.
    """

    choice: MethodChoice
    layer: str | None
    job: Job


def compare_command(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture.", show_default=False)],
    model: ModelSpec,
    target: Targets,
    methods: Annotated[
        str, typer.Option("--methods", metavar="NAMES", help="Comma-separated names from `excitation methods`."
                          " NAME@LAYER sets the layer of a method, NAME:OPTION=VALUE its options.")
    ] = ",".join(PAPER),
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAME", help="Layer for the methods of Excitation Backprop without @LAYER."
                     " Other methods without @LAYER use their default layers.", show_default=False),
    ] = None,
    policy: Policy = None,
    class_names: ClassNames = None,
    network: NetworkName = None,
    device: Device = "cpu",
    out: Folder = Path("out"),
    figure_format: FigureFormat = Format.png,
    scale: ColourScale = Scale.own,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Compare methods on one picture: one row per method, one column per target.

    Writes the figure NAME.compare.png to the --out folder, and the raw maps (NPZ) of each method to the subfolder NAME,
    the name of the picture. Below each map is its mass, for methods with mass; below the name of each method is its
    run time for all targets. Maps are shown as in the paper: Grad, Deconv and LRP are blurred, coarse maps are
    enlarged. Each map has its own colour scale, or the maps of each method share one (--scale shared); blue is
    negative. If a method does not apply to the network, the reason is shown. Results of an earlier run are not
    computed again.
    """
    choices = _choices(methods, layer)
    policies = read_policies(policy)
    configuration = {**base_configuration(model, target, class_names), "policies": sorted(policy or [])}
    loaded = load_network(model, device=device, class_names=class_names)
    picture = read_for(loaded, image)
    if isinstance(picture, PictureError):
        raise picture
    (whole,) = make_jobs({image: Path(f"{image.stem}.compare")}, out, configuration, figure_format.value)
    todo = []
    for choice, place in choices:
        if place is not None:
            layer_name(loaded.model, place)
        own = {**whole.configuration, "method": choice.name, "layer": place}
        file = _file_of(choice, place)
        todo.append(Compared(choice, place, Job(image, None, out / image.stem / f"{file}.npz", own)))
    # All jobs are checked before any computation, so that a wrong folder is reported early.
    known = [one.job.known() for one in todo]
    explanations: dict[str, Explanation] = {}
    reasons: dict[str, str] = {}
    results: list[Result | str] = []
    with ProgressDisplay("comparing") as display:
        for done, (one, is_known) in enumerate(zip(todo, known, strict=True)):
            display.update(done, len(todo), note=one.choice.name)
            name = f"{one.choice.name}@{one.layer}" if one.choice.layers else one.choice.name
            try:
                extra = {"policies": policies} if policies and one.choice.method.family == "excitation" else {}
                found = Result.load(one.job.maps) if is_known else _result(loaded, picture, target, one, extra)
            except (NotApplicableError, UnsupportedOperationError) as error:
                reasons[name] = " ".join(str(error).split())
                results.append(reasons[name])
            else:
                explanations[name] = found.explanation(image)
                results.append(found)
    if not explanations:
        raise none_applies(reasons)
    seconds = {
        name: found.seconds or 0.0
        for name, found in zip(explanations, (item for item in results if isinstance(item, Result)), strict=True)
    }
    if whole.figure is not None:
        shown = Comparison(explanations, reasons, seconds, network or loaded.label)
        shown.save(whole.figure, shared_scale=scale is Scale.shared)
    answer(_lines(todo, results, whole, as_json))
    if not as_json:
        figure = f"figure {whole.figure}, " if whole.figure is not None else ""
        report_line(f"{figure}raw maps in {out / image.stem}.")


def _choices(text: str, layer: str | None) -> list[tuple[MethodChoice, str | None]]:
    """Parse the methods and their layers.

    Raises:
        ExcitationError: there is no method, an unknown method or option, or a method is given twice.
    """
    found: dict[str, tuple[MethodChoice, str | None]] = {}
    for item in split(text):
        choice = read_method(item)
        if len(choice.layers) > 1:
            raise ExcitationError(f"method {item!r} has several layers; give one here, and the method again.")
        own = choice.layers[0] if choice.layers else layer if choice.method.family == "excitation" else None
        key = _file_of(choice, own)
        if key in found:
            raise ExcitationError(f"method {item!r} is given twice; give it once.")
        found[key] = choice, own
    if not found:
        raise ExcitationError("no method is given; give at least one, such as --methods mwp,c-mwp.")
    return list(found.values())


def _file_of(choice: MethodChoice, layer: str | None) -> str:
    """Name of the file of a method, without the extension."""
    return f"{choice.name}{'' if layer is None else f'@{layer}'}".replace("/", "-")


def _result(
    loaded: LoadedModel, picture: Image.Image, targets: Sequence[str], one: Compared, extra: Mapping[str, Any]
) -> Result:
    """Compute and save the maps of one method."""
    explainer = Explainer(
        loaded,
        layer=one.layer,
        method=one.choice.method.name,
        **{**one.choice.options, **extra},
    )
    classes = [class_or_index(text) for text in targets]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, seconds = _timed(lambda: explainer(picture, classes))
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        report_line(text)
    result = Result.of(found, targets, one.job, seconds=seconds)
    result.save(one.job.maps)
    return result


def _timed(run: Callable[[], Explanation]) -> tuple[Explanation, float]:
    """Return the result and its time in seconds. Short runs are repeated, to exclude the warm-up."""
    best = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        found = run()
        best = min(best, time.perf_counter() - started)
        if best > 5:
            break
    return found, best


def _lines(todo: Sequence[Compared], results: Sequence[Result | str], whole: Job, as_json: bool) -> list[str]:
    """Return one line for each method and target, as text or JSON."""
    lines = []
    image = str(whole.picture)
    figure = None if whole.figure is None else str(whole.figure)
    for one, found in zip(todo, results, strict=True):
        name = one.choice.name
        common = {"image": image, "method": name, "layer": one.layer, "figure": figure}
        if isinstance(found, str):
            lines.append(json.dumps({**common, "problem": found}) if as_json else f"{image}: {name}: {found}")
            continue
        for i, (score, peak, mass) in enumerate(found.rows()):
            if as_json:
                own = {"target": found.targets[i], "name": found.names[i], "score": score, "peak": peak}
                more = {"mass": mass, "seconds": found.seconds, "maps": str(one.job.maps), "index": i}
                lines.append(json.dumps({**common, **own, **more}))
            else:
                amount = "" if found.top is None else f" mass {mass:.4g},"
                lines.append(
                    f"{image}: {name}: {found.names[i]}: score {score:.4g}, {peak_in_words(peak)},{amount}"
                    f" all in {found.seconds or 0.0:.3g} s"
                )
    return lines
