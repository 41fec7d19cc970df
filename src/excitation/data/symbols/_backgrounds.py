"""Cluttered backgrounds without symbols."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFilter

from ._render import smooth_noise


def draw_background(rng: np.random.Generator, size: tuple[int, int]) -> Float[np.ndarray, "height width 3"]:
    """Draw a background of overlapping gradients, noise, surfaces, blobs, polygons and lines.

    Args:
        rng: random number generator.
        size: (height, width) in pixels.

    Returns:
        RGB values in [0, 1], `(height, width, 3)`.
    """
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    ramp = ((columns / width - 0.5) * math.cos(angle) + (rows / height - 0.5) * math.sin(angle) + 0.5).clip(0, 1)
    first, second = _dull(rng), _dull(rng)
    picture = first + ramp[..., None] * (second - first)
    if rng.random() < 0.4:  # a floor or a table
        horizon = height * rng.uniform(0.35, 0.8) + columns * rng.uniform(-0.25, 0.25)
        fade = ((rows - horizon) / rng.uniform(1, 8)).clip(0, 1)
        picture += fade[..., None] * (_dull(rng) - picture)
    for cells in (3, 8, 24):
        strength = rng.uniform(0.02, 0.12)
        if rng.random() < 0.4:
            tint = rng.uniform(0.3, 1, 3)
            picture = picture + strength * smooth_noise(rng, size, cells)[..., None] * tint
        else:
            picture = picture + strength * smooth_noise(rng, size, cells)[..., None]
    canvas = Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8))
    canvas = _clutter(rng, canvas)
    if rng.random() < 0.6:
        canvas = canvas.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 2.5))))
    return np.asarray(canvas, dtype=np.float32) / 255


def _dull(rng: np.random.Generator) -> np.ndarray:
    """A colour of any hue, usually less saturated than the named colours."""
    grey = rng.uniform(0.12, 0.88)
    colour: np.ndarray = (grey + rng.uniform(-1, 1, 3) * rng.choice([0.06, 0.15, 0.3])).clip(0, 1)
    return colour.astype(np.float32)


def _clutter(rng: np.random.Generator, canvas: Image.Image) -> Image.Image:
    width, height = canvas.size
    for _ in range(int(rng.integers(1, 4))):
        layer = canvas.copy()
        draw = ImageDraw.Draw(layer)
        kind = rng.choice(["blobs", "polygons", "lines", "tiles", "arcs"])
        for _ in range(int(rng.integers(3, 14))):
            colour = tuple(int(value * 255) for value in _dull(rng))
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            w, h = rng.uniform(6, 60, 2)
            if kind == "blobs":
                draw.ellipse((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=colour)
            elif kind == "polygons":
                turns = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 6))))
                draw.polygon([(x + w * math.cos(turn), y + h * math.sin(turn)) for turn in turns], fill=colour)
            elif kind == "lines":
                draw.line(
                    (x, y, x + rng.uniform(-120, 120), y + rng.uniform(-120, 120)), colour, int(rng.integers(1, 5))
                )
            elif kind == "tiles":
                draw.rectangle((x, y, x + w, y + h), outline=colour, width=int(rng.integers(1, 4)))
            else:
                start = rng.uniform(0, 360)
                stop = start + rng.uniform(40, 200)
                draw.arc((x, y, x + 2 * w, y + 2 * h), start, stop, fill=colour, width=int(rng.integers(1, 5)))
        canvas = Image.blend(canvas, layer, float(rng.uniform(0.25, 0.85)))
    return canvas
