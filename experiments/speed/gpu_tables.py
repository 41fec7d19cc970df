"""The tables of docs/results/speed.md that were measured on a CUDA device."""

from __future__ import annotations

from typing import Any

from experiments.speed.table import Part, header, line, number, parts_of_kind
from experiments.speed.throughput import BATCHES, PRECISIONS

COLUMNS = (
    ("images a second, forward", "images a second, forward"),
    ("maps a second, MWP, one an image", "MWP maps a second, one an image"),
    ("MWP over forward", "MWP / F"),
    ("minutes for COCO's MWP maps", "COCO's MWP maps, minutes"),
    ("c-MWP maps", "COCO's c-MWP maps, minutes"),
)
"""Titles and rows; each is there for eager calls and for captured ones."""


def gpu_rates(found: dict[str, Any]) -> str:
    """A line for each precision and batch: an eager call, then a captured one."""
    lines: list[str] = []
    for run in found["runs"].values():
        for title, part in parts_of_kind(run, "rates").items():
            first = f"{title}: eager, captured"
            lines += ["", *header([first, *(shown for shown, _ in COLUMNS), "captured MWP over eager gradient"])]
            lines += [
                line([where, *(_both(part, f"{where}: {row}") for _, row in COLUMNS), _one(part, where)])
                for where in (f"{precision}, batch {batch}" for precision in PRECISIONS for batch in BATCHES)
            ]
    return "\n".join(lines).strip("\n")


def _both(part: Part, row: str) -> str:
    return ", ".join(_median(part, name) for name in (row, f"{row}, captured"))


def _one(part: Part, where: str) -> str:
    return _median(part, f"{where}: MWP, captured / gradient")


def _median(part: Part, row: str) -> str:
    """A row's median; a dash where it was refused."""
    return number(part["rows"][row][0]) if row in part["rows"] else "-"
