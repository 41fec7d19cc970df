"""Randomisation: whether a map changes when the weights of the network are randomised."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from ..._errors import BypassWarning, ExcitationError
from ..._maps import points_nowhere
from ...methods import blur
from ...models._loaded import LoadedModel
from ...views import FigureRow, Panel, figure
from .._configuration import hash_model
from .._pointing import TOLERANCE, is_hit, point_of_map
from ._choice import EVERY, Checked
from ._findings import Findings, open_findings, plain_number
from ._similarity import gradient_similarity, on_grid, rank_correlation, structural_similarity
from ._stages import Order, Stage, cascade, list_stages
from ._subjects import Subject

CELLS = 20
"""Of the common grid along an image's shorter side, on which maps of all sizes are compared alike."""

SHOWN = 4
"""Stages in a strip, beside the trained network's maps."""

MEASURES = {
    "grid": "rank correlation on the common grid",
    "absolute": "rank correlation of absolutes",
    "rank": "rank correlation",
    "ssim": "structural similarity",
    "hog": "correlation of gradient histograms",
}
"""How alike the maps of the trained and the randomised network are, by name."""

Maps = dict[str, Float[torch.Tensor, "_ _"]]


def run_randomisation(
    model: LoadedModel,
    subjects: Iterable[Subject],
    methods: Mapping[str, Checked],
    *,
    out: str | os.PathLike[str],
    order: Order = "cascading",
    seed: int = 0,
    expensive: int = 2,
    every: int = 1,
    about: Mapping[str, Any] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Findings:
    """Randomise a network's weighted layers and compare each method's maps with those of the trained network.

    Every image has its own random networks, so that intervals over images include the variation of random weights.

    Args:
        model: left as it is; copies are randomised.
        subjects: images with the class that is asked for, which stays the same throughout.
        methods: what is checked, by name.
        out: the JSON file of results; a file of the same configuration is continued.
        order: `"cascading"`: from the top down, all layers so far; `"independent"`: one at a time.
        seed: seed of the random networks.
        expensive: how many images expensive methods see, at a third of the stages.
        every: maps are taken after the first stage, every so many, and the last.
        about: more to write into the configuration, such as where the images come from.
        progress: function that is called with the name of an image and the finished fraction of it, 0 to 1.

    Returns:
        Results: for each image and method, by stage, the measures of `MEASURES` (`null` where a map is constant and
        no measure is defined) and `hit`, whether the map's maximum lies on the target or within 15 pixels (`null`
        where the target's place is not known; a map that is the same everywhere points nowhere and misses).

    Raises:
        ExcitationError: the file cannot be continued, or no image is given.

    Source: Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, "Sanity Checks for Saliency Maps", NeurIPS 2018, Sec. 3.
    """
    stages: list[Stage] = []
    findings: Findings | None = None
    for index, subject in enumerate(subjects):
        if findings is None:
            stages = list_stages(model.model, subject.values, output=model.output)
            findings = open_findings(out, _configuration(model, stages, methods, order, seed, expensive, every, about))
        if subject.name in findings.images:
            continue
        part = {name: item for name, item in methods.items() if index < expensive or not item.expensive}
        found = _one_image(model, subject, stages, part, order, seed, index, every, progress)
        findings.add(subject.name, {"target": subject.target, "methods": found})
    if findings is None:
        raise ExcitationError("no image was given; a sanity check needs at least one.")
    return findings


def maps_by_stage(
    model: LoadedModel,
    subject: Subject,
    stages: list[Stage],
    asked: Callable[[int], Mapping[str, Checked]],
    *,
    order: Order = "cascading",
    seed: int,
    index: int,
) -> Iterator[tuple[int, Maps]]:
    """The maps of one image, first of the trained network and then after each stage.

    Args:
        model: the network. It is not changed.
        subject: the image.
        stages: of the network.
        asked: from how far down the randomisation is to the methods that are asked then.
        order: all layers so far, or one at a time.
        seed: seed of the random networks.
        index: of the image.

    Yields:
        How far down the randomisation is, and raw maps by method; a method that fails there has none.
    """
    for count, network in cascade(model, stages, seed, index, order):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BypassWarning)
            maps = _maps(network, subject, asked(count), trained=count == 0)
        yield count, maps


