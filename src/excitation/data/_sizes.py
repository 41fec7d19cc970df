"""Sizes of pictures from their headers, for annotations that do not say them."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from ._annotations import Problems

ORIENTATION = 0x0112
TURNED = {5, 6, 7, 8}
"""EXIF orientations in which rows are stored as columns."""


def picture_size(path: Path, problems: Problems) -> tuple[int, int] | None:
    """`(height, width)` of a picture the right way up, without unpacking it; `None` and a problem if it has none."""
    try:
        with warnings.catch_warnings():
            # Too many pixels, or EXIF that cannot be read, are matters of reading the picture itself.
            warnings.simplefilter("ignore")
            with Image.open(path) as stored:
                width, height = stored.size
                turned = stored.getexif().get(ORIENTATION) in TURNED
    except Exception as error:  # noqa: BLE001 - Pillow raises whatever it stumbles over in damaged headers
        problems.report(path, f"is not a picture whose size can be read ({' '.join(str(error).split())}); left out.")
        return None
    return (width, height) if turned else (height, width)
