"""Drawing of one warped, shaded and textured object."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageFilter

from ._glyphs import COLOURS, FACES, glyph

Floats = Float[np.ndarray, "..."]
CELLS = 6  # cells of the warp grid; with fewer cells their straight edges are visible
GLYPH = 192  # longest side of a source glyph, in pixels


@dataclass(frozen=True)
class Sprite:
    """One object before it is placed.

    Attributes:
        colour: RGB values in [0, 1], `(height, width, 3)`.
        alpha: opacity in [0, 1], `(height, width)`.
        shadow: fraction of the surrounding light that it removes, in [0, 1], `(height, width)`.
    """

    colour: Floats
    alpha: Floats
    shadow: Floats


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> Floats:
    """Noise with details of about `max(size) / cells` pixels.

    Returns:
        Values in [-1, 1], `(height, width)`.
    """
    height, width = size
    longest = max(size)
    rows, columns = max(2, cells * height // longest + 1), max(2, cells * width // longest + 1)
    coarse = Image.fromarray(rng.uniform(-1, 1, (rows, columns)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).clip(-1, 1)


def named_colour(rng: np.random.Generator, colour: int) -> Floats:
    """A random shade of a named colour, RGB values in [0, 1]."""
    chosen = COLOURS[colour]
    shade = np.array([rng.integers(low, high + 1) for low, high in zip(chosen.low, chosen.high, strict=True)])
    return shade.astype(np.float32) / 255


def _warp(rng: np.random.Generator, pictures: list[Image.Image], side: int, extent: float) -> list[Floats]:
    """Rotate, tilt, bend and shrink source glyphs with a common warp, at twice the target resolution."""
    angle = math.radians(rng.uniform(-40, 40))
    stretch = float(rng.uniform(0.8, 1.25))
    shear = float(rng.uniform(-0.25, 0.25))
    tilt = rng.uniform(-0.3, 0.3, 2)
    bend = rng.uniform(-1, 1, (CELLS + 1, CELLS + 1, 2)) * rng.uniform(0, 0.035)
    big = 2 * side
    steps = [round(index * big / CELLS) for index in range(CELLS + 1)]
    cos, sin = math.cos(angle), math.sin(angle)
    scale = GLYPH / (2 * extent)
    points = np.zeros((CELLS + 1, CELLS + 1, 2))
    for row, y in enumerate(steps):
        for column, x in enumerate(steps):
            u, v = (x - side) * scale / GLYPH, (y - side) * scale / GLYPH
            u, v = cos * u + sin * v, cos * v - sin * u
            u, v = u * stretch + shear * v, v / stretch
            depth = 1 + tilt[0] * u + tilt[1] * v
            points[row, column] = GLYPH + GLYPH * (np.array([u, v]) / max(depth, 0.5) + bend[row, column])
    mesh = [
        (
            (steps[column], steps[row], steps[column + 1], steps[row + 1]),
            tuple(
                float(value)
                for r, c in ((row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1))
                for value in points[r, c]
            ),
        )
        for row in range(CELLS)
        for column in range(CELLS)
    ]
    layers = []
    for picture in pictures:
        # Smooth a source that is much larger than its target, to avoid aliasing.
        source = picture.filter(ImageFilter.BoxBlur((scale - 1) / 2)) if scale > 1.5 else picture
        warped = source.transform((big, big), Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)
        small = warped.resize((side, side), Image.Resampling.BOX)
        layers.append(np.asarray(small, dtype=np.float32) / 255)
    return layers


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """A pattern with values around 1, which multiplies a colour."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    strength = float(rng.uniform(0.08, 0.3))
    kind = int(rng.integers(5))
    if kind == 0:
        pattern = smooth_noise(rng, size, int(rng.integers(4, 16)))
    elif kind in (1, 2):  # straight or wood-like stripes
        angle, period = rng.uniform(0, math.pi), rng.uniform(5, 14)
        phase = (columns * math.cos(angle) + rows * math.sin(angle)) / period
        if kind == 2:
            phase = phase + 0.8 * smooth_noise(rng, size, 3)
        pattern = 1 - 4 * np.abs(phase - np.floor(phase) - 0.5)
    elif kind == 3:  # dots
        period = rng.uniform(5, 11)
        u, v = columns / period, rows / period
        pattern = np.where((u - np.floor(u) - 0.5) ** 2 + (v - np.floor(v) - 0.5) ** 2 < 0.08, 1.0, -0.3)
    else:
        pattern = np.zeros(size)
    return (1 + strength * pattern).astype(np.float32)


def _blurred(alpha: Floats, radius: float) -> Floats:
    picture = Image.fromarray((alpha * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(picture, dtype=np.float32) / 255


def draw_object(rng: np.random.Generator, symbol: int, colour: int, extent: float, backdrop: float) -> Sprite:
    """Draw one object.

    Args:
        rng: random number generator.
        symbol: index in `SYMBOLS`.
        colour: index in `COLOURS`.
        extent: longest side of the unwarped glyph, in pixels.
        backdrop: mean brightness of the background, in [0, 1]; an object of similar brightness always gets an outline.

    Returns:
        A square sprite slightly larger than the object.
    """
    side = int(extent * 1.7) + 12
    strokes, body = glyph(symbol, int(rng.integers(len(FACES))), GLYPH)
    lines, alpha = _warp(rng, [strokes, body], side, extent) if body is not strokes else [None, None]
    if lines is None or alpha is None:
        lines = alpha = _warp(rng, [strokes], side, extent)[0]
    shade = named_colour(rng, colour)
    brightness = float(shade.mean())
    fill = np.broadcast_to(shade, (side, side, 3)).copy()
    if body is not strokes:  # strokes on the body: darker, or lighter on black
        ink = shade * float(rng.uniform(0.15, 0.4)) if brightness > 0.2 else shade + float(rng.uniform(0.5, 0.7))
        fill += lines[..., None] * (ink - fill)
    fill *= _texture(rng, (side, side))[..., None]
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side - 0.5
    angle = rng.uniform(0, 2 * math.pi)
    light = columns * math.cos(angle) + rows * math.sin(angle)
    fill *= (1 + float(rng.uniform(0, 0.7)) * light)[..., None]
    if rng.random() < 0.5:  # rounded edges with light from one side
        soft = _blurred(alpha, max(extent / 25, 0.8))
        slope = np.gradient(soft)
        fill += (float(rng.uniform(1, 2.5)) * (slope[1] * math.cos(angle) + slope[0] * math.sin(angle)))[..., None]
    if abs(brightness - backdrop) < 0.25 or rng.random() < 0.3:
        edge = 0.06 if brightness > 0.45 else 0.94
        wide = 3 if extent < 60 else 5
        picture = Image.fromarray((alpha * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(wide))
        outer = np.asarray(picture, dtype=np.float32) / 255
        fill = fill * alpha[..., None] + edge * (1 - alpha[..., None])
        alpha = outer
    shadow = np.zeros_like(alpha)
    if rng.random() < 0.5:
        shift = (round(extent * rng.uniform(0.02, 0.08)), round(extent * rng.uniform(-0.08, 0.08)))
        moved = np.roll(alpha, shift, (0, 1))
        shadow = _blurred(moved, float(extent * rng.uniform(0.02, 0.06))) * float(rng.uniform(0.3, 0.65))
    return Sprite(fill.clip(0, 1).astype(np.float32), alpha, shadow)