def _maps(network: LoadedModel, subject: Subject, methods: Mapping[str, Checked], *, trained: bool) -> Maps:
    maps = {}
    for name, item in methods.items():
        try:
            found = item.method(network, subject.values, [subject.target], layer=item.layer, **item.options)
        except ExcitationError:
            if trained:
                raise
            continue  # activations of a random network can overflow; the trained one's cannot
        maps[name] = found[0, 0].detach().to("cpu", torch.float64)
    return maps


def _one_image(
    model: LoadedModel,
    subject: Subject,
    stages: list[Stage],
    methods: Mapping[str, Checked],
    order: Order,
    seed: int,
    index: int,
    every: int,
    progress: Callable[[str, float], None] | None,
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the measures of one image, by method and number of randomised stages."""
    trained: Maps = {}
    found: dict[str, dict[str, dict[str, float | None]]] = {name: {} for name in methods}

    def asked(count: int) -> dict[str, Checked]:
        if count in {0, len(stages)}:
            return dict(methods)
        cheap = count == 1 or count % every == 0
        return {
            name: item for name, item in methods.items() if (count % (EVERY * every) == 0 if item.expensive else cheap)
        }

    for count, maps in maps_by_stage(model, subject, stages, asked, order=order, seed=seed, index=index):
        trained = trained or maps
        for name, attention in maps.items():
            measured = _measured(trained[name], attention)
            measured["hit"] = _hit(model, subject, methods[name], attention)
            found[name][str(count)] = measured
        if progress is not None:
            progress(subject.name, (count + 1) / (len(stages) + 1))
    return found


def _measured(trained: torch.Tensor, attention: torch.Tensor) -> dict[str, float | None]:
    absolute = trained.abs(), attention.abs()
    values = {
        "grid": rank_correlation(*(on_grid(item, CELLS) for item in absolute)),
        "absolute": rank_correlation(*absolute),
        "rank": rank_correlation(trained, attention),
        "ssim": structural_similarity(trained, attention),
        "hog": gradient_similarity(*(on_grid(item, CELLS) for item in (trained, attention))),
    }
    return {name: plain_number(value) for name, value in values.items()}


def _hit(model: LoadedModel, subject: Subject, item: Checked, attention: torch.Tensor) -> float | None:
    if subject.pixels is None:
        return None
    if points_nowhere(attention):
        return 0.0
    size = (subject.picture.height, subject.picture.width)
    box = model.preprocessing.field_of_view(size)
    point = point_of_map(attention.float(), size, box=box, blur="blur" in item.method.steps)
    return float(is_hit(point, subject.pixels, TOLERANCE))


def _configuration(
    model: LoadedModel,
    stages: list[Stage],
    methods: Mapping[str, Checked],
    order: Order,
    seed: int,
    expensive: int,
    every: int,
    about: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return {
        "check": "randomisation",
        "order": order,
        "model": {"spec": model.spec, "hash": hash_model(model.model)},
        "stages": [stage.name for stage in stages],
        "methods": {name: item.configuration() for name, item in methods.items()},
        "seed": seed,
        "every": every,
        "expensive": {"images": expensive, "every": every * EVERY},
        "cells": CELLS,
        "tolerance": TOLERANCE,
        **(about or {}),
    }


def strip_figure(
    model: LoadedModel, subject: Subject, methods: Mapping[str, Checked], *, seed: int = 0, index: int = 0
) -> Figure:
    """Maps of one image, a row for each method, a column for each of some stages.

    Args:
        model: the network. It is not changed.
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
