"""Convergence: whether the top-down signals of different classes become equal towards the image."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

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
    """Propagate the signals of two random classes, and compute their cosine below each weighted layer.

    Maps at the image can differ between classes only if the signals at the image differ. A product of nonnegative
    matrices approaches rank one, so signals of rules with such matrices converge to one direction for all classes.

    Args:
        model: the network. It is not changed.
        subjects: images; their own targets are not used.
        methods: names of methods that propagate a signal from layer to layer (see `backpropagated`).
        out: the JSON file of results. A file with the same configuration is continued.
        seed: seed of the random classes.
        pairs: number of pairs of classes for each image.
        about: further entries of the configuration.
        progress: function that is called with the name of an image and the finished fraction of it, 0 to 1.

    Returns:
        Results: for each image and method, by stage from the top down, the median over the pairs of the `cosine` of
        the signals directly below the stage (all channels, with signs), and of its `absolute` value, which is 1 also
        for signals with opposite signs. `null` if a signal is zero.

    Raises:
        ExcitationError: the file cannot be continued, a method propagates no signal, or no image is given.

    Source: Sixt, Granz, Landgraf, "When Explanations Lie: Why Many Modified BP Attributions Fail", ICML 2020, Sec. 4.
    """
    for name in methods:
        if name not in BACKPROPAGATED:
            raise ExcitationError(
                f"method {name!r} does not pass a signal from layer to layer; choose from {', '.join(BACKPROPAGATED)}."
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
        medians: dict[str, dict[str, list[float | None]]] = {}
        for done, name in enumerate(methods, 1):
            cosines = class_cosines(model, subject.values, name, classes, layers)
            columns = [[row[k] for row in cosines] for k in range(len(layers))]
            medians[name] = {
                "cosine": [_median(column) for column in columns],
                "absolute": [_median([abs(value) for value in column]) for column in columns],
            }
            if progress is not None:
                progress(subject.name, done / len(methods))
        findings.add(subject.name, {"classes": classes, "methods": medians})
    if findings is None:
        raise ExcitationError("no image was given; give at least one.")
    return findings


def class_cosines(
    model: LoadedModel,
    image: Float[torch.Tensor, "1 channels *pixels"],
    method: str,
    classes: Sequence[Sequence[int]],
    layers: Sequence[str],
) -> list[list[float]]:
    """Return the cosine of the signals of two classes at each layer, for one image.

    Args:
        model: the network.
        image: the network input, a batch of one.
        method: a name of `BACKPROPAGATED`.
        classes: pairs of class indices.
        layers: names of the layers, from the top down.

    Returns:
        The cosine, -1 to 1, for each pair at each layer; NaN if a signal is zero.
    """
    indices = sorted({index for pair in classes for index in pair})
    signals = backpropagated(method, model, image, indices, layers)
    rows = []
    for pair in classes:
        first, second = (indices.index(index) for index in pair)
        rows.append([cosine(p[:, first], p[:, second]) for p in signals])
    return rows


def _median(values: list[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return plain_number(float(np.median(known))) if known else None
