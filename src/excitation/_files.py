"""Files: reading no more than is wanted, writing them whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def read_at_most(path: Path, most: int) -> bytes | None:
    """The content of a file; `None` if it has more than `most` bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    return content if len(content) <= most else None


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only once it is complete.

    The bytes go to a hidden file in the same folder, which is flushed to disk and renamed at the end of the block. If
    the block fails, or the machine does, an older file of that name stays as it was.

    Args:
        path: where the file shall be; its folder is made if missing.

    Yields:
        A binary file, open for writing and for seeking.

    Raises:
        OSError: the folder cannot be made or written to.
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
    """Write a file in one step (see `whole_file`); text as UTF-8.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
