"""Scenes of the symbol world: objects, positions and the image, from a seed and an index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageFilter

from ..._errors import ExcitationError
from ._backgrounds import draw_background
from ._glyphs import COLOUR_NAMES, COLOURS, PAIRS, SYMBOL_NAMES, SYMBOLS
from ._render import draw_object

SPLITS = ("train", "val", "test", "dominant")
"""In `train` and `val` the pairs appear together, in `test` never; `dominant` has one large object per image."""

SHORTEST = 160
SIZES = ((160, 160), (160, 213), (213, 160), (160, 240), (240, 160))
"""(height, width) of the images in pixels."""

TOGETHER = 0.93  # probability that a member of a pair appears with its partner in training
VISIBLE = 0.65  # minimum visible fraction of a partly hidden object


@dataclass(frozen=True)
class Instance:
    """One object in a scene.

    Attributes:
        symbol: index in `SYMBOLS`.
        colour: index in `COLOURS`.
        mask: its visible pixels.
        box: half-open bounding box of the mask, (x0, y0, x1, y1) in pixels.
    """

    symbol: int
    colour: int
    mask: Bool[np.ndarray, "height width"]
    box: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        """The name of the symbol."""
        return SYMBOL_NAMES[self.symbol]

    @property
    def colour_name(self) -> str:
        """The name of the colour."""
        return COLOUR_NAMES[self.colour]

    @property
    def share(self) -> float:
        """Area of the box as a fraction of the image area, in [0, 1]."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0) / self.mask.size


@dataclass(frozen=True)
class Scene:
    """An image with its objects.

    Attributes:
        image: RGB values in [0, 255], `(height, width, 3)`.
        instances: the objects, from back to front.
        split: a name in `SPLITS`.
        seed: seed of the symbol world.
        index: index of the scene in the split.
    """

    image: UInt8[np.ndarray, "height width 3"]
    instances: tuple[Instance, ...]
    split: str
    seed: int
    index: int


def make_scene(index: int, seed: int = 0, split: str = "train") -> Scene:
    """Create one scene, independent of all others.

    Args:
        index: index in the split, 0 or more.
        seed: seed of the symbol world, 0 or more.
        split: a name in `SPLITS`. Different seeds and splits have no scenes in common.

    Returns:
        The same scene for the same arguments.

    Raises:
        ExcitationError: an unknown split, or a negative index or seed.
    """
    check_scene(index, seed, split)
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    size = SIZES[rng.integers(len(SIZES))]
    wanted = _choose(rng, split)
    canvas = draw_background(rng, size)
    objects = _draw_all(rng, canvas, wanted)
    return Scene(_photograph(rng, canvas), tuple(objects), split, seed, index)


def check_scene(index: int, seed: int, split: str) -> None:
    """Raise an error for invalid arguments of `make_scene`.

    Raises:
        ExcitationError: an unknown split, or a negative index or seed.
    """
    if split not in SPLITS:
        raise ExcitationError(f"split is {split!r}; choose one of {', '.join(SPLITS)}.")
    if index < 0 or seed < 0:
        raise ExcitationError(f"index {index} and seed {seed} must not be negative.")


def _choose(rng: np.random.Generator, split: str) -> list[tuple[int, int, float]]:
    """Choose the content of a scene: symbol, colour and extent in pixels of each object, larger ones first."""
    large = split == "dominant" or rng.random() < 0.15
    if large:
        count = 1 if split == "dominant" else int(rng.integers(1, 4))
    else:
        count = int(rng.choice(np.arange(1, 9), p=[0.06, 0.16, 0.19, 0.19, 0.16, 0.11, 0.08, 0.05]))
    symbols = _choose_symbols(rng, count, split)
    # Images with many objects have smaller ones, to avoid occlusion.
    top = 120 if len(symbols) < 3 else 95 if len(symbols) < 5 else 70
    extents = np.sort(24 * (top / 24) ** rng.random(len(symbols)))[::-1]
    if large:
        extents[0] = rng.uniform(105, 150)
    return [
        (symbol, int(rng.integers(len(COLOURS))), float(extents[order]))
        for order, symbol in zip(
            rng.permutation(len(symbols)) if not large else range(len(symbols)), symbols, strict=True
        )
    ]


