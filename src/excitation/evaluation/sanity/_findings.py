"""The results of a check: a JSON file that is written atomically after each image, so that a run can continue."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..._errors import ExcitationError
from ..._files import write_whole
from .._statistics import LEVEL, SAMPLES, Interval, percentile_interval

DIGITS = 5
"""Decimal places of stored measures, which are between -1 and 1."""


@dataclass(frozen=True)
class Findings:
    """The results of a check.

    Attributes:
        path: path of the file.
        configuration: all settings that the results depend on.
        images: results of the finished images.
    """

    path: Path
    configuration: dict[str, Any]
    images: dict[str, dict[str, Any]]

    def add(self, image: str, results: dict[str, Any]) -> None:
        """Add the results of an image and write the file."""
        self.images[image] = results
        lines = [f"{json.dumps(name)}: {json.dumps(item, allow_nan=False)}" for name, item in self.images.items()]
        configuration = json.dumps(self.configuration, indent=1)
        images = ",\n".join(lines)
        write_whole(self.path, f'{{"configuration": {configuration},\n"images": {{\n{images}\n}}}}\n')


def open_findings(path: str | os.PathLike[str], configuration: dict[str, Any]) -> Findings:
    """Create a file of results, or open it to continue.

    Raises:
        ExcitationError: the file is not a file of results, or it has another configuration.
    """
    file = Path(path)
    plain = json.loads(json.dumps(configuration))
    if not file.exists():
        return Findings(file, plain, {})
    findings = read_findings(file)
    if findings.configuration != plain:
        keys = {*findings.configuration, *plain}
        differing = sorted(key for key in keys if findings.configuration.get(key) != plain.get(key))
        raise ExcitationError(
            f"{file} contains results of another configuration ({', '.join(differing)}); give another --out, or delete"
            " the file."
        )
    return findings


def read_findings(path: str | os.PathLike[str]) -> Findings:
    """Read a file of results.

    Raises:
        ExcitationError: the file is not a file of results.
    """
    file = Path(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Findings(file, dict(content["configuration"]), dict(content["images"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ExcitationError(f"{file}: is not a file of results of a sanity check; give another --out.") from error


def plain_number(value: float) -> float | None:
    """Return a number for JSON, rounded to `DIGITS` decimal places; `None` for NaN."""
    return None if math.isnan(value) else round(value, DIGITS)


@dataclass(frozen=True)
class Summary:
    """A summary of the numbers of several images.

    Attributes:
        value: mean or median; NaN without numbers.
        interval: 95 % bootstrap interval over images.
        count: number of images with a number.
        missing: number of images without a number.
    """

    value: float
    interval: Interval
    count: int
    missing: int


def summarise(values: list[float | None], statistic: Literal["mean", "median"] = "mean", *, seed: int = 0) -> Summary:
    """Compute the mean or median over images, with a bootstrap percentile interval.

    Args:
        values: one value per image; `None` for an image without a value.
        statistic: the statistic.
        seed: seed of the sampling.
    """
    known = np.array([value for value in values if value is not None], dtype=float)
    missing = len(values) - len(known)
    if not len(known):
        return Summary(math.nan, Interval(math.nan, math.nan, LEVEL), 0, missing)
    draws = np.random.default_rng(seed).choice(known, (SAMPLES, len(known)))
    samples = np.median(draws, 1) if statistic == "median" else draws.mean(1)
    value = float(np.median(known) if statistic == "median" else known.mean())
    return Summary(value, percentile_interval(samples, LEVEL), len(known), missing)
