"""Time and memory of cleaning millions of uploads: `python -m experiments.tags.scale --count 6000000`.

Writes synthetic uploads (30 to 50 tags each, words by Zipf's law, users of 1 to some thousand uploads, one in ten in
alphabetical order, some with few tags, some near-duplicates), cleans them, and prints minutes and peak memory as JSON.
"""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from excitation._files import whole_file, write_whole
from excitation.training.tags import clean_uploads

CHUNK = 20_000
WORDS = 400_000
LARGEST_FILE = 500_000
"""Uploads in one file of JSON lines."""


def main(
    count: Annotated[int, typer.Option(help="Uploads.")] = 6_000_000,
    out: Annotated[Path, typer.Option(help="Folder; 600 bytes an upload.")] = Path("runs/tags"),
    threshold: Annotated[int, typer.Option(help="Of the dictionary.")] = 1000,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the uploads.")] = 0,
) -> None:
    """Make uploads, clean them, print what it took."""
    files = [out / "uploads" / f"{start:09d}.jsonl" for start in range(0, count, LARGEST_FILE)]
    for start, file in zip(range(0, count, LARGEST_FILE), files, strict=True):
        if not file.exists():
            _write(file, start, min(LARGEST_FILE, count - start), seed)
    begun = time.perf_counter()
    cleaned = clean_uploads(files, out / "cleaned", threshold=threshold, workers=workers, progress=_Clock())
    seconds = time.perf_counter() - begun
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    found = {
        "uploads": cleaned.uploads, "removed": cleaned.removed, "kept": cleaned.kept, "different tags": cleaned.tags,
        "dictionary": cleaned.dictionary, "bytes": sum(file.stat().st_size for file in files), "workers": workers,
        "minutes": seconds / 60,
        "processor minutes": sum(who.ru_utime + who.ru_stime for who in (own, others)) / 60,
        "peak MiB of this process": own.ru_maxrss / 1024,
        "peak MiB of the largest worker": others.ru_maxrss / 1024,
    }  # fmt: skip
    write_whole(out / "scale.json", json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def _write(file: Path, start: int, count: int, seed: int) -> None:
    """Uploads with numbers from `start` on."""
    with whole_file(file) as lines:
        for first in range(start, start + count, CHUNK):
            rng = np.random.default_rng([seed, first])
            some = min(CHUNK, start + count - first)
            lengths = rng.integers(30, 51, some)
            lengths[rng.random(some) < 0.05] = 3
            words = np.minimum(rng.zipf(1.15, int(lengths.sum())), WORDS)
            users = np.minimum(rng.zipf(1.3, some), 300_000)
            ends = np.cumsum(lengths)
            before: list[str] = []
            order, again = rng.random(some) < 0.1, rng.random(some) < 0.1
            for i in range(some):
                tags = [f"w{word}" for word in words[ends[i] - lengths[i] : ends[i]].tolist()]
                if again[i] and before:
                    tags, users[i] = [*before[:4], *tags[4:]], users[i - 1]
                before = tags
                if order[i]:
                    tags = sorted(tags)
                row = {"image": f"{first + i:09d}.jpg", "user": int(users[i]), "tags": tags}
                lines.write(json.dumps(row).encode() + b"\n")


class _Clock:
    """Prints when each stage begins and ends."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    def __call__(self, what: str, done: int, total: int) -> None:
        if done in {0, total}:
            print(f"{time.perf_counter() - self._begun:7.1f} s  {what}: {done} of {total}", flush=True)


if __name__ == "__main__":
    typer.run(main)