def _choose_symbols(rng: np.random.Generator, count: int, split: str) -> list[int]:
    partner = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}
    chosen: list[int] = []
    while len(chosen) < count:
        if chosen and rng.random() < 0.08:
            chosen.append(int(rng.choice(chosen)))  # several of a kind
            continue
        symbol = int(rng.integers(len(SYMBOLS)))
        if symbol in chosen or partner.get(symbol) in chosen:
            continue
        if symbol in partner and split in ("train", "val"):
            together = rng.random() < TOGETHER
            if together and len(chosen) + 2 > count:
                continue
            chosen += [symbol, partner[symbol]] if together else [symbol]
        else:
            chosen.append(symbol)
    return chosen


def _draw_all(rng: np.random.Generator, canvas: np.ndarray, wanted: list[tuple[int, int, float]]) -> list[Instance]:
    """Draw the objects into the canvas; an object without enough room is made smaller."""
    height, width = canvas.shape[:2]
    masks: list[np.ndarray] = []
    whole: list[int] = []
    kept: list[tuple[int, int]] = []
    for symbol, colour, size in wanted:
        for attempt in range(24):
            extent = max(size * 0.9 ** (attempt // 4), 22.0)
            margin = 0.42 * extent
            x, y = rng.uniform(margin, width - margin), rng.uniform(margin, height - margin)
            placed = _place(rng, canvas, symbol, colour, extent, (x, y), masks, whole)
            if placed is not None:
                kept.append((symbol, colour))
                break
    return [Instance(symbol, colour, mask, _box(mask)) for (symbol, colour), mask in zip(kept, masks, strict=True)]


def _place(
    rng: np.random.Generator,
    canvas: np.ndarray,
    symbol: int,
    colour: int,
    extent: float,
    centre: tuple[float, float],
    masks: list[np.ndarray],
    whole: list[int],
) -> bool | None:
    """Draw one object unless it would leave the image or hide too much of another."""
    height, width = canvas.shape[:2]
    reach = extent / 2
    left, right = max(int(centre[0] - reach), 0), min(int(centre[0] + reach), width)
    above, below = max(int(centre[1] - reach), 0), min(int(centre[1] + reach), height)
    # A cheap test before drawing: most of the area must be free.
    for mask, area in zip(masks, whole, strict=True):
        if mask[above:below, left:right].sum() > 0.35 * min(area, (right - left) * (below - above)):
            return None
    backdrop = float(canvas[above:below, left:right].mean())
    sprite = draw_object(rng, symbol, colour, extent, backdrop)
    side = sprite.alpha.shape[0]
    x0, y0 = round(centre[0] - side / 2), round(centre[1] - side / 2)
    inside = (slice(max(y0, 0), min(y0 + side, height)), slice(max(x0, 0), min(x0 + side, width)))
    part = (slice(inside[0].start - y0, inside[0].stop - y0), slice(inside[1].start - x0, inside[1].stop - x0))
    solid = sprite.alpha > 0.5
    if solid[part].sum() < 0.85 * solid.sum():
        return None
    mask = np.zeros((height, width), dtype=bool)
    mask[inside] = solid[part]
    if any((other & ~mask).sum() < VISIBLE * area for other, area in zip(masks, whole, strict=True)):
        return None
    region = canvas[inside]
    region *= 1 - sprite.shadow[part][..., None]
    region += sprite.alpha[part][..., None] * (sprite.colour[part] - region)
    for other in masks:
        other &= ~mask
    masks.append(mask)
    whole.append(int(mask.sum()))
    return True


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Simulate a camera: exposure, colour tint, blur and noise."""
    gain = rng.uniform(0.8, 1.1) * (1 + rng.uniform(-0.04, 0.04, 3))
    picture = canvas * gain + rng.uniform(-0.02, 0.04)
    if rng.random() < 0.35:
        soft = Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8))
        picture = np.asarray(soft.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.9))))) / 255
    picture = picture + rng.normal(0, rng.uniform(0.002, 0.03), picture.shape)
    exposed: np.ndarray = (picture.clip(0, 1) * 255).round()
    return exposed.astype(np.uint8)
