"""The pictures that a command is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ._console import report_line

NAMED = 5
"""Files that are told by name."""


def pictures_of(places: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Pictures among files and folders, with the name of each (see `find_pictures`); says which files are none.

    Raises:
        PictureError: a place does not exist, a folder holds no picture, or `out` is one of the folders.
    """
    from ..data._pictures import find_pictures

    found = find_pictures(places, out=out)
    if found.others:
        more = f" and {len(found.others) - NAMED} more" if len(found.others) > NAMED else ""
        names = ", ".join(path.name for path in found.others[:NAMED])
        report_line(f"left out, since not named like pictures: {names}{more}.")
    return found.pictures
