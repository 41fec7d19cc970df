"""Results in an SQLite file, protected against interruptions, concurrent writers and other configurations."""

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

APPLICATION = 0x45424D50  # "EBMP", the application id in the file header
FORMAT = 3
"""Version of the tables below. Files of other versions are refused."""

TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE session (number INTEGER PRIMARY KEY, started TEXT NOT NULL, environment TEXT NOT NULL);
CREATE TABLE unit (name TEXT PRIMARY KEY, session INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE result (
    image TEXT NOT NULL, query TEXT NOT NULL, method TEXT NOT NULL, layer TEXT NOT NULL, x INTEGER, y INTEGER,
    hit INTEGER NOT NULL, difficult INTEGER NOT NULL, mass REAL, seconds REAL, value REAL, series TEXT,
    groups TEXT,
    PRIMARY KEY (image, query, method, layer)) WITHOUT ROWID;
CREATE TABLE left_out (image TEXT NOT NULL, query TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (image, query)) WITHOUT ROWID;
CREATE TABLE problem (path TEXT NOT NULL, sentence TEXT NOT NULL, PRIMARY KEY (path, sentence)) WITHOUT ROWID;
CREATE TABLE own_layer (method TEXT NOT NULL, layer TEXT NOT NULL, own TEXT NOT NULL, images INTEGER NOT NULL,
    PRIMARY KEY (method, layer, own)) WITHOUT ROWID;
"""
"""`own_layer` counts images by the layers that methods select themselves (`own`). The rows of results contain only the
requested layer, because a method can select different layers for different images and still has one row in tables."""


class StoreError(ExcitationError):
    """A file of results cannot be written, continued or read."""


@dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        image: id of the image in the data set.
        query: what the map explains. It identifies the target within the image: the name of a category, a word, or the
            key of a phrase (`grounding.Phrase.key`). All queries of a game are of one kind.
        method: name of the method.
        layer: requested layer of the map: `"default"` if no layer was given, `""` for methods without layers.
        x: column of the maximum in pixels of the picture; `None` without a point.
        y: row of the maximum in pixels of the picture; `None` without a point.
        hit: whether the result is correct.
        difficult: whether the pair is in the difficult subset.
        mass: sum of the map; `None` without a map.
        seconds: time for this row. The time of a method for an image is divided equally among its rows.
        value: further measure of the game, such as a share or an overlap, or `None`.
        series: several further measures, such as values at all thresholds, in the order of the game.
        groups: groups of the query for a mean over groups, such as the types of a phrase. If empty, the query is its
            own group, as in a mean over categories.
    """

    image: str
    query: str
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
    groups: tuple[str, ...] = ()


COLUMNS = ", ".join(item.name for item in fields(Row))
PLACEHOLDERS = ", ".join("?" for _ in fields(Row))


def connect(path: Path) -> sqlite3.Connection:
    """Open a file with durable transactions."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    # With the default rollback journal instead of a write-ahead log, the results are one file when no process runs.
    connection.execute("PRAGMA synchronous = EXTRA")
    return connection


def lock_path(path: Path) -> Path:
    """Return the path of the lock file of a file of results."""
    return path.with_name(f"{path.name}.lock")


def only_writer(path: Path) -> sqlite3.Connection:
    """Acquire a lock that the operating system releases at any end of the process."""
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
    """Context manager for an atomic transaction."""
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
    """Context manager that converts errors of SQLite to `StoreError`."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise StoreError(f"{path}: a result occurs twice ({error}); nothing was added.") from error
    except sqlite3.DatabaseError as error:
        words = str(error)
        if "full" in words:
            raise StoreError(f"{path}: the disk is full; free space and run again; finished images stay.") from error
        if "not a database" in words:
            raise StoreError(f"{path}: is not a file of results; use another file.") from error
        raise StoreError(f"{path}: cannot be used: {words}.") from error


def read_about(path: Path, connection: sqlite3.Connection) -> dict[str, str] | None:
    """Return the metadata of a file; `None` if it is new.

    Raises:
        StoreError: the file is not a file of results, or has another format.
    """
    tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if not tables and application in {0, APPLICATION}:
        return None
    if application != APPLICATION or "about" not in tables:
        raise StoreError(f"{path}: is a database of another program; use another file.")
    about = dict(connection.execute("SELECT name, value FROM about"))
    if about.get("format") != json.dumps(FORMAT):
        raise StoreError(
            f"{path}: has format {about.get('format')}, but this version of excitation reads and writes format {FORMAT}"
            " only; run the game again with a new file."
        )
    return about


def insert(
    connection: sqlite3.Connection,
    rows: Iterable[Row],
    left_out: Iterable[tuple[str, str, str]],
    problems: Iterable[tuple[str, str]],
) -> None:
    """Add rows, omitted pairs and problems. Known problems are skipped."""
    connection.executemany(f"INSERT INTO result ({COLUMNS}) VALUES ({PLACEHOLDERS})", [_stored(row) for row in rows])
    connection.executemany("INSERT INTO left_out VALUES (?, ?, ?)", list(left_out))
    connection.executemany("INSERT OR IGNORE INTO problem VALUES (?, ?)", list(problems))


def insert_own_layers(connection: sqlite3.Connection, own_layers: Mapping[tuple[str, str, str], int]) -> None:
    """Increase the numbers of images by method, layer in the rows, and selected layer."""
    connection.executemany(
        "INSERT INTO own_layer VALUES (?, ?, ?, ?)"
        " ON CONFLICT (method, layer, own) DO UPDATE SET images = images + excluded.images",
        [(*key, images) for key, images in sorted(own_layers.items())],
    )


def read_own_layers(connection: sqlite3.Connection) -> dict[tuple[str, str, str], int]:
    """Return the numbers of `insert_own_layers`, sorted."""
    rows = connection.execute("SELECT method, layer, own, images FROM own_layer ORDER BY method, layer, own")
    return {(method, layer, own): images for method, layer, own, images in rows}


def read_rows(connection: sqlite3.Connection) -> Iterator[Row]:
    """Yield all results, sorted."""
    for row in connection.execute(f"SELECT {COLUMNS} FROM result ORDER BY image, query, method, layer"):
        image, query, method, layer, x, y, hit, difficult, mass, seconds, value, *lists = row
        series, groups = (() if item is None else tuple(json.loads(item)) for item in lists)
        yield Row(
            image, query, method, layer, x, y, bool(hit), bool(difficult), mass, seconds, value, series, groups
        )  # fmt: skip


def _stored(row: Row) -> tuple[object, ...]:
    *plain, series, groups = astuple(row)
    return (*plain, *(json.dumps(item, ensure_ascii=False) if item else None for item in (series, groups)))


def canonical(value: Mapping[str, object]) -> str:
    """Return a canonical JSON text: equal values have equal texts."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


class Store:
    """Context manager for an open file of results. Only one process at a time can write to it.

    `add` writes each unit (an image) with all its rows in one durable transaction. After an interruption, the file
    contains a unit completely or not at all.
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
        own_layers: Mapping[tuple[str, str, str], int] | None = None,
    ) -> None:
        """Add a finished unit.

        Args:
            unit: name of the unit.
            rows: results of the unit.
            left_out: pairs without a result: image, query, reason.
            problems: problems with the data: path, message. Known problems are skipped.
            own_layers: number of images by method, layer in the rows, and selected layer.

        Raises:
            StoreError: the unit already exists, a result occurs twice, or the disk is full. Nothing was added.
        """
        if unit in self.finished:
            raise StoreError(f"{self.path}: {unit!r} is already finished; check `finished` before.")
        with storage_errors(self.path), transaction(self._connection):
            self._connection.execute("INSERT INTO unit VALUES (?, ?)", (unit, self._session))
            insert(self._connection, rows, left_out, problems)
            insert_own_layers(self._connection, own_layers or {})
        self.finished.add(unit)

    def methods(self) -> set[str]:
        """Return the methods with results."""
        return {str(name) for (name,) in self._connection.execute("SELECT DISTINCT method FROM result")}

    def note(self, problems: Iterable[tuple[str, str]]) -> None:
        """Add problems that do not belong to a unit.

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
        own_layers: Mapping[tuple[str, str, str], int],
    ) -> None:
        """Add the contents of other files with this configuration in one transaction.

        Raises:
            StoreError: a unit or a result occurs twice, or the disk is full. Nothing was added.
        """
        names = list(units)
        with storage_errors(self.path), transaction(self._connection):
            self._connection.execute("DELETE FROM session")
            sessions = [("", canonical(item)) for item in environments]
            self._connection.executemany("INSERT INTO session (started, environment) VALUES (?, ?)", sessions)
            self._connection.executemany("INSERT INTO unit VALUES (?, 1)", [(name,) for name in names])
            insert(self._connection, rows, left_out, problems)
            insert_own_layers(self._connection, own_layers)
        self.finished.update(names)

    def close(self) -> None:
        """Close the file and release its lock."""
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
    """Create a file of results, or continue it.

    Args:
        path: the file. `PATH.lock` is its lock file, which can be deleted when no process writes.
        configuration: all settings that the results depend on, compatible with JSON.
        planned: number of units of this shard.
        shard: `(index, count)`, with the index counted from 0.
        environment: package versions and machine. They are stored, but not compared.

    Returns:
        A store with the finished units.

    Raises:
        StoreError: another process writes to the file, the file has another configuration or shard, or it is not a file
            of results.
    """
    file = Path(path)
    wanted = {
        "format": json.dumps(FORMAT),
        "configuration": canonical(configuration),
        "shard": json.dumps(list(shard)),
        "planned": json.dumps(planned),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = only_writer(file)
    try:
        with storage_errors(file):
            connection = connect(file)
        try:
            with storage_errors(file), transaction(connection):
                _create_or_check(file, connection, wanted)
                started = datetime.now(timezone.utc).isoformat(timespec="seconds")
                noted = canonical(environment or {})
                cursor = connection.execute(
                    "INSERT INTO session (started, environment) VALUES (?, ?)", (started, noted)
                )
                session = cursor.lastrowid or 0
            return Store(file, connection, lock, session)
        except BaseException:
            connection.close()
            raise
    except BaseException:
        lock.close()
        raise


def _create_or_check(path: Path, connection: sqlite3.Connection, wanted: Mapping[str, str]) -> None:
    about = read_about(path, connection)
    if about is None:
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        for statement in filter(str.strip, TABLES.split(";")):
            connection.execute(statement)
        connection.executemany("INSERT INTO about VALUES (?, ?)", list(wanted.items()))
        return
    if about["configuration"] != wanted["configuration"]:
        was, now = json.loads(about["configuration"]), json.loads(wanted["configuration"])
        raise StoreError(
            f"{path}: was started with another configuration: {differences(was, now)}. Use the same configuration, or"
            " another file."
        )
    for name in ("shard", "planned"):
        if about[name] != wanted[name]:
            raise StoreError(f"{path}: was started with {name} {about[name]}, not {wanted[name]}; use another file.")
