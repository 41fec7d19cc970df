"""Make the documentation's figures small enough to keep: `python -m experiments.figures.compress [FILE ...]`.

Each PNG becomes a palette of at most 256 colours, as wide as fits below the limit. A file that already is one and is
small enough stays as it is, so a second run changes nothing. `make figures` runs this last.
"""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path

from PIL import Image

from experiments.figures.places import FIGURES

LIMIT = 300_000  # bytes
WIDEST = 2000  # pixels; pages show about 800, twice that on fine screens


def compressed(picture: Image.Image, limit: int = LIMIT) -> bytes:
    """A PNG with a palette, of at most `limit` bytes, in the largest size that fits.

    Args:
        picture: of any mode; transparent parts become white.
        limit: the most bytes.
    """
    opaque = Image.new("RGB", picture.size, "white")
    rgba = picture.convert("RGBA")
    opaque.paste(rgba, mask=rgba.getchannel("A"))
    scale = min(1.0, WIDEST / opaque.width)
    while True:
        size = (max(1, round(opaque.width * scale)), max(1, round(opaque.height * scale)))
        smaller = opaque if size == opaque.size else opaque.resize(size, Image.Resampling.LANCZOS)
        palette = smaller.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)  # keeps maps smooth
        file = io.BytesIO()
        palette.save(file, format="PNG", optimize=True)
        if file.tell() <= limit or max(size) == 1:
            return file.getvalue()
        scale *= min(0.97, math.sqrt(limit / file.tell()))  # size goes with area, nearly


def compress(path: Path) -> bool:
    """Replace a PNG by its small form; returns whether it was changed."""
    with Image.open(path) as picture:
        if picture.mode == "P" and path.stat().st_size <= LIMIT:
            return False
        found = compressed(picture)
    path.write_bytes(found)
    return True


def main(paths: list[Path]) -> None:
    """Compress the given files, or all figures of the documentation."""
    for path in paths or sorted(FIGURES.glob("*.png")):
        before = path.stat().st_size
        if compress(path):
            with Image.open(path) as picture:
                print(f"{path.name}: {before} to {path.stat().st_size} bytes, {picture.width} x {picture.height}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
