"""Convergence: whether the signals of different classes become equal during the downward sweep."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..._errors import ExcitationError
from ...methods._backpropagated import BACKPROPAGATED, backpropagated
from ...models._loaded import LoadedModel
from .._configuration import hash_model
from ._findings import Findings, open_findings, plain_number
from ._similarity import cosine
from ._stages import list_stages
from ._subjects import Subject


def run_convergence(
    model: LoadedModel,
    subjects: Iterable[Subject],
    methods: Sequence[str],
    *,
    out: str | os.PathLike[str],
    seed: int = 0,
    pairs: int = 5,
    about: Mapping[str, Any] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Findings:
    """Propagate the signals of two random classes and compare them below each weighted layer, by their cosine.

    Maps at the image can differ between classes only if the signals there differ. A product of nonnegative matrices
    approaches rank one, so that signals of rules with such matrices converge to one direction for all classes.

    Args:
        model: the network. It is not changed.
        subjects: images; their own targets are not used.
        methods: names of methods that carry signals (see `backpropagated`).
        out: the JSON file of results; a file of the same configuration is continued.
        seed: of the classes.
        pairs: of classes for each image.
        about: further entries of the configuration.
        progress: function that is called with the name of an image and the finished fraction of it, 0 to 1.

    Returns:
        Results: for each image and method, by stage from the top down, the median over the pairs of the `cosine` of
        the whole signals (all channels, signs kept) just below the stage, and of its `absolute` value: two signals
        that differ in sign alone have one direction left between them; `null` where a signal is zero.

    Raises:
        ExcitationError: the file cannot be continued, a method carries no signal, or no image is given.

    Source: Sixt, Granz, Landgraf, "When Explanations Lie: Why Many Modified BP Attributions Fail", ICML 2020, Sec. 4.
    """
    for name in methods:
        if name not in BACKPROPAGATED:
            raise ExcitationError(
                f"method {name!r} does not pass a signal from layer to layer; methods that do:"
                f" {', '.join(BACKPROPAGATED)}."
            )
    findings: Findings | None = None
    layers: list[str] = []
    for index, subject in enumerate(subjects):
        if findings is None:
            stages = list_stages(model.model, subject.values, output=model.output)
            layers = [stage.below for stage in stages]
            findings = open_findings(
                out,
                {
                    "check": "convergence",
                    "model": {"spec": model.spec, "hash": hash_model(model.model)},
                    "stages": [stage.name for stage in stages],
                    "layers": layers,
                    "methods": list(methods),
                    "seed": seed,
                    "pairs": pairs,
                    **(about or {}),
                },
            )
        if subject.name in findings.images:
            continue
        rng = np.random.default_rng([seed, index])
        classes = [[int(item) for item in rng.choice(len(subject.scores), 2, replace=False)] for _ in range(pairs)]
        found: dict[str, dict[str, list[float | None]]] = {}
        for done, name in enumerate(methods, 1):
            cosines = class_cosines(model, subject.values, name, classes, layers)
            columns = [[row[k] for row in cosines] for k in range(len(layers))]
            found[name] = {
                "cosine": [_median(column) for column in columns],
                "absolute": [_median([abs(value) for value in column]) for column in columns],
            }
            if progress is not None:
                progress(subject.name, done / len(methods))
        findings.add(subject.name, {"classes": classes, "methods": found})
    if findings is None:
        raise ExcitationError("no image was given; a sanity check needs at least one.")
    return findings


def class_cosines(
    model: LoadedModel, image: torch.Tensor, method: str, classes: Sequence[Sequence[int]], layers: Sequence[str]
) -> list[list[float]]:
    """The cosine of two classes' signals at each layer, on one image.

    Args:
        model: the network.
        image: `(1, channel, height, width)`.
        method: a name of `BACKPROPAGATED`.
        classes: pairs of class indices.
        layers: from the top down.

    Returns:
        For each pair, -1 to 1 at each layer; NaN where a signal is zero.
    """
    asked = sorted({index for pair in classes for index in pair})
    signals = backpropagated(method, model, image, asked, layers)
    rows = []
    for pair in classes:
        first, second = (asked.index(index) for index in pair)
        rows.append([cosine(p[:, first], p[:, second]) for p in signals])
    return rows


def _median(values: list[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return plain_number(float(np.median(known))) if known else None
