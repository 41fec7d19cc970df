"""The difficult subset of the pointing game, by the paper's rule or from a list."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .._checks import check_path
from ._annotations import AnnotatedImage, DataError, box_area
from ._dataset import Truth

LARGEST = 0.25
"""A difficult pair's category covers less than this part of the image."""


def is_difficult(image: AnnotatedImage, category: str, truth: Truth) -> bool:
    """Whether a pair of image and category is in the difficult subset.

    It is when the category's instances together cover less than a quarter of the image and another category is
    present. Areas are added, so what two boxes share counts twice; crowds and objects that VOC flags as difficult
    count like all others, also where crowds are no instances that a point can hit: the rule is about the picture, and
    the subset stays the same however hits are judged.

    Args:
        image: the image.
        category: one that is in it.
        truth: areas of segments (COCO) or of boxes (VOC).

    Source: Zhang et al., ECCV 2016, Sec. 4.1.
    """
    if set(image.categories) <= {category}:
        return False
    height, width = image.size
    instances = image.of(category)
    if truth == "boxes":
        area = sum(box_area(item.box) for item in instances)
    else:
        area = float(sum(np.count_nonzero(item.mask(image.size)) for item in instances))
    return area < LARGEST * height * width


def read_difficult_list(path: str | os.PathLike[str], categories: Sequence[str]) -> dict[str, frozenset[str]]:
    """A list of difficult pairs: a line per image with its id and one 0 or 1 for each category.

    Values stand apart by commas or by space. A first line with the categories' names puts them in its own order.

    Args:
        path: the file.
        categories: the data set's, in the order of the columns where the file does not name them.

    Returns:
        For each image in the list, its categories that are difficult.

    Raises:
        DataError: missing, malformed, with line number.
    """
    check_path("the list of difficult images", path)
    place = Path(path)
    try:
        text = place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: cannot be read as a list of difficult images: {error}.") from error
    columns = list(categories)
    listed: dict[str, frozenset[str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        # Categories of two words can only be told apart by commas.
        words = [word.strip() for word in next(csv.reader([line]))] if "," in line else line.split()
        if not words:
            continue
        first, flags = words[0], words[1:]
        if number == 1 and flags and not set(flags) <= {"0", "1"}:
            unknown = sorted(set(flags) - set(categories))
            if unknown:
                raise DataError(f"{place}: line 1 names {unknown[0]!r}, which is no category of the data set.")
            columns = flags
            continue
        if len(flags) != len(columns) or not set(flags) <= {"0", "1"}:
            raise DataError(
                f"{place}: line {number} should hold an image id and {len(columns)} columns of 0 or 1, one per"
                f" category; it holds {len(words)} words."
            )
        if first in listed:
            raise DataError(f"{place}: line {number} names image {first!r} a second time.")
        listed[first] = frozenset(name for name, flag in zip(columns, flags, strict=True) if flag == "1")
    return listed
