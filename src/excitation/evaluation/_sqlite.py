"""Results as they lie in an SQLite file: rows, tables, transactions, the lock of the one writer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from .._errors import ExcitationError

APPLICATION = 0x45424D50  # "EBMP", in the file's header: whose file this is
FORMAT = 2
"""What is written. Format 1, which is still read, had no series."""

READABLE = (1, 2)

TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE session (number INTEGER PRIMARY KEY, started TEXT NOT NULL, environment TEXT NOT NULL);
CREATE TABLE unit (name TEXT PRIMARY KEY, session INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE result (
    image TEXT NOT NULL, category TEXT NOT NULL, method TEXT NOT NULL, layer TEXT NOT NULL, x INTEGER, y INTEGER,
    hit INTEGER NOT NULL, difficult INTEGER NOT NULL, mass REAL, seconds REAL, value REAL,
    series TEXT,
    PRIMARY KEY (image, category, method, layer)) WITHOUT ROWID;
CREATE TABLE left_out (image TEXT NOT NULL, category TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (image, category)) WITHOUT ROWID;
CREATE TABLE problem (path TEXT NOT NULL, sentence TEXT NOT NULL, PRIMARY KEY (path, sentence)) WITHOUT ROWID;
"""

TAKEN = """
CREATE TABLE IF NOT EXISTS taken (method TEXT NOT NULL, layer TEXT NOT NULL, place TEXT NOT NULL,
    images INTEGER NOT NULL, PRIMARY KEY (method, layer, place)) WITHOUT ROWID
"""
"""Where maps were taken that no layer was named for. Apart from the results, whose rows stay those of what was asked:
a method may choose other layers on other images, and is one method still."""


class StoreError(ExcitationError):
    """A file of results cannot be written, continued or read as asked."""


@dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        image: its id in the data set.
        category: what was looked for.
        method: name of the method.
        layer: where the map was taken, as it was asked for: `"default"` where no layer was named, `""` for methods
            that have none.
        x: column of the maximum in the picture's pixels; `None` if the method gives no point.
        y: its row.
        hit: whether it was right.
        difficult: whether the pair is in the difficult subset.
        mass: sum of the map; `None` if there is none.
        seconds: this row's equal part of the time its method took for the image.
        value: what a game measures beside a hit: a share, an overlap; else `None`.
        series: what it measures at several thresholds or in several ways, in the game's own order.
    """

    image: str
    category: str
    method: str
    layer: str
    x: int | None
    y: int | None
    hit: bool
    difficult: bool
    mass: float | None
    seconds: float | None
    value: float | None = None
    series: tuple[float, ...] = ()


COLUMNS = ", ".join(item.name for item in fields(Row))
HOLES = ", ".join("?" for _ in fields(Row))


def connect(path: Path) -> sqlite3.Connection:
    """Open a file whose transactions are on the disk when they end."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    # The default rollback journal is kept, not a write-ahead log: when no process runs, the results are one file.
    connection.execute("PRAGMA synchronous = EXTRA")
    return connection


def lock_path(path: Path) -> Path:
    """Where the lock of a file of results lies."""
    return path.with_name(f"{path.name}.lock")


def only_writer(path: Path) -> sqlite3.Connection:
    """Hold a lock that the operating system takes back when the process ends, however it ends."""
    lock = sqlite3.connect(lock_path(path), timeout=0, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        if "locked" in str(error):
            raise StoreError(
                f"{path}: another process is writing to these results; wait for it, or split the work with shards."
            ) from None
        raise StoreError(f"{lock_path(path)}: cannot be locked: {error}.") from error
    return lock


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All or nothing."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """SQLite's errors as sentences."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise StoreError(f"{path}: a result is there twice ({error}); nothing was added.") from error
    except sqlite3.DatabaseError as error:
        words = str(error)
        if "full" in words:
            raise StoreError(f"{path}: the disk is full; make room and run again, finished images are kept.") from error
        if "not a database" in words:
            raise StoreError(f"{path}: is no file of results; name another, or delete it.") from error
        raise StoreError(f"{path}: cannot be used: {words}.") from error


def read_about(
    path: Path, connection: sqlite3.Connection, formats: Collection[int] = (FORMAT,)
) -> dict[str, str] | None:
    """What a file says about itself; `None` if it is new.

    Raises:
        StoreError: it is another kind of file, or in none of the formats.
    """
    tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if not tables and application in {0, APPLICATION}:
        return None
    if application != APPLICATION or "about" not in tables:
        raise StoreError(f"{path}: is a database of another program; name another file.")
    about = dict(connection.execute("SELECT name, value FROM about"))
    if about.get("format") not in [json.dumps(item) for item in formats]:
        wanted = " or ".join(map(str, formats))
        raise StoreError(f"{path}: is in format {about.get('format')}; for this, format {wanted} is needed.")
    return about


def insert(
    connection: sqlite3.Connection,
    rows: Iterable[Row],
    left_out: Iterable[tuple[str, str, str]],
    problems: Iterable[tuple[str, str]],
) -> None:
    """Add rows; problems that are known already are skipped."""
    connection.executemany(f"INSERT INTO result ({COLUMNS}) VALUES ({HOLES})", [_stored(row) for row in rows])
    connection.executemany("INSERT INTO left_out VALUES (?, ?, ?)", list(left_out))
    connection.executemany("INSERT OR IGNORE INTO problem VALUES (?, ?)", list(problems))


def insert_taken(connection: sqlite3.Connection, taken: Mapping[tuple[str, str, str], int]) -> None:
    """Add to the numbers of images by method, layer as its rows have it, and the layer this was."""
    connection.executemany(
        "INSERT INTO taken VALUES (?, ?, ?, ?)"
        " ON CONFLICT (method, layer, place) DO UPDATE SET images = images + excluded.images",
        [(*key, images) for key, images in sorted(taken.items())],
    )


def read_taken(connection: sqlite3.Connection) -> dict[tuple[str, str, str], int]:
    """What `insert_taken` added, sorted; nothing in a file that is older than this."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'taken'").fetchone():
        return {}
    rows = connection.execute("SELECT method, layer, place, images FROM taken ORDER BY method, layer, place")
    return {(method, layer, place): images for method, layer, place, images in rows}


def read_rows(connection: sqlite3.Connection) -> Iterator[Row]:
    """All results, sorted."""
    known = {str(name) for _, name, *_ in connection.execute("PRAGMA table_info(result)")}
    columns = COLUMNS if "series" in known else COLUMNS.replace("series", "NULL")
    for row in connection.execute(f"SELECT {columns} FROM result ORDER BY image, category, method, layer"):
        image, category, method, layer, x, y, hit, difficult, mass, seconds, value, series = row
        numbers = () if series is None else tuple(json.loads(series))
        yield Row(image, category, method, layer, x, y, bool(hit), bool(difficult), mass, seconds, value, numbers)


def _stored(row: Row) -> tuple[object, ...]:
    *plain, series = astuple(row)
    return (*plain, json.dumps(series) if series else None)


def canonical(value: Mapping[str, object]) -> str:
    """Equal values, equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
