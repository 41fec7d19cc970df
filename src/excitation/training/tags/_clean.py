"""Cleaning of uploads in bounded memory: scan, near-duplicates, dictionary, result. Each step is resumable."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..._checks import check_number
from ..._files import write_whole
from ...data import DataError
from ...data._uploads import PART, Part, find_parts
from ._passes import find_duplicates, mark_duplicates, merge_counts, read_row, write_kept
from ._scan import BUCKETS, SHOWN, _file, scan_part
from ._steps import STEPS

THRESHOLD = 1000
"""Occurrences from which on a tag is in the dictionary: the paper's, for 17 million uploads."""

FORMAT = 1

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how many pieces of it are finished, and how many there are."""


@dataclass(frozen=True)
class Cleaned:
    """The result of cleaning.

    Attributes:
        folder: folder of the result. `uploads/` contains JSON lines with image, user and first five tags.
            `dictionary.tsv` contains tags and counts, most frequent first. `report.json` contains these attributes.
        uploads: number of readable uploads.
        removed: number of uploads that each step removed, in the order of the steps. The first item counts unreadable
            uploads.
        kept: number of kept uploads.
        tags: number of different tags before cleaning.
        dictionary: number of tags in the dictionary.
        threshold: minimum number of occurrences of a tag in the dictionary.
        unreadable: descriptions of some unreadable uploads.
        examples: examples of kept uploads, and of uploads that each step removed.
    """

    folder: Path
    uploads: int
    removed: dict[str, int]
    kept: int
    tags: int
    dictionary: int
    threshold: int
    unreadable: tuple[str, ...]
    examples: dict[str, list[dict[str, Any]]]


def clean_uploads(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    threshold: int = THRESHOLD,
    workers: int = 1,
    part: int = PART,
    progress: Progress | None = None,
) -> Cleaned:
    """Clean uploads as in Appendix B. If a call was interrupted, the same call continues.

    The dictionary counts all tags of all uploads. Uploads are then removed in four steps:

    1. Uploads with fewer than five tags.
    2. Uploads with tags in alphabetical order.
    3. Near-duplicates: uploads with more than three of the first five tags in common with an earlier upload of the same
       user. The earlier upload must have passed steps 1 and 2, but can be a near-duplicate. "Earlier" refers to the
       order of the sources.
    4. Beyond the paper: uploads with none of the first five tags in the dictionary.

    The time is linear in the number of uploads. The memory contains one part or one bucket of users (1/64 of all users)
    for each worker, the dictionary, and one byte for each upload.

    Args:
        sources: sources of uploads, see `find_parts`.
        out: folder of the result. During the run, it also contains a few hundred bytes for each upload.
        threshold: minimum number of occurrences of a tag in the dictionary.
        workers: number of processes.
        part: number of bytes of JSON lines to read at a time.
        progress: function that is called with the progress.

    Raises:
        DataError: the uploads cannot be read, the folder contains another result, or no upload remains.

    Source: Zhang et al., ECCV 2016, Sec. 4.3 and Appendix B.
    """
    check_number("threshold", threshold, "a whole number of occurrences from 1 on", least=1, whole=True)
    check_number("workers", workers, "a whole number of processes from 1 on", least=1, whole=True)
    folder, parts = Path(out), find_parts(sources, part)
    _claim(folder, parts, threshold)
    if (folder / "report.json").exists():
        return read_cleaned(folder)
    work = folder / ".work"
    told = progress or (lambda *_: None)
    scans = [(item, number, work) for number, item in enumerate(parts) if not _file(work, number, "json").exists()]
    _each("reading uploads", scan_part, scans, len(parts), workers, told)
    scanned = [json.loads(_file(work, number, "json").read_text()) for number in range(len(parts))]
    places = [work / f"duplicates-{bucket:02d}.npy" for bucket in range(BUCKETS)]
    searches = [(work, bucket, scanned, place) for bucket, place in enumerate(places) if not place.exists()]
    _each("looking for near-duplicates", find_duplicates, searches, BUCKETS, workers, told)
    marks, shown = mark_duplicates(places, scanned)
    told("counting tags", 0, 1)
    words, different = merge_counts(work, len(parts), threshold)
    lines = "".join(f"{word}\t{count}\n" for word, count in words.items())
    write_whole(folder / "dictionary.tsv", lines.encode("utf-8", "surrogatepass"))
    known, kept = frozenset(words), folder / "uploads"
    writes = [
        (work, number, marks[number], known, kept)
        for number in range(len(parts))
        if not (kept / ".done" / f"{number:06d}.json").exists()
    ]
    _each("writing what is kept", write_kept, writes, len(parts), workers, told)
    written = [json.loads((kept / ".done" / f"{number:06d}.json").read_text()) for number in range(len(parts))]
    removed = {name: sum(item["removed"][name] for item in scanned) for name in ("unreadable", "few", "alphabetical")}
    removed["near-duplicate"] = sum(int(mark.sum()) for mark in marks)
    removed["unknown"] = sum(item["counts"]["unknown"] for item in written)
    examples = {name: _first(item["examples"][name] for item in scanned) for name in ("few", "alphabetical")}
    examples["near-duplicate"] = [
        {**read_row(work, int(a), int(b)), "like": read_row(work, int(c), int(d))} for a, b, c, d in shown
    ]
    for name in ("unknown", "kept"):
        examples[name] = _first(item["examples"][name] for item in written)
    result = Cleaned(
        folder, sum(item["uploads"] for item in scanned), removed, sum(item["counts"]["kept"] for item in written),
        different, len(words), threshold, tuple(_first(item["unreadable"] for item in scanned)), examples,
    )  # fmt: skip
    stored = {key: value for key, value in asdict(result).items() if key != "folder"}
    write_whole(folder / "report.json", json.dumps({"steps": STEPS, **stored}, indent=1) + "\n")
    shutil.rmtree(kept / ".done", ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)
    return result


def read_cleaned(folder: str | os.PathLike[str]) -> Cleaned:
    """Read the result of an earlier `clean_uploads`.

    Raises:
        DataError: the folder contains no finished result.
    """
    place = Path(folder) / "report.json"
    if not place.is_file():
        raise DataError(f"{folder}: holds no cleaned uploads; `excitation tags clean` makes them.")
    found = json.loads(place.read_text())
    found.pop("steps")
    return Cleaned(Path(folder), **{**found, "unreadable": tuple(found["unreadable"])})


def read_dictionary(folder: str | os.PathLike[str]) -> dict[str, int]:
    """Return the tags of the dictionary with their counts, most frequent first.

    Raises:
        DataError: the folder contains no dictionary.
    """
    place = Path(folder) / "dictionary.tsv"
    if not place.is_file():
        raise DataError(f"{folder}: holds no dictionary.tsv; `excitation tags clean` makes it.")
    lines = (line.rpartition("\t") for line in place.read_text("utf-8", "surrogatepass").split("\n")[:-1])
    return {tag: int(count) for tag, _, count in lines}


def _claim(folder: Path, parts: Sequence[Part], threshold: int) -> None:
    """Write the sources and options to the folder, or check that they equal those of the folder."""
    listed = []
    for item in parts:
        stat = item.path.stat()
        listed.append([str(item.path.resolve()), stat.st_size, stat.st_mtime_ns, item.start, item.stop])
    text = json.dumps({"format": FORMAT, "threshold": threshold, "parts": listed})
    place = folder / "sources.json"
    if not place.exists():
        write_whole(place, text)
    elif place.read_text() != text:
        raise DataError(f"{folder}: belongs to other uploads or another threshold; choose another folder.")


def _each(
    what: str, work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], total: int, workers: int, told: Progress
) -> None:  # fmt: skip
    """Run a function for each task, in several processes if useful."""
    done = total - len(tasks)
    told(what, done, total)
    for _ in _run(work, tasks, workers):
        done += 1
        told(what, done, total)


def _run(work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int) -> Iterator[None]:
    if workers == 1 or len(tasks) < 2:
        for task in tasks:
            work(*task)
            yield
        return
    context = multiprocessing.get_context("spawn")  # torch and its threads do not survive a fork
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context) as pool:
        waiting = [pool.submit(work, *task) for task in tasks]
        try:
            for one in as_completed(waiting):
                one.result()
                yield
        finally:
            for one in waiting:
                one.cancel()


def _first(lists: Iterable[list[Any]]) -> list[Any]:
    return [item for found in lists for item in found][:SHOWN]
