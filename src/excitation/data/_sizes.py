"""Sizes of pictures from their headers, for annotations without a size."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from ._annotations import Problems

ORIENTATION = 0x0112
TURNED = {5, 6, 7, 8}
"""EXIF orientations that exchange rows and columns."""


def picture_size(path: Path, problems: Problems) -> tuple[int, int] | None:
    """`(height, width)` of an upright picture, without decoding; if unreadable, `None` and a problem report."""
    try:
        with warnings.catch_warnings():
            # Too many pixels and unreadable EXIF data are handled when the picture itself is read.
            warnings.simplefilter("ignore")
            with Image.open(path) as stored:
                width, height = stored.size
                turned = stored.getexif().get(ORIENTATION) in TURNED
    except Exception as error:  # noqa: BLE001 - Pillow raises many types of errors for damaged headers
        problems.report(path, f"is not a picture whose size can be read ({' '.join(str(error).split())}); left out.")
        return None
    return (width, height) if turned else (height, width)
