"""Pictures with the tags of their uploaders, from JSON lines or Parquet, in parts of limited size."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .._checks import check_number, check_path
from ._annotations import DataError

PART = 64 * 2**20
"""Size of one part of JSON lines in bytes; a part of Parquet is one row group."""

LONGEST = 2**20
"""Maximum length of a line in bytes; longer lines are skipped."""

COLUMNS = ("image", "user", "tags")
"""Fields of a line's object or columns of a Parquet file; others are ignored."""

SUFFIXES = {".jsonl": "lines", ".ndjson": "lines", ".parquet": "parquet"}


@dataclass(frozen=True)
class TaggedImage:
    """One upload.

    Attributes:
        image: path of the picture relative to a folder known to the caller, or another identifier.
        user: the uploader.
        tags: unique tags in the user's order, in lower case, without surrounding blanks.
    """

    image: str
    user: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A part of a file of uploads that can be read independently.

    Attributes:
        path: the file.
        kind: JSON lines or Parquet.
        start: first byte, or row group.
        stop: byte after the last, or next row group. A line belongs to the part that contains its first byte.
    """

    path: Path
    kind: Literal["lines", "parquet"]
    start: int
    stop: int


@dataclass(frozen=True)
class _Bad:
    """A line without a valid upload."""

    sentence: str


def find_parts(sources: Sequence[str | os.PathLike[str]], size: int = PART) -> list[Part]:
    """The parts of files of uploads, in order.

    Args:
        sources: `.jsonl`, `.ndjson` or `.parquet` files, or folders of them, read in order of name.
        size: size of a part of JSON lines in bytes.

    Raises:
        DataError: a missing file, a folder without files of uploads, or an unknown type; Parquet without pyarrow (extra
            `tags`).
    """
    check_number("size", size, "a whole number of bytes from 1 on", least=1, whole=True)
    parts: list[Part] = []
    for source in sources:
        check_path("a file of uploads", source)
        for path in _files(Path(source)):
            if SUFFIXES[path.suffix] == "lines":
                length = path.stat().st_size
                parts += [Part(path, "lines", at, min(at + size, length)) for at in range(0, length, size)]
            else:
                groups = _parquet(path).metadata.num_row_groups
                parts += [Part(path, "parquet", group, group + 1) for group in range(groups)]
    if not parts:
        raise DataError(f"{', '.join(map(str, sources)) or 'nothing'}: holds no uploads.")
    return parts


def read_part(part: Part, refused: Callable[[str], None]) -> Iterator[TaggedImage]:
    """Read the uploads of a part, one at a time.

    Args:
        part: a part from `find_parts`.
        refused: called with one sentence for each upload that cannot be read and is skipped.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        for place, content in _lines(part) if part.kind == "lines" else _rows(part):
            upload = content.sentence if isinstance(content, _Bad) else _upload(content)
            if isinstance(upload, str):
                refused(f"{part.path}: {place} {upload}; left out.")
            else:
                yield upload
    except OSError as error:
        raise DataError(f"{part.path}: cannot be read: {error.strerror or error}.") from error


def clean_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Unique tags in lower case with single blanks, in order, without empty ones."""
    unique = dict.fromkeys([" ".join(tag.lower().split()) for tag in tags])
    unique.pop("", None)
    return tuple(unique)


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        return sorted(path for path in source.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    if not source.is_file():
        raise DataError(f"{source}: no such file or folder; give uploads as JSON lines or Parquet.")
    if source.suffix not in SUFFIXES:
        raise DataError(f"{source}: the name ends in none of {', '.join(SUFFIXES)}, so its format is not known.")
    return [source]


def _lines(part: Part) -> Iterator[tuple[str, Any]]:
    """The object in each line, or the problem of the line; with the position of the line."""
    with part.path.open("rb") as file:
        if part.start:
            file.seek(part.start - 1)
            _skip_line(file)
        while (at := file.tell()) < part.stop:
            line = file.readline(LONGEST)
            if len(line) == LONGEST and not line.endswith(b"\n"):
                _skip_line(file)
                yield f"the line at byte {at}", _Bad(f"is longer than {LONGEST} bytes")
                continue
            if not line.strip():
                continue
            try:
                yield f"the line at byte {at}", json.loads(line)
            except (ValueError, RecursionError):
                yield f"the line at byte {at}", _Bad("is not JSON")


def _skip_line(file: Any) -> None:
    while (piece := file.readline(LONGEST)) and not piece.endswith(b"\n"):
        pass


def _rows(part: Part) -> Iterator[tuple[str, Any]]:
    file = _parquet(part.path)
    missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
    if missing:
        raise DataError(f"{part.path}: has no column {missing[0]!r}; expected {', '.join(COLUMNS)}.")
    row = 0
    for batch in file.iter_batches(4096, row_groups=list(range(part.start, part.stop)), columns=list(COLUMNS)):
        for entry in batch.to_pylist():
            yield f"row {row} of row group {part.start}", entry
            row += 1


def _parquet(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs pyarrow: pip install 'excitation[tags]'.") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: is not Parquet that can be read: {' '.join(str(error).split())[:200]}.") from error


def _upload(content: Any) -> TaggedImage | str:
    """Convert an object to an upload, or return the problem."""
    if not isinstance(content, dict):
        return "holds no object"
    image, user, tags = (content.get(name) for name in COLUMNS)
    if not isinstance(image, str) or not image:
        return "names no image"
    if type(user) is int:
        user = str(user)
    if not isinstance(user, str) or not user:
        return "names no user"
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return "has no list of tags"
    return TaggedImage(image, user, clean_tags(tags))
