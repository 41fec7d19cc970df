"""Results in an SQLite file: safe against being killed, a second writer, another configuration."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from .._errors import ExcitationError
from ._configuration import differences

APPLICATION = 0x45424D50  # "EBMP", in the file's header: whose file this is
FORMAT = 2
"""Of the tables below."""

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


def read_about(path: Path, connection: sqlite3.Connection) -> dict[str, str] | None:
    """What a file says about itself; `None` if it is new.

    Raises:
        StoreError: it is another kind of file, or in another format.
    """
    tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if not tables and application in {0, APPLICATION}:
        return None
    if application != APPLICATION or "about" not in tables:
        raise StoreError(f"{path}: is a database of another program; name another file.")
    about = dict(connection.execute("SELECT name, value FROM about"))
    if about.get("format") != json.dumps(FORMAT):
        raise StoreError(f"{path}: is in format {about.get('format')}; format {FORMAT} is needed.")
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
    for row in connection.execute(f"SELECT {COLUMNS} FROM result ORDER BY image, category, method, layer"):
        image, category, method, layer, x, y, hit, difficult, mass, seconds, value, series = row
        numbers = () if series is None else tuple(json.loads(series))
        yield Row(image, category, method, layer, x, y, bool(hit), bool(difficult), mass, seconds, value, numbers)


def _stored(row: Row) -> tuple[object, ...]:
    *plain, series = astuple(row)
    return (*plain, json.dumps(series) if series else None)


def canonical(value: Mapping[str, object]) -> str:
    """Equal values, equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


class Store:
    """An open file of results. One process at a time writes to it; use as a context.

    Each unit of work (an image) is added with all its rows in one transaction that is on the disk when `add` returns:
    whatever stops the process, a unit is there as a whole or not at all.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: sqlite3.Connection, session: int) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._session = session
        self.finished = {str(name) for (name,) in connection.execute("SELECT name FROM unit")}

    def add(
        self,
        unit: str,
        rows: Iterable[Row] = (),
        *,
        left_out: Iterable[tuple[str, str, str]] = (),
        problems: Iterable[tuple[str, str]] = (),
        taken: Mapping[tuple[str, str, str], int] | None = None,
    ) -> None:
        """Add a finished unit.

        Args:
            unit: its name.
            rows: its results.
            left_out: pairs without result: image, category, reason.
            problems: what was wrong with the data: path, sentence. Those already known are skipped.
            taken: by method, layer as its rows have it, and the layer this was: on how many images.

        Raises:
            StoreError: the unit is there already, a result is there twice, or the disk is full; nothing was added.
        """
        if unit in self.finished:
            raise StoreError(f"{self.path}: {unit!r} is finished already; ask `finished` before.")
        with storage_errors(self.path), transaction(self._connection):
            self._connection.execute("INSERT INTO unit VALUES (?, ?)", (unit, self._session))
            insert(self._connection, rows, left_out, problems)
            insert_taken(self._connection, taken or {})
        self.finished.add(unit)

    def methods(self) -> set[str]:
        """Methods that have results."""
        return {str(name) for (name,) in self._connection.execute("SELECT DISTINCT method FROM result")}

    def note(self, problems: Iterable[tuple[str, str]]) -> None:
        """Add problems that belong to no unit.

        Raises:
            StoreError: the disk is full.
        """
        with storage_errors(self.path), transaction(self._connection):
            insert(self._connection, (), (), problems)

    def fill(
        self,
        units: Iterable[str],
        rows: Iterable[Row],
        left_out: Iterable[tuple[str, str, str]],
        problems: Iterable[tuple[str, str]],
        environments: Iterable[Mapping[str, object]],
        taken: Mapping[tuple[str, str, str], int],
    ) -> None:
        """Add the contents of other files of this configuration at once.

        Raises:
            StoreError: a unit or a result is there twice, or the disk is full; nothing was added.
        """
        names = list(units)
        with storage_errors(self.path), transaction(self._connection):
            self._connection.execute("DELETE FROM session")
            sessions = [("", canonical(item)) for item in environments]
            self._connection.executemany("INSERT INTO session (started, environment) VALUES (?, ?)", sessions)
            self._connection.executemany("INSERT INTO unit VALUES (?, 1)", [(name,) for name in names])
            insert(self._connection, rows, left_out, problems)
            insert_taken(self._connection, taken)
        self.finished.update(names)

    def close(self) -> None:
        """Close the file and let others write to it."""
        self._connection.close()
        self._lock.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_store(
    path: str | os.PathLike[str],
    configuration: Mapping[str, object],
    *,
    planned: int,
    shard: tuple[int, int] = (0, 1),
    environment: Mapping[str, object] | None = None,
) -> Store:
    """Begin a file of results, or continue it.

    Args:
        path: the file; `PATH.lock` beside it keeps other writers out and may be deleted when none runs.
        configuration: all that the results depend on, as JSON can hold it.
        planned: how many units this shard has.
        shard: `(index, count)`, counted from 0.
        environment: versions and machine; noted, not compared.

    Returns:
        A store that knows which units are finished.

    Raises:
        StoreError: another process writes to it, another configuration or shard made it, or it is another file.
    """
    place = Path(path)
    wanted = {
        "format": json.dumps(FORMAT),
        "configuration": canonical(configuration),
        "shard": json.dumps(list(shard)),
        "planned": json.dumps(planned),
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = only_writer(place)
    try:
        with storage_errors(place):
            connection = connect(place)
        try:
            with storage_errors(place), transaction(connection):
                _begin_or_check(place, connection, wanted)
                started = datetime.now(timezone.utc).isoformat(timespec="seconds")
                noted = canonical(environment or {})
                cursor = connection.execute(
                    "INSERT INTO session (started, environment) VALUES (?, ?)", (started, noted)
                )
                session = cursor.lastrowid or 0
            return Store(place, connection, lock, session)
        except BaseException:
            connection.close()
            raise
    except BaseException:
        lock.close()
        raise


def _begin_or_check(path: Path, connection: sqlite3.Connection, wanted: Mapping[str, str]) -> None:
    about = read_about(path, connection)
    if about is None:
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        for statement in filter(str.strip, TABLES.split(";")):
            connection.execute(statement)
        connection.executemany("INSERT INTO about VALUES (?, ?)", list(wanted.items()))
        connection.execute(TAKEN)
        return
    if about["configuration"] != wanted["configuration"]:
        was, now = json.loads(about["configuration"]), json.loads(wanted["configuration"])
        raise StoreError(
            f"{path}: was begun under another configuration: {differences(was, now)}. Use that one, or another file."
        )
    for name in ("shard", "planned"):
        if about[name] != wanted[name]:
            raise StoreError(f"{path}: was begun with {name} {about[name]}, not {wanted[name]}; use another file.")
    # A file that was begun before there was this table is continued with it; programs of that time pass it over.
    connection.execute(TAKEN)
