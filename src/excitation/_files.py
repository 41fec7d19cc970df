"""File input with a size limit, and atomic file output."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def read_at_most(path: Path, most: int, fail: Callable[[str], Exception], too_large: str) -> bytes:
    """Read a file of at most `most` bytes.

    Args:
        path: the file.
        most: the largest number of bytes.
        fail: makes an error of a clause about the file, such as "cannot be read: ...".
        too_large: this clause for a file that is longer.

    Raises:
        Exception: what `fail` makes, for a file that cannot be read or is too long.
    """
    try:
        if not path.is_file() and path.exists():
            raise fail("cannot be read: it is not a plain file.")  # a named pipe would block
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise fail(f"cannot be read: {error.strerror or error}.") from error
    if len(content) > most:
        raise fail(too_large)
    return content


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for atomic writing.

    The bytes go to a hidden file in the same folder. At the end of the block, this file is flushed to disk and renamed.
    If the block or the machine fails, an existing file of that name does not change.

    Args:
        path: path of the file; its folder is created if missing.

    Yields:
        A seekable binary file, open for writing.

    Raises:
        OSError: the folder cannot be created or written to.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file atomically (see `whole_file`); text is encoded as UTF-8.

    Raises:
        OSError: the folder cannot be created or written to.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
