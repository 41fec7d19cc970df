"""A strip of maps: how each method's map of one image changes as the network forgets."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib.figure import Figure

from ...methods import blur
from ...models._loaded import LoadedModel
from ...views import FigureRow, Panel, figure
from ._choice import Checked
from ._randomisation import Maps, maps_by_stage
from ._similarity import rank_correlation
from ._stages import list_stages
from ._subjects import Subject

SHOWN = 4
"""Stages in a strip, beside the trained network's maps."""


def strip_figure(
    model: LoadedModel, subject: Subject, methods: Mapping[str, Checked], *, seed: int = 0, index: int = 0
) -> Figure:
    """Maps of one image, a row for each method, a column for each of some stages.

    Args:
        model: left as it is.
        subject: the image and the class that is asked for.
        methods: a few.
        seed: of the random networks, as `run_randomisation` takes it.
        index: of the image among those of that run, so that its networks are the same.

    Returns:
        A figure of absolute values, blurred where the paper blurs a method's maps; under each map the rank
        correlation of its own values with the trained network's.
    """
    stages = list_stages(model.model, subject.values, output=model.output)
    last = len(stages)
    shown = sorted({0, 1, last, *(round(k * last / SHOWN) for k in range(1, SHOWN))})
    panels: dict[str, list[Panel]] = {name: [] for name in methods}
    trained: Maps = {}

    def asked(count: int) -> Mapping[str, Checked]:
        return methods if count in shown else {}

    for count, maps in maps_by_stage(model, subject, stages, asked, seed=seed, index=index):
        trained = trained or maps
        title = "trained" if count == 0 else f"to {stages[count - 1].name}"
        for name, attention in maps.items():
            alike = rank_correlation(trained[name].abs(), attention.abs())
            caption = "" if count == 0 else "constant" if math.isnan(alike) else f"{alike:.2f}".replace("-", "−")
            shown_as = attention.abs()
            if "blur" in methods[name].method.steps:
                shown_as = blur(shown_as[None, None])[0, 0]
            panels[name].append(Panel(shown_as, title, caption))
    box = model.preprocessing.field_of_view((subject.picture.height, subject.picture.width))
    names = model.class_names
    target = names[subject.target].partition(",")[0] if names is not None else f"class {subject.target}"
    rows = [FigureRow(subject.picture, panels[name], name, box) for name in methods]
    return figure(rows, title=f"{target}: maps while layers are randomised from the top down")
