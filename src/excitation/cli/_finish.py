"""The last step for each picture: writes its figure and its maps."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from ..models._loaded import LoadedModel
from ..views import FigureRow, Panel, figure, find_peak, is_empty, panel_caption, save_figure
from ._inputs import Explained, Prepared
from ._query import Query
from ._results import Job, Result


def peaks_of(
    maps: Float[np.ndarray, "target height width"],
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    empty: Bool[np.ndarray, " target"],
) -> Int[np.ndarray, "target 2"]:
    """Return the peak of each map in its picture, as in `Result.peaks`. Empty maps have no peak."""
    peaks = [None if none else find_peak(one, size, box=box) for one, none in zip(maps, empty, strict=True)]
    return np.array([peak or (-1, -1) for peak in peaks])


def finish_job(job: Job, item: Prepared, explained: Explained, i: int, loaded: LoadedModel, query: Query) -> Result:
    """Write the figure and the maps of picture `i` of a batch."""
    picture = item.picture
    size = picture.height, picture.width
    box = loaded.preprocessing.field_of_view(size)
    maps = explained.maps[i].numpy()
    scores = explained.scores[i].numpy()
    names = explained.names[i]
    empty = np.array([is_empty(one) for one in maps])
    result = Result(
        maps=maps,
        targets=query.targets if len(query.targets) == len(names) else names,
        names=names,
        scores=scores,
        masses=maps.sum((1, 2), dtype=np.float64),
        peaks=peaks_of(maps, size, box, empty),
        empty=empty,
        layer=explained.layer,
        box=box,
        picture_size=size,
        configuration=job.configuration,
    )
    panels = [
        Panel(one, name, panel_caption(score, mass), none)
        for one, name, score, mass, none in zip(
            maps, names, scores.tolist(), result.masses.tolist(), empty.tolist(), strict=True
        )
    ]
    row = FigureRow(picture, panels, job.picture.stem, box)
    title = f"{query.kind(loaded.class_names)} at {explained.layer}"
    save_figure(figure([row], title=title, signed=query.signed, mark_peaks=True), job.figure)
    result.save(job.maps)
    return result
