"""Maps from dataset categories to network classes."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .._checks import check_path
from ._annotations import DataError


def read_mapping(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Read a JSON file with a list of class indices for each category.

    Args:
        path: `{"dog": [151, 152], ...}`. A category that is absent or has an empty list has no classes.

    Returns:
        Unique class indices by category, without categories that have no classes.

    Raises:
        DataError: the file is missing or malformed.
    """
    check_path("mapping", path)
    place = Path(path)
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: is not JSON that can be read: {error}.") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{place}: holds a {type(content).__name__}; an object from category to class indices expected."
        )
    mapping: dict[str, tuple[int, ...]] = {}
    for category, classes in content.items():
        if not isinstance(classes, list) or not all(type(index) is int and index >= 0 for index in classes):
            raise DataError(f"{place}: category {category!r} has {classes!r}; a list of class indices expected.")
        if classes:
            mapping[category] = tuple(dict.fromkeys(classes))
    return mapping


def category_target(classes: tuple[int, ...]) -> int | dict[int | str, float | int]:
    """The target for a category: its class, or a mixture of its classes with equal weights.

    Raises:
        DataError: the category has no class.
    """
    if not classes:
        raise DataError("a category without classes has no target; leave it out.")
    return classes[0] if len(classes) == 1 else {index: 1 / len(classes) for index in classes}
