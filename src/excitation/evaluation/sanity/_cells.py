"""What tables and charts of the checks are made of: numbers by method and stage, and how they are written."""

from __future__ import annotations

import math
import re
from typing import Any

from .._tables import Cell
from ._findings import Findings, Summary

FEW = 3
"""Images of which an interval says something; lines of fewer are dashed in charts."""


def network_of(findings: Findings) -> str:
    """The model's spec, without the folders of its files."""
    return re.sub(r"[^:,@]*/", "", findings.configuration["model"]["spec"])


def measured(findings: Findings, name: str, stage: int, measure: str) -> list[float | None]:
    """One number per image that was asked at this stage; `None` where a map was constant or missing."""
    found = (item["methods"][name] for item in findings.images.values() if name in item["methods"])
    asked: list[dict[str, Any]] = [item for item in found if str(stage) in item]
    return [item[str(stage)][measure] for item in asked]


def cosines(findings: Findings, name: str, stage: int, kind: str) -> list[float | None]:
    """One number per image below a stage: the `"cosine"` of two classes' signals, or its `"absolute"` value."""
    return [item["methods"][name][kind][stage] for item in findings.images.values()]


def as_cell(found: Summary, *, interval: bool = False, scale: float = 1.0, digits: int = 2) -> Cell:
    """A mean or median, with its interval in brackets if asked for and if there are `FEW` images; else empty."""
    if math.isnan(found.value):
        return Cell("")
    value, low, high = (
        _number(scale * number, digits) for number in (found.value, found.interval.low, found.interval.high)
    )
    return Cell(f"{value} [{low}, {high}]" if interval and found.count >= FEW else value, value=found.value)


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def as_count(number: int) -> Cell:
    """How many."""
    return Cell(str(number), value=number)


def called(findings: Findings, name: str) -> str:
    """A method's name, with its layer where that is its own."""
    layer = findings.configuration["methods"][name]["layer"]
    return name if layer is None else f"{name} at {layer}"
