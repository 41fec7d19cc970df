"""Later passes over scanned uploads: near-duplicates by bucket of users, the dictionary, and the kept uploads."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from ..._files import whole_file, write_whole
from ._scan import SHOWN, _file

AT_ONCE = 64
"""Files of counts that are merged at a time: a process may not open any number of them."""


def find_duplicates(folder: Path, bucket: int, parts: Sequence[Mapping[str, Any]], place: Path) -> None:
    """Find near-duplicates among the users of one bucket.

    Args:
        folder: folder of the scanned parts.
        bucket: index of the bucket of users.
        parts: contents of the parts' JSON files.
        place: file of the result. For each near-duplicate, it contains the part and row of the upload, and the part
            and row of the first similar upload.
    """
    pieces, numbers = [], []
    for number, part in enumerate(parts):
        begin, end = part["offsets"][bucket : bucket + 2]
        if end > begin:
            pieces.append(np.array(np.load(_file(folder, number, "keys.npy"), mmap_mode="r")[begin:end]))
            numbers.append(np.full(end - begin, number, np.int64))
    found = np.zeros((0, 4), np.int64)
    if pieces:
        table, part_of = np.concatenate(pieces), np.concatenate(numbers)
        rows, keys = table[:, 0].astype(np.int64), table[:, 1:]
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
        earliest = (first[which.reshape(-1)] // keys.shape[1]).reshape(keys.shape).min(1)
        late = np.flatnonzero(earliest < np.arange(len(keys)))
        like = earliest[late]
        found = np.stack([part_of[late], rows[late], part_of[like], rows[like]], 1)
    with whole_file(place) as file:
        np.save(file, found)


def mark_duplicates(
    places: Iterable[Path], parts: Sequence[Mapping[str, Any]]
) -> tuple[list[Bool[np.ndarray, " row"]], Int64[np.ndarray, "example 4"]]:
    """Return a mask of near-duplicates for each part, one byte per upload, and a few examples of near-duplicates."""
    marks = [np.zeros(part["rows"], np.bool_) for part in parts]
    shown: list[np.ndarray] = []
    for place in places:
        found = np.load(place)
        shown.append(found[:SHOWN])
        order = np.argsort(found[:, 0], kind="stable")
        ends = np.searchsorted(found[order, 0], np.arange(len(parts) + 1))
        for number, mark in enumerate(marks):
            mark[found[order[ends[number] : ends[number + 1]], 1]] = True
    chosen = np.concatenate(shown)
    return marks, chosen[np.lexsort((chosen[:, 1], chosen[:, 0]))][:SHOWN]


def merge_counts(folder: Path, parts: int, threshold: int) -> tuple[dict[str, int], int]:
    """Sum the counts of tags over all parts. The parts are sorted, so that only the dictionary is in memory.

    Args:
        folder: folder of the scanned parts.
        parts: number of parts.
        threshold: minimum number of occurrences of a tag in the dictionary.

    Returns:
        The dictionary, most frequent first, ties sorted by tag; and the number of different tags before the threshold
        is applied.
    """
    files = [_file(folder, number, "counts") for number in range(parts)]
    level = 0
    while len(files) > AT_ONCE:
        merged = []
        for start in range(0, len(files), AT_ONCE):
            place = folder / f"merged-{level}-{start:06d}.counts"
            with whole_file(place) as file:
                for tag, count in _added(files[start : start + AT_ONCE]):
                    file.write(tag + b"\t%d\n" % count)
            merged.append(place)
        files, level = merged, level + 1
    kept: list[tuple[str, int]] = []
    different = 0
    for tag, count in _added(files):
        different += 1
        if count >= threshold:
            kept.append((tag.decode("utf-8", "surrogatepass"), count))
    return dict(sorted(kept, key=lambda item: (-item[1], item[0]))), different


def _added(files: Sequence[Path]) -> Iterator[tuple[bytes, int]]:
    # UTF-8 keeps the order of code points, in which the parts were sorted.
    lines = heapq.merge(*map(_counts, files))
    for tag, group in groupby(lines, key=lambda item: item[0]):
        yield tag, sum(count for _, count in group)


def _counts(file: Path) -> Iterator[tuple[bytes, int]]:
    with file.open("rb") as lines:
        for line in lines:
            tag, _, count = line.rpartition(b"\t")
            yield tag, int(count)


def write_kept(
    folder: Path, number: int, duplicate: Bool[np.ndarray, " row"], known: frozenset[str], out: Path
) -> dict[str, Any]:
    """Write the kept uploads of a part as JSON lines: `{"image": ..., "user": ..., "tags": [the first five]}`.

    Returns:
        The number of kept uploads, the number of uploads without a tag of the dictionary, and examples of both.
    """
    counts = {"kept": 0, "unknown": 0}
    examples: dict[str, list[dict[str, Any]]] = {"kept": [], "unknown": []}
    with _file(folder, number, "rows").open("rb") as rows, whole_file(out / f"{number:06d}.jsonl") as file:
        for line, again in zip(rows, duplicate.tolist(), strict=True):
            if again:
                continue
            image, user, *tags = json.loads(line)
            kind = "unknown" if known.isdisjoint(tags) else "kept"
            counts[kind] += 1
            upload = {"image": image, "user": user, "tags": tags}
            if len(examples[kind]) < SHOWN:
                examples[kind].append(upload)
            if kind == "kept":
                file.write(json.dumps(upload).encode() + b"\n")
    found = {"counts": counts, "examples": examples}
    write_whole(out / ".done" / f"{number:06d}.json", json.dumps(found))
    return found


def read_row(folder: Path, number: int, row: int) -> dict[str, Any]:
    """Return one upload of a scanned part."""
    with _file(folder, number, "rows").open("rb") as rows:
        for at, line in enumerate(rows):
            if at == row:
                image, user, *tags = json.loads(line)
                return {"image": image, "user": user, "tags": tags}
    raise IndexError(row)
