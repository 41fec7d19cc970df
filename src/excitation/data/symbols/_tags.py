"""User tags of images: usually ordered by relevance, and noisy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ._glyphs import SYMBOLS
from ._scenes import SPLITS, Instance, Scene

VISUAL = ("small", "large", "sign", "pair", "group", "crowd", "alone")
"""Words for properties of an image other than symbols and colours: see `make_uploads`."""

SMALL, LARGE = 0.015, 0.15
"""Maximum and minimum fraction of the image at which an object gets the respective size word."""

CROWD = 6
"""Minimum number of objects of a crowd."""

NON_VISUAL = (
    "2016", "love", "best", "free", "holiday", "photo of the day", "unedited", "my favourite", "friends", "nice",
    "stock", "camera", "project", "cheap", "new",
)  # fmt: skip
"""Words that match nothing in an image."""

SCENES_PER_USER = 6
ALPHABETICAL, SPARSE, DUPLICATED = 0.1, 0.15, 0.05


@dataclass(frozen=True)
class Upload:
    """The tags of one user for one image.

    Attributes:
        user: the uploader.
        tags: most relevant first, unless the user sorts them.
        noise: types of noise: `"alphabetical"` (the user sorts tags), `"few"` (only one or two tags) and `"duplicate"`
            (a second, slightly changed image of the same scene by the same user).
    """

    user: str
    tags: tuple[str, ...]
    noise: tuple[str, ...] = ()

    @property
    def duplicate(self) -> bool:
        """Whether the same user uploaded nearly the same image before."""
        return "duplicate" in self.noise


def make_uploads(scene: Scene) -> tuple[Upload, ...]:
    """The tags of a scene; for one scene in twenty, also those of a near-duplicate.

    Returns:
        One or two uploads, which depend only on the scene. Tags name symbols and colours, larger objects first,
        followed by words for nothing visible. Some have further words: `small` or `large` for the size of an object,
        `sign` for an object whose name contains it, `pair` for two objects of a kind or a thing such as scissors,
        `group` for more objects of a kind, `crowd` for six or more objects, `alone` for a single one. One user in ten
        sorts tags alphabetically. Some users give fewer than five tags, and some omit an object.
    """
    rng = np.random.default_rng([scene.seed, SPLITS.index(scene.split), scene.index, 2])
    user = scene.index // SCENES_PER_USER
    sorts = np.random.default_rng([scene.seed, user, 3]).random() < ALPHABETICAL
    # Additional words use a separate generator, so that the other tags equal those of earlier releases.
    more = np.random.default_rng([scene.seed, SPLITS.index(scene.split), scene.index, 4])
    tags: list[str] = []
    for instance in sorted(scene.instances, key=lambda item: -item.share):
        if rng.random() < 0.08:
            continue
        tags.append(instance.name)
        if rng.random() < 0.5:
            tags.append(instance.colour_name)
        tags += [word for word in _of_object(instance) if more.random() < 0.5]
    for word in _of_scene(scene):
        if more.random() < 0.7:
            tags.insert(int(more.integers(1, 4)), word)
    few = rng.random() < SPARSE
    if few:
        tags = tags[: int(rng.integers(1, 3))]
    else:
        tags += [str(word) for word in rng.choice(NON_VISUAL, int(rng.integers(1, 5)), replace=False)]
    unique = tuple(dict.fromkeys(tags)) or (str(rng.choice(NON_VISUAL)),)
    unique = tuple(sorted(unique)) if sorts else unique
    noise = tuple(name for name, there in (("alphabetical", sorts), ("few", few)) if there)
    uploads = [Upload(f"user{user:05d}", unique, noise)]
    if rng.random() < DUPLICATED:
        uploads.append(Upload(f"user{user:05d}", unique, (*noise, "duplicate")))
    return tuple(uploads)


def _of_object(instance: Instance) -> list[str]:
    """Words that describe an object besides its name and colour."""
    size = "small" if instance.share < SMALL else "large" if instance.share > LARGE else None
    last = instance.name.split()[-1]
    return [word for word in (size, last if last == "sign" else None) if word]


def _of_scene(scene: Scene) -> list[str]:
    """Words that describe the scene as a whole."""
    kinds = Counter(instance.symbol for instance in scene.instances)
    pair = 2 in kinds.values() or any(SYMBOLS[symbol].noun.startswith("pair of ") for symbol in kinds)
    fitting = {
        "pair": pair,
        "group": max(kinds.values(), default=0) > 2,
        "crowd": len(scene.instances) >= CROWD,
        "alone": len(scene.instances) == 1,
    }
    return [word for word, fits in fitting.items() if fits]


def near_duplicate(scene: Scene) -> np.ndarray:
    """A second picture of the scene: cropped by a few pixels, slightly brighter.

    Returns:
        Values in [0, 255], `(height - 6, width - 6, 3)`.
    """
    brighter = scene.image[3:-3, 3:-3].astype(np.float32) * 1.06
    result: np.ndarray = brighter.clip(0, 255).round().astype(np.uint8)
    return result
