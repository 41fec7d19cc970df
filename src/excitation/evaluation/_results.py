"""Reads files of results, and merges the files of several shards."""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ._configuration import differences
from ._store import (
    Row,
    StoreError,
    canonical,
    connect,
    lock_path,
    open_store,
    read_about,
    read_own_layers,
    read_rows,
    storage_errors,
    transaction,
)  # fmt: skip


@dataclass(frozen=True)
class Results:
    """The contents of a file of results at the time of reading.

    Attributes:
        path: the file.
        configuration: all settings that the results depend on.
        shard: the part of the run, `(index, count)`, with the index counted from 0.
        planned: number of units of this shard.
        finished: names of the finished units, sorted.
        rows: rows sorted by image, query, method and layer.
        left_out: omitted pairs `(image, query, reason)`, sorted.
        problems: problems `(path, message)`, sorted.
        environments: package versions of all sessions, oldest first, without duplicates.
        own_layers: number of images by method, layer in the rows, and layer that the method selected itself.
    """

    path: Path
    configuration: Mapping[str, object]
    shard: tuple[int, int]
    planned: int
    finished: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: tuple[tuple[str, str, str], ...]
    problems: tuple[tuple[str, str], ...]
    environments: tuple[Mapping[str, object], ...]
    own_layers: Mapping[tuple[str, str, str], int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all units are finished."""
        return len(self.finished) == self.planned


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read a file of results. This is possible while a run writes to the file, and after an interruption.

    Raises:
        StoreError: the file does not exist, or it is not a file of results.
    """
    file = Path(path)
    if not file.is_file():
        raise StoreError(f"{file}: no such file of results.")
    with storage_errors(file):
        connection = connect(file)
        try:
            with transaction(connection, "DEFERRED"):
                about = read_about(file, connection)
                if about is None:
                    raise StoreError(f"{file}: contains no results; run the game first.")
                environments = connection.execute("SELECT environment FROM session ORDER BY number")
                return Results(
                    path=file,
                    configuration=json.loads(about["configuration"]),
                    shard=tuple(json.loads(about["shard"])),
                    planned=json.loads(about["planned"]),
                    finished=tuple(str(name) for (name,) in connection.execute("SELECT name FROM unit ORDER BY name")),
                    rows=tuple(read_rows(connection)),
                    left_out=tuple(connection.execute("SELECT * FROM left_out ORDER BY image, query")),
                    problems=tuple(connection.execute("SELECT * FROM problem ORDER BY path, sentence")),
                    environments=tuple(json.loads(text) for text in dict.fromkeys(text for (text,) in environments)),
                    own_layers=read_own_layers(connection),
                )
        finally:
            connection.close()


def format_unnamed_layers(run: Results) -> str:
    """Describe the methods that selected their layer, and the selected layers; `""` if there are none.

    This text is a note of tables. The rows do not contain the layer, so that a method with different layers for
    different images still has one row.
    """
    shown = {(row.method, row.layer) for row in run.rows}
    by_method: dict[str, list[tuple[str, int]]] = {}
    for (method, layer, own), images in run.own_layers.items():
        if (method, layer) in shown:
            by_method.setdefault(method, []).append((own, images))
    words = []
    for method, layers in sorted(by_method.items()):
        several = ", ".join(f"{layer} on {images} images" for layer, images in layers)
        words.append(f"{method} ({several if len(layers) > 1 else layers[0][0]})")
    return f"layers that were not named: {', '.join(words)}" if words else ""


def merge_results(
    paths: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, partial: bool = False
) -> Results:
    """Merge the shards of a run into one file.

    Args:
        paths: files of the shards.
        out: the new file. It is written atomically.
        partial: whether to allow missing or unfinished shards. The new file is then incomplete.

    Returns:
        The contents of the new file.

    Raises:
        StoreError: the configurations differ, a shard occurs twice, shards are missing or unfinished, or `out` exists.
    """
    file = Path(out)
    if file.exists():
        raise StoreError(f"{file}: already exists; give a new file for the merged results.")
    shards = [read_results(path) for path in paths]
    if not shards:
        raise StoreError("no file of results was given; give the files of all shards.")
    first = shards[0]
    seen: dict[int, Results] = {}
    for item in shards:
        if canonical(item.configuration) != canonical(first.configuration):
            raise StoreError(
                f"{item.path}: has another configuration than {first.path}:"
                f" {differences(first.configuration, item.configuration)}."
            )
        if item.shard[1] != first.shard[1]:
            raise StoreError(f"{item.path} is one of {item.shard[1]} shards, {first.path} one of {first.shard[1]}.")
        if item.shard[0] in seen:
            raise StoreError(f"{item.path}: is the same shard {_shard(item.shard)} as {seen[item.shard[0]].path}.")
        seen[item.shard[0]] = item
    missing = sorted(set(range(first.shard[1])) - set(seen))
    unfinished = [item for item in shards if not item.complete]
    if missing and not partial:
        raise StoreError(
            f"shard {_shard((missing[0], first.shard[1]))} is missing; give its file, or merge without it (--partial)."
        )
    if unfinished and not partial:
        item = unfinished[0]
        raise StoreError(
            f"{item.path}: {len(item.finished)} of {item.planned} images are finished; finish it, or merge it"
            " unfinished (--partial)."
        )
    planned = sum(item.planned for item in shards)
    # A missing shard counts as at least one unit, so that the file is never complete.
    planned += len(missing)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        with open_store(temporary, first.configuration, planned=planned) as store:
            store.fill(
                (name for item in shards for name in item.finished),
                (row for item in shards for row in item.rows),
                (pair for item in shards for pair in item.left_out),
                (problem for item in shards for problem in item.problems),
                {canonical(made): made for item in shards for made in item.environments}.values(),
                sum((Counter(item.own_layers) for item in shards), Counter()),
            )
        temporary.replace(file)
    finally:
        for leftover in (temporary, lock_path(temporary)):
            leftover.unlink(missing_ok=True)
    return read_results(file)


def _shard(shard: tuple[int, int]) -> str:
    return f"{shard[0] + 1}/{shard[1]}"
