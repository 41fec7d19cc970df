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
"""Maximum fraction of the image that the category of a difficult pair covers."""


def is_difficult(image: AnnotatedImage, category: str, truth: Truth) -> bool:
    """Whether a pair of image and category belongs to the difficult subset.

    A pair is difficult if the instances of the category cover less than a quarter of the image and another category is
    present. The areas are added, so an intersection of two boxes counts twice. Crowds and objects with VOC's
    difficult flag count like all others, even where crowds are not valid targets of a point: the rule describes the
    image, so the subset does not depend on the definition of a hit.

    Args:
        image: the image.
        category: a category in the image.
        truth: whether to use areas of segmentations (COCO) or of boxes (VOC).

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
    """Read a list of difficult pairs: one line per image with its id and one 0 or 1 per category.

    Values are separated by commas or white space. A first line with category names defines the order of the columns.

    Args:
        path: the file.
        categories: categories of the dataset, in the order of the columns if the file does not name them.

    Returns:
        The difficult categories of each image in the list.

    Raises:
        DataError: the file is missing or malformed; with the line number.
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
        words = _words(line, f"{place}: line {number}")
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


def _words(line: str, where: str) -> list[str]:
    """Split a line at commas, which category names of two words require, or at white space."""
    if "," not in line:
        return line.split()
    try:
        # Python 3.10 cannot read NUL. No file has it in its name, so it can be replaced.
        (words,) = csv.reader([line.replace("\0", "\N{REPLACEMENT CHARACTER}")])
    except csv.Error as error:
        raise DataError(f"{where} is not CSV that can be read: {error}.") from error
    return [word.strip() for word in words]
