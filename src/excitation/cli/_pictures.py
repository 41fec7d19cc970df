"""The picture arguments of a command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ._console import report_line

NAMED = 5
"""Files that are told by name."""


def pictures_of(places: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Return the pictures in files and folders, with their names (see `find_pictures`). Report files without a picture.

    Raises:
        PictureError: a path does not exist, a folder contains no picture, or `out` is one of the folders.
    """
    from ..data._pictures import find_pictures

    found = find_pictures(places, out=out)
    if found.others:
        more = f" and {len(found.others) - NAMED} more" if len(found.others) > NAMED else ""
        names = ", ".join(path.name for path in found.others[:NAMED])
        report_line(f"left out, since not named like pictures: {names}{more}.")
    return found.pictures
