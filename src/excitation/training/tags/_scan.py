"""First pass over uploads: extracts the data of one part, so that later steps do not read the sources again."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt64

from ..._files import whole_file, write_whole
from ...data._uploads import Part, TaggedImage, read_part
from ._steps import FIRST, has_few, is_alphabetical

BUCKETS = 64
"""Into which users are divided; one at a time is looked through for near-duplicates."""

SHOWN = 20
"""Examples that a part keeps for each reason, and sentences on what cannot be read."""


def scan_part(part: Part, number: int, folder: Path) -> None:
    """Read a part and write its counts of tags, its first tags, and the keys of near-duplicates.

    `NUMBER.counts` contains one line for each tag, sorted by tag. `NUMBER.rows` contains one line for each upload with
    five or more tags that are not in alphabetical order: image, user and the first five tags as JSON.
    `NUMBER.keys.npy` contains a row number and five keys for each of these uploads, by bucket of users. `NUMBER.json`
    contains the remaining data and is written last.

    Args:
        part: a part of the uploads.
        number: index of the part.
        folder: folder of the files.
    """
    counts: Counter[str] = Counter()
    told: list[str] = []
    removed: dict[str, int] = {"unreadable": 0, "few": 0, "alphabetical": 0}
    examples: dict[str, list[dict[str, Any]]] = {"few": [], "alphabetical": []}
    hashes: list[bytes] = []
    users: list[bytes] = []
    uploads = 0

    def refused(sentence: str) -> None:
        removed["unreadable"] += 1
        if len(told) < SHOWN:
            told.append(sentence)

    with whole_file(_file(folder, number, "rows")) as rows:
        for upload in read_part(part, refused):
            uploads += 1
            counts.update(upload.tags)
            reason = "few" if has_few(upload.tags) else "alphabetical" if is_alphabetical(upload.tags) else None
            if reason is not None:
                removed[reason] += 1
                if len(examples[reason]) < SHOWN:
                    examples[reason].append(as_example(upload))
                continue
            first = upload.tags[:FIRST]
            rows.write(json.dumps([upload.image, upload.user, *first]).encode() + b"\n")
            hashes += [_hash(tag) for tag in first]
            users.append(_hash(upload.user))
    keys, offsets = _keys(hashes, users)
    with whole_file(_file(folder, number, "keys.npy")) as file:
        np.save(file, keys)
    with whole_file(_file(folder, number, "counts")) as file:
        for tag in sorted(counts):
            file.write(f"{tag}\t{counts[tag]}\n".encode("utf-8", "surrogatepass"))
    rest = {
        "uploads": uploads, "rows": len(keys), "offsets": offsets, "removed": removed, "unreadable": told,
        "examples": examples,
    }  # fmt: skip
    write_whole(_file(folder, number, "json"), json.dumps(rest))


def as_example(upload: TaggedImage) -> dict[str, Any]:
    """Return an upload as JSON data."""
    return {"image": upload.image, "user": upload.user, "tags": list(upload.tags)}


def _file(folder: Path, number: int, ending: str) -> Path:
    return folder / f"{number:06d}.{ending}"


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _keys(hashes: list[bytes], users: list[bytes]) -> tuple[UInt64[np.ndarray, "row 6"], list[int]]:
    """Return the row and five keys of each upload, sorted by bucket. A key hashes the user and four of the five tags.

    Keys are sums of 64-bit hashes, so that they do not depend on the order of the tags. Among 30 million keys, the
    probability of a collision is 0.00003.
    """
    tags = np.frombuffer(b"".join(hashes), np.uint64).reshape(-1, FIRST)
    user = np.frombuffer(b"".join(users), np.uint64)
    fours = tags.sum(1, dtype=np.uint64)[:, None] - tags + user[:, None]
    bucket = (user % np.uint64(BUCKETS)).astype(np.int64)
    order = np.argsort(bucket, kind="stable")
    rows = np.arange(len(user), dtype=np.uint64)
    keys = np.concatenate([rows[:, None], fours], 1)[order]
    offsets = np.searchsorted(bucket[order], np.arange(BUCKETS + 1)).tolist()
    return keys, offsets
