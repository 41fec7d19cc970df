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
from .._statistics import LEVEL, SAMPLES, Interval

DIGITS = 5
"""After the point, of measures from -1 to 1."""


@dataclass(frozen=True)
class Findings:
    """A check's results.

    Attributes:
        path: path of the file.
        configuration: all settings that the results depend on.
        images: results of the finished images.
    """

    path: Path
    configuration: dict[str, Any]
    images: dict[str, dict[str, Any]]

    def add(self, image: str, found: dict[str, Any]) -> None:
        """Add the results of an image and write the file."""
        self.images[image] = found
        lines = [f"{json.dumps(name)}: {json.dumps(item, allow_nan=False)}" for name, item in self.images.items()]
        whole = json.dumps(self.configuration, indent=1)
        images = ",\n".join(lines)
        write_whole(self.path, f'{{"configuration": {whole},\n"images": {{\n{images}\n}}}}\n')


def open_findings(path: str | os.PathLike[str], configuration: dict[str, Any]) -> Findings:
    """Create a file of results, or open it to continue.

    Raises:
        ExcitationError: the file holds something else, or results of another configuration.
    """
    place = Path(path)
    plain = json.loads(json.dumps(configuration))
    if not place.exists():
        return Findings(place, plain, {})
    found = read_findings(place)
    if found.configuration != plain:
        differs = sorted(
            key
            for key in {*found.configuration, *plain}
            if found.configuration.get(key) != plain.get(key)
        )  # fmt: skip
        raise ExcitationError(
            f"{place} holds results of another configuration ({', '.join(differs)}); give another --out, or remove it."
        )
    return found


def read_findings(path: str | os.PathLike[str]) -> Findings:
    """Read a file of results.

    Raises:
        ExcitationError: the file is not a file of results.
    """
    place = Path(path)
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        return Findings(place, dict(content["configuration"]), dict(content["images"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ExcitationError(f"{place}: is no file of a sanity check's results; give another --out.") from error


def plain_number(value: float) -> float | None:
    """A number as JSON has it; `None` for NaN. More digits than these are not worth their room."""
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
    """Mean or median over images, with a bootstrap percentile interval.

    Args:
        values: one per image, `None` where there is none.
        statistic: what they are reduced to.
        seed: same seed, same interval.
    """
    known = np.array([value for value in values if value is not None], dtype=float)
    missing = len(values) - len(known)
    if not len(known):
        return Summary(math.nan, Interval(math.nan, math.nan, LEVEL), 0, missing)
    draws = np.random.default_rng(seed).choice(known, (SAMPLES, len(known)))
    drawn = np.median(draws, 1) if statistic == "median" else draws.mean(1)
    low, high = np.percentile(drawn, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    value = float(np.median(known) if statistic == "median" else known.mean())
    return Summary(value, Interval(float(low), float(high), LEVEL), len(known), missing)
