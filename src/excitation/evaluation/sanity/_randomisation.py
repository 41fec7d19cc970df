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
"""Cells of the common grid along the shorter side of an image. Maps of all sizes are compared on this grid."""

SHOWN = 4
"""Stages in a strip figure, in addition to the maps of the trained network."""

MEASURES = {
    "grid": "rank correlation on the common grid",
    "absolute": "rank correlation of absolutes",
    "rank": "rank correlation",
    "ssim": "structural similarity",
    "hog": "correlation of gradient histograms",
}
"""Measures of similarity between the maps of the trained and the randomised network, by name."""

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
    """Randomise the weighted layers of a network, and compare the maps of each method with the trained network's.

    Every image has its own random networks, so that intervals over images include the variation of random weights.

    Args:
        model: the network. It is not changed; copies are randomised.
        subjects: images with their target classes.
        methods: methods to check, by name.
        out: the JSON file of results. A file with the same configuration is continued.
        order: `"cascading"` to randomise layers cumulatively from the top down; `"independent"` to randomise one layer
            at a time.
        seed: seed of the random networks.
        expensive: number of images for expensive methods, which also use a third of the stages.
        every: maps are computed after the first stage, every `every`-th stage and the last stage.
        about: further entries of the configuration, such as the source of the images.
        progress: function that is called with the name of an image and the finished fraction of it, 0 to 1.

    Returns:
        Results: for each image and method, by stage, the measures of `MEASURES` (`null` if a map is constant, because
        no measure is then defined) and `hit`: whether the maximum of the map is on the target or within 15 pixels
        (`null` if the location of the target is unknown; a constant map is a miss).

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
        measures = _one_image(model, subject, stages, part, order, seed, index, every, progress)
        findings.add(subject.name, {"target": subject.target, "methods": measures})
    if findings is None:
        raise ExcitationError("no image was given; give at least one.")
    return findings


def maps_by_stage(
    model: LoadedModel,
    subject: Subject,
    stages: list[Stage],
    choose: Callable[[int], Mapping[str, Checked]],
    *,
    order: Order = "cascading",
    seed: int,
    index: int,
) -> Iterator[tuple[int, Maps]]:
    """Yield the maps of one image: those of the trained network, then those after each stage.

    Args:
        model: the network. It is not changed.
        subject: the image and its target class.
        stages: stages of the network (see `list_stages`).
        choose: function from the number of randomised stages to the methods that compute maps.
        order: cumulative, or one stage at a time.
        seed: seed of the random networks.
        index: index of the image.

    Yields:
        The number of randomised stages, and maps without post-processing by method. A method that fails on a randomised
        network has no map.
    """
    for count, network in cascade(model, stages, seed, index, order):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BypassWarning)
            maps = _maps(network, subject, choose(count), trained=count == 0)
        yield count, maps


def _maps(network: LoadedModel, subject: Subject, methods: Mapping[str, Checked], *, trained: bool) -> Maps:
    maps = {}
    for name, item in methods.items():
        try:
            made = item.method(network, subject.values, [subject.target], layer=item.layer, **item.options)
        except ExcitationError:
            if trained:
                raise
            continue  # activations of a randomised network can overflow
        maps[name] = made[0, 0].detach().to("cpu", torch.float64)
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
    measures: dict[str, dict[str, dict[str, float | None]]] = {name: {} for name in methods}

    def choose(count: int) -> dict[str, Checked]:
        if count in {0, len(stages)}:
            return dict(methods)
        cheap = count == 1 or count % every == 0
        return {
            name: item for name, item in methods.items() if (count % (EVERY * every) == 0 if item.expensive else cheap)
        }

    for count, maps in maps_by_stage(model, subject, stages, choose, order=order, seed=seed, index=index):
        trained = trained or maps
        for name, attention in maps.items():
            measured = _measured(trained[name], attention)
            measured["hit"] = _hit(model, subject, methods[name], attention)
            measures[name][str(count)] = measured
        if progress is not None:
            progress(subject.name, (count + 1) / (len(stages) + 1))
    return measures


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
    """Plot the maps of one image, with one row per method and one column for each of several stages.

    Args:
        model: the network. It is not changed.
        subject: the image and its target class.
        methods: methods of the rows.
        seed: seed of the random networks, as in `run_randomisation`.
        index: index of the image in this run, so that the random networks are the same.

    Returns:
        A figure of absolute values, smoothed for methods with `"blur"` among their steps. The caption of each map is
        the rank correlation of its absolute values with those of the trained network.
    """
    stages = list_stages(model.model, subject.values, output=model.output)
    last = len(stages)
    shown = sorted({0, 1, last, *(round(k * last / SHOWN) for k in range(1, SHOWN))})
    panels: dict[str, list[Panel]] = {name: [] for name in methods}
    trained: Maps = {}

    def choose(count: int) -> Mapping[str, Checked]:
        return methods if count in shown else {}

    for count, maps in maps_by_stage(model, subject, stages, choose, seed=seed, index=index):
        trained = trained or maps
        title = "trained" if count == 0 else f"to {stages[count - 1].name}"
        for name, attention in maps.items():
            similarity = rank_correlation(trained[name].abs(), attention.abs())
            text = "constant" if math.isnan(similarity) else f"{similarity:.2f}".replace("-", "−")
            caption = "" if count == 0 else text
            shown_as = attention.abs()
            if "blur" in methods[name].method.steps:
                shown_as = blur(shown_as[None, None])[0, 0]
            panels[name].append(Panel(shown_as, title, caption))
    box = model.preprocessing.field_of_view((subject.picture.height, subject.picture.width))
    names = model.class_names
    target = names[subject.target].partition(",")[0] if names is not None else f"class {subject.target}"
    rows = [FigureRow(subject.picture, panels[name], name, box) for name in methods]
    return figure(rows, title=f"{target}: maps while layers are randomised from the top down")
