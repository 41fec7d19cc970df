"""The implementation of `excitation compare`: maps of several methods, saved and drawn in one figure."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from .._errors import ExcitationError, TargetError
from ..core import layer_name
from ..methods import Method, find_method, post_process
from ..models._loaded import LoadedModel
from ..views import Compared, comparison, save_figure
from ._finish import peaks_of
from ._inputs import Prepared, scores_of
from ._query import Query
from ._results import Job, Result, ResultError, peak_in_words

TITLES = {
    "gradient": "Grad", "deconv": "Deconv", "deconvnet": "DeconvNet", "smoothgrad": "SmoothGrad", "lrp": "LRP",
    "cam": "CAM", "grad-cam": "Grad-CAM", "grad-cam++": "Grad-CAM++", "layer-cam": "LayerCAM",
    "score-cam": "Score-CAM", "rise": "RISE", "mwp": "MWP", "c-mwp": "c-MWP", "r-mwp": "r-MWP", "c-lrp": "c-LRP",
    "clrp": "CLRP", "sglrp": "SGLRP", "c-gradient": "c-Grad", "c-deconv": "c-Deconv",
    "c-cam": "c-CAM", "feedback": "Feedback", "selective-tuning": "Selective Tuning", "centre": "Centre",
}  # fmt: skip
"""What methods are called in the paper and by their authors; others go by their own names."""


@dataclass(frozen=True)
class Asked:
    """One method of a comparison.

    Attributes:
        method: the registered method.
        layer: layer of the maps; the choice of the method if `None`.
    """

    method: Method
    layer: str | None

    @property
    def key(self) -> str:
        """Name of its file, without the extension."""
        place = "" if self.layer is None else f"@{self.layer}"
        return f"{self.method.name}{place}".replace("/", "-")


@dataclass(frozen=True)
class Row:
    """The result of one method, or the reason why there is none."""

    asked: Asked
    result: Result | None
    reason: str = ""


def asked_methods(text: str, layer: str | None) -> list[Asked]:
    """Parse a comma-separated list of methods. `NAME@LAYER` gives a method its own layer.

    Args:
        text: the list.
        layer: layer for methods of Excitation Backprop without a layer of their own.

    Raises:
        ExcitationError: unknown method, an unknown method, or a method is given twice.
    """
    found: list[Asked] = []
    for item in filter(None, map(str.strip, text.split(","))):
        name, _, own = item.partition("@")
        method = find_method(name)
        one = Asked(method, own or (layer if method.family == "excitation" else None))
        if one.key in {other.key for other in found}:
            raise ExcitationError(f"method {item!r} is named twice; once is enough.")
        found.append(one)
    if not found:
        raise ExcitationError("no method is named; give at least one, such as --methods mwp,c-mwp.")
    return found


def compare_methods(
    loaded: LoadedModel,
    item: Prepared,
    query: Query,
    todo: Sequence[tuple[Asked, Job]],
    told: Callable[[str], None],
    done: Callable[[Asked], None],
) -> list[Row]:
    """Compute the maps of each method, or load the result of an earlier run.

    Args:
        loaded: the network.
        item: the picture.
        query: the targets.
        todo: methods, and the files of their results.
        told: function that is called once with each warning.
        done: function that is called after each method.

    Raises:
        ExcitationError: a target or a layer does not exist, or no method applies to the network.
    """
    # Check all jobs before any computation, so that a wrong folder is reported early.
    is_known = [job.known() for _, job in todo]
    for asked, _ in todo:
        if asked.layer is not None:
            layer_name(loaded.model, asked.layer)
    scores, names = scores_of(loaded, item, query)
    rows, said = [], set[str]()
    for (asked, job), known in zip(todo, is_known, strict=True):
        try:
            result = Result.load(job.maps) if known else _result(loaded, item, query, asked, job, scores, names, said)
            rows.append(Row(asked, result))
        except (TargetError, ResultError):
            raise
        except ExcitationError as error:
            rows.append(Row(asked, None, " ".join(str(error).split())))
        for text in sorted(said):
            told(text)
        said.clear()
        done(asked)
    if not any(row.result for row in rows):
        raise ExcitationError(f"none of the methods applies. {rows[0].asked.method.name}: {rows[0].reason}")
    return rows


def _result(
    loaded: LoadedModel,
    item: Prepared,
    query: Query,
    asked: Asked,
    job: Job,
    scores: torch.Tensor,
    names: tuple[str, ...],
    said: set[str],
) -> Result:
    images = item.values[None]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        maps, seconds = _timed(lambda: asked.method(loaded, images, query.classes, layer=asked.layer))
    said.update(str(warning.message) for warning in caught)
    size = item.picture.height, item.picture.width
    box = loaded.preprocessing.field_of_view(size)
    empty = np.array([not one.any() for one in maps])
    result = Result(
        maps=maps,
        targets=query.targets if len(query.targets) == len(names) else names,
        names=names,
        scores=scores.numpy(),
        masses=maps.sum((1, 2), dtype=np.float64),
        peaks=peaks_of(shown_maps(asked, maps, images.shape[2:]), size, box, empty),
        empty=empty,
        layer=asked.layer or "",
        box=box,
        picture_size=size,
        configuration=job.configuration,
        seconds=seconds,
    )
    result.save(job.maps)
    return result


def _timed(run: Callable[[], torch.Tensor]) -> tuple[Float[np.ndarray, "target height width"], float]:
    """Return the maps of one image and their time in seconds. Short runs are repeated, to exclude the warm-up."""
    best = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        maps = run()[0].cpu().numpy()
        best = min(best, time.perf_counter() - started)
        if best > 5:
            break
    return maps, best


def shown_maps(
    asked: Asked, maps: Float[np.ndarray, "target height width"], size: Sequence[int]
) -> Float[np.ndarray, "target new_height new_width"]:
    """Apply the paper's post-processing of the method to its maps.

    Maps without negative values get no negative values, and constant maps remain constant, independent of rounding.
    """
    shown = post_process(torch.from_numpy(maps)[None], asked.method.steps, size)[0].numpy()
    lowest = maps.min(axis=(1, 2), keepdims=True)
    shown = np.where(lowest >= 0, shown.clip(min=0), shown)
    return np.where(lowest == maps.max(axis=(1, 2), keepdims=True), lowest, shown)


def draw_comparison(loaded: LoadedModel, item: Prepared, rows: Sequence[Row], place: Path) -> None:
    """Write the figure: the picture at the top, one row per method, one column per target."""
    size = item.values.shape[1:]
    known = next(row.result for row in rows if row.result is not None)
    drawn = comparison(
        item.picture,
        list(known.names),
        [_drawn(row, size) for row in rows],
        notes=[f"score {_short(score)}" for score in known.scores.tolist()],
        box=loaded.preprocessing.field_of_view((item.picture.height, item.picture.width)),
    )
    save_figure(drawn, place)


def _drawn(row: Row, size: Sequence[int]) -> Compared:
    method = row.asked.method
    name = TITLES.get(method.name, method.name)
    if row.result is None:
        return Compared(name, reason=row.reason)
    return Compared(
        name,
        note=_time(row.result.seconds or 0.0),
        maps=list(shown_maps(row.asked, row.result.maps, size)),
        captions=_captions(row.result),
    )


def _captions(result: Result) -> list[str]:
    """Return a caption for each map: its mass, or that the map is constant."""
    return ["constant" if peak is None else f"mass {_short(mass)}" for _, peak, mass in result.rows()]


def _short(number: float) -> str:
    """Format a number with three digits."""
    text = f"{number:,.0f}" if 1000 <= abs(number) < 1e6 else f"{number + 0.0:#.3g}".rstrip(".")
    return text.replace("-", "−")


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:#.2g} s"


def told_lines(rows: Sequence[Row], image: Path, figure: Path, jobs: Sequence[Job], as_json: bool) -> list[str]:
    """Return one line for each method and target, as text or JSON."""
    lines = []
    for row, job in zip(rows, jobs, strict=True):
        name, result = row.asked.method.name, row.result
        common = {"image": str(image), "method": name, "layer": row.asked.layer, "figure": str(figure)}
        if result is None:
            lines.append(json.dumps({**common, "problem": row.reason}) if as_json else f"{image}: {name}: {row.reason}")
            continue
        for i, (score, peak, mass) in enumerate(result.rows()):
            if as_json:
                own = {"target": result.targets[i], "name": result.names[i], "score": score, "peak": peak}
                more = {"mass": mass, "seconds": result.seconds, "maps": str(job.maps), "index": i}
                lines.append(json.dumps({**common, **own, **more}))
            else:
                lines.append(
                    f"{image}: {name}: {result.names[i]}: score {score:.4g}, {peak_in_words(peak)}, mass {mass:.4g},"
                    f" all in {result.seconds or 0.0:.3g} s"
                )
    return lines
