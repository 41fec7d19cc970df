"""What `excitation compare` does: each method asked the same, its maps kept, all of them in one figure."""

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
        method: as registered.
        layer: where it is to take its maps; its own choice if `None`.
    """

    method: Method
    layer: str | None

    @property
    def key(self) -> str:
        """Name of its file, without the ending."""
        place = "" if self.layer is None else f"@{self.layer}"
        return f"{self.method.name}{place}".replace("/", "-")


@dataclass(frozen=True)
class Row:
    """What became of one method: a result, or why there is none."""

    asked: Asked
    result: Result | None
    reason: str = ""


def asked_methods(text: str, layer: str | None) -> list[Asked]:
    """Methods as typed: names with commas between, `NAME@LAYER` for a layer of its own.

    Args:
        text: the names.
        layer: for methods of Excitation Backprop without one of their own.

    Raises:
        ExcitationError: no method, an unknown one, or one twice.
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
    """Ask each method, or take what an earlier run found.

    Args:
        loaded: the network.
        item: the picture.
        query: the targets.
        todo: methods, and where their results go.
        told: is given each warning once.
        done: is called after each method.

    Raises:
        ExcitationError: a target or a layer does not exist, or none of the methods applies.
    """
    # All are looked at before anything is computed, so that a wrong folder is known at once.
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
    """The one image's maps, and the seconds they took; a short run is repeated, since a first one also warms up."""
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
    """Maps after the steps the paper gives the method.

    Those without negative values get none, and one that is the same everywhere stays so, whatever rounding does.
    """
    shown = post_process(torch.from_numpy(maps)[None], asked.method.steps, size)[0].numpy()
    lowest = maps.min(axis=(1, 2), keepdims=True)
    shown = np.where(lowest >= 0, shown.clip(min=0), shown)
    return np.where(lowest == maps.max(axis=(1, 2), keepdims=True), lowest, shown)


def draw_comparison(loaded: LoadedModel, item: Prepared, rows: Sequence[Row], place: Path) -> None:
    """Write the figure: the picture on top, a row for each method, a column for each target."""
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
    """Each map's mass; of a map that is the same everywhere, which points nowhere, that."""
    return ["constant" if peak is None else f"mass {_short(mass)}" for _, peak, mass in result.rows()]


def _short(number: float) -> str:
    """Three digits, in words a figure can bear."""
    text = f"{number:,.0f}" if 1000 <= abs(number) < 1e6 else f"{number + 0.0:#.3g}".rstrip(".")
    return text.replace("-", "−")


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:#.2g} s"


def told_lines(rows: Sequence[Row], image: Path, figure: Path, jobs: Sequence[Job], as_json: bool) -> list[str]:
    """One line for each method and target: for people, or JSON."""
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
