"""Detections of other models from a file, for evaluation with the same code (CCA* in the paper)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from .._checks import check_path
from .._errors import ExcitationError
from ..data import DataError, Problems
from ..data._numbers import is_finite_number
from ._rescoring import Detections

LONGEST_LINE = 2**22


def read_detections(path: str | os.PathLike[str]) -> tuple[dict[tuple[str, str], Detections], Problems]:
    """Read ranked boxes for phrases from JSON lines.

    Each line is an object with `image` (the id), `caption` (its index), `span` (index of the first word, and index
    after the last word), `boxes` (`[x0, y0, x1, y1]` each, in pixels, half open) and `scores`. Boxes can have any
    order.

    Returns:
        Detections by image and `Phrase.key`, and the problems of skipped lines. A phrase without a line counts as
        missed if it is judged with `Detections.none()`.

    Raises:
        DataError: the file cannot be read.
    """
    check_path("the file of detections", path)
    place = Path(path)
    detections: dict[tuple[str, str], Detections] = {}
    problems = Problems()
    try:
        with place.open("rb") as file:
            number = 0
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise DataError(f"{place}: line {number} is longer than {LONGEST_LINE // 2**20} MiB.")
                if not line.strip():
                    continue
                try:
                    key, own = _line(line)
                except (ValueError, RecursionError) as error:  # includes errors of `_line` and `Detections`
                    problems.report(place, f"line {number}: {error} Left out.")
                    continue
                if key in detections:
                    problems.report(place, f"line {number} is for a phrase that an earlier line has; left out.")
                    continue
                detections[key] = own
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror or error}.") from error
    return detections, problems


def hash_detections(detections: Mapping[tuple[str, str], Detections]) -> str:
    """SHA-256 of all boxes and scores, independent of the order of phrases."""
    whole = hashlib.sha256()
    for key, own in sorted(detections.items(), key=lambda item: item[0]):
        whole.update(repr((key, len(own.boxes))).encode())
        for values in (own.boxes, own.scores):
            whole.update(values.detach().cpu().double().contiguous().numpy().tobytes())
    return whole.hexdigest()


def _line(line: bytes) -> tuple[tuple[str, str], Detections]:
    item = json.loads(line)
    if not isinstance(item, dict):
        raise ExcitationError("an object is expected.")
    image, caption, span = (item.get(name) for name in ("image", "caption", "span"))
    if not isinstance(span, list) or not isinstance(image, str) or len(span) != 2:
        raise ExcitationError("image, caption and a span of two positions are expected.")
    if not all(type(value) is int and value >= 0 for value in (caption, *span)):
        raise ExcitationError("caption and span should be whole numbers from 0 on.")
    boxes, scores = item.get("boxes"), item.get("scores")
    if not isinstance(boxes, list) or not isinstance(scores, list) or len(boxes) != len(scores):
        raise ExcitationError("boxes, and a score for each, are expected.")
    if not all(isinstance(box, list) and len(box) == 4 and all(map(is_finite_number, box)) for box in boxes):
        raise ExcitationError("each box should have four finite numbers.")
    if not all(map(is_finite_number, scores)):
        raise ExcitationError("each score should be a finite number.")
    table = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    return (image, f"{caption}:{span[0]}-{span[1]}"), Detections.ranked(
        table, torch.tensor(scores, dtype=torch.float64)
    )
