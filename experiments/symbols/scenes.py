"""Scenes of the symbol world, rendered once and kept: pictures by size, with image-level labels."""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from excitation._files import write_whole
from excitation.data.symbols import COLOUR_NAMES, SYMBOL_NAMES, make_scene

CLASSES = (*SYMBOL_NAMES, *COLOUR_NAMES)
CHUNK = 250  # scenes per file


@dataclass(frozen=True)
class Scenes:
    """Pictures of one size.

    Attributes:
        images: scene x height x width x 3, 0 to 255.
        shares: scene x class: area of the largest box of a class over the picture's; 0 where the class is absent.
    """

    images: np.ndarray
    shares: np.ndarray


def render(split: str, count: int, seed: int, folder: Path, workers: int = 2) -> list[Scenes]:
    """Render scenes, or read those rendered before; stopped at any moment, it goes on where it was.

    Args:
        split: of the symbol world.
        count: number of scenes, rounded up to whole files of 250.
        seed: the world's.
        folder: where the files are kept.
        workers: processes.

    Returns:
        One group per size of picture.
    """
    places = [folder / f"{split}-{seed}-{start:06d}.npz" for start in range(0, count, CHUNK)]
    tasks = [(split, seed, i * CHUNK, place) for i, place in enumerate(places) if not place.exists()]
    if tasks:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for _ in track(pool.imap_unordered(_chunk, tasks), f"rendering {split} scenes", total=len(tasks)):
                pass
    groups: dict[str, list[Scenes]] = {}
    for place in places:
        for key, scenes in _read(place):
            groups.setdefault(key, []).append(scenes)
    return [
        Scenes(np.concatenate([s.images for s in parts]), np.concatenate([s.shares for s in parts]))
        for _, parts in sorted(groups.items())
    ]


def gather(split: str, seed: int, indices: Iterable[int]) -> dict[str, Scenes]:
    """Make scenes and put those of one size together, by `"HEIGHTxWIDTH"`."""
    images: dict[str, list[np.ndarray]] = {}
    shares: dict[str, list[np.ndarray]] = {}
    for index in indices:
        scene = make_scene(index, seed, split)
        key = "x".join(str(side) for side in scene.image.shape[:2])
        share = np.zeros(len(CLASSES), dtype=np.float32)
        for instance in scene.instances:
            for place_of in (instance.symbol, len(SYMBOL_NAMES) + instance.colour):
                share[place_of] = max(share[place_of], instance.share)
        images.setdefault(key, []).append(scene.image)
        shares.setdefault(key, []).append(share)
    return {key: Scenes(np.stack(found), np.stack(shares[key])) for key, found in images.items()}


def _chunk(task: tuple[str, int, int, Path]) -> None:
    split, seed, start, place = task
    found = gather(split, seed, range(start, start + CHUNK))
    arrays = {f"images {key}": scenes.images for key, scenes in found.items()}
    arrays |= {f"shares {key}": scenes.shares for key, scenes in found.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_whole(place, buffer.getvalue())


def _read(place: Path) -> Iterator[tuple[str, Scenes]]:
    with np.load(place) as arrays:
        for name in arrays.files:
            kind, key = name.split(" ")
            if kind == "images":
                yield key, Scenes(arrays[name], arrays[f"shares {key}"])
