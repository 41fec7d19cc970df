"""Damaged sentences, annotations and `.mat` files: each ends in a result or in an error of this package.

`python -m experiments.phrases.fuzz --mutations 10000` prints, for each kind of file, how many were read and refused,
the longest time of one file, and the growth of memory. It stops with the file's bytes at the first other outcome.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from excitation import ExcitationError
from excitation.data.symbols import export_scenes
from excitation.grounding import Dictionary, find_phrases, parse_sentence, read_mcg
from excitation.grounding._entities import read_entity_boxes

Reader = Callable[[Path], object]

PIECES = (b"[/EN#", b"]", b"<name>", b"&a;", b"\0" * 8, b"9" * 30, b"\xff" * 4, b"ing ")

LONGEST = 5.0
"""Seconds within which every file is read or refused."""

LARGEST = 1 << 28
"""Bytes by which the memory of the process may grow."""


def main() -> None:
    """Damage copies of good files and read them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        for kind, (content, reader) in samples(Path(place)).items():
            print(f"{kind}: {fuzz(content, reader, Path(place), given.mutations, given.seed)}", flush=True)


def samples(folder: Path) -> dict[str, tuple[bytes, Reader]]:
    """A good file of each kind, and what reads it."""
    for _ in export_scenes(folder / "scenes", 1, 0, "test"):
        pass
    (sentences,) = (folder / "scenes" / "entities" / "Sentences").glob("*.txt")
    (annotation,) = (folder / "scenes" / "entities" / "Annotations").glob("*.xml")
    dictionary = Dictionary(["star", "sign", "radiation sign", "small", "black"], "case")
    kinds: dict[str, tuple[bytes, Reader]] = {
        "sentences": (sentences.read_bytes(), lambda path: [parse_sentence(line) for line in lines(path)]),
        "captions": (
            b"The small star is left of a black radiation sign (large), near two small stars.",
            lambda path: find_phrases(lines(path)[0], dictionary),
        ),
        "annotations": (annotation.read_bytes(), read_entity_boxes),
    }
    for version, made in (("5", mat_5), ("5, compressed", mat_5_compressed), ("7.3", mat_73)):
        content = made(folder / "good.mat")
        if content is not None:
            kinds[f".mat of version {version}"] = content, read_mcg
    return kinds


def lines(path: Path) -> list[str]:
    """The lines of a text, with damaged bytes replaced."""
    return path.read_bytes().decode("utf-8", "replace").split("\n")


def regions() -> dict[str, np.ndarray]:
    """Superpixels and labels as MCG writes them."""
    rng = np.random.default_rng(0)
    superpixels = (np.arange(20)[:, None] // 5 * 4 + np.arange(24)[None] // 6 + 1).astype(np.int32)
    labels = np.empty((6, 1), dtype=object)
    for i in range(6):
        labels[i, 0] = rng.choice(np.arange(1, 17), size=3, replace=False).astype(np.int32)[None]
    return {"superpixels": superpixels, "labels": labels, "scores": rng.random((6, 1))}


def mat_5(path: Path, *, compressed: bool = False) -> bytes | None:
    """A file of version 5; `None` without SciPy."""
    try:
        from scipy.io import savemat
    except ImportError:
        return None
    savemat(path, regions(), do_compression=compressed)
    return path.read_bytes()


def mat_5_compressed(path: Path) -> bytes | None:
    """A compressed file of version 5; `None` without SciPy."""
    return mat_5(path, compressed=True)


def mat_73(path: Path) -> bytes | None:
    """A file of version 7.3; `None` without h5py."""
    try:
        import h5py
    except ImportError:
        return None
    given = regions()
    with h5py.File(path, "w", userblock_size=512) as file:
        file["superpixels"] = given["superpixels"].T
        file["scores"] = given["scores"].T
        references = file.create_dataset("labels", (1, 6), dtype=h5py.ref_dtype)
        for i, item in enumerate(given["labels"][:, 0]):
            references[0, i] = file.create_dataset(f"#refs#/{i}", data=item.T).ref
    return path.read_bytes()


def fuzz(content: bytes, reader: Reader, folder: Path, mutations: int, seed: int) -> str:
    """Read damaged copies of one file.

    Raises:
        RuntimeError: another exception than an `ExcitationError`.
        SystemExit: too much time or memory.
    """
    rng = random.Random(seed)
    file = folder / "damaged"
    file.write_bytes(content)
    reader(file)  # the good file is read
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    read = refused = 0
    longest = 0.0
    for _ in range(mutations):
        damaged = mutated(rng, content)
        file.write_bytes(damaged)
        start = time.perf_counter()
        try:
            reader(file)
            read += 1
        except ExcitationError:
            refused += 1
        except Exception as error:
            raise RuntimeError(f"{type(error).__name__} from {damaged!r}") from error
        longest = max(longest, time.perf_counter() - start)
        if longest > LONGEST:
            sys.exit(f"took {longest:.1f} s\n{damaged!r}")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if grown > LARGEST:
        sys.exit(f"memory grew by {grown >> 20} MiB")
    return f"{read} read, {refused} refused; longest {1000 * longest:.0f} ms; memory grew by {grown >> 20} MiB"


def mutated(rng: random.Random, content: bytes) -> bytes:
    """A copy with one to four bytes or pieces changed, removed, doubled or inserted, or cut short."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if not data:
            break
        place, kind = rng.randrange(len(data)), rng.randrange(7)
        if kind <= 1:
            data[place] = rng.randrange(256)
        elif kind == 2:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 3:
            del data[place : place + rng.randint(1, 40)]
        elif kind == 4:
            data[place:place] = data[place : place + rng.randint(1, 40)]
        elif kind == 5:
            data[place:place] = rng.choice(
                [b"[/EN#", b"]", b"<name>", b"&a;", b"\0" * 8, b"9" * 30, b"\xff" * 4, b"ing "]
            )
        elif rng.random() < 0.3:
            del data[place:]
    return bytes(data)


if __name__ == "__main__":
    main()
