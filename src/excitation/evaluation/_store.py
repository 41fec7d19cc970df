"""The store of a run's results: safe against being killed, against a second writer, against another configuration."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from ._differences import differences
from ._sqlite import (
    APPLICATION,
    FORMAT,
    TABLES,
    TAKEN,
    Row,
    StoreError,
    canonical,
    connect,
    insert,
    insert_taken,
    only_writer,
    read_about,
    storage_errors,
    transaction,
)  # fmt: skip


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
