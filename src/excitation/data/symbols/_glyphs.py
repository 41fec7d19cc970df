"""The objects of the symbol world: forty named symbols, eight named colours, and pairs of symbols."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageChops, ImageDraw, ImageFont


@dataclass(frozen=True)
class Symbol:
    """One type of object.

    Attributes:
        name: English name, singular.
        plural: English name, plural.
        code: Unicode code point in DejaVu Sans.
        filled: whether the area inside its strokes belongs to the object, as for a cup drawn in outline.
    """

    name: str
    plural: str
    code: int
    filled: bool = False

    @property
    def noun(self) -> str:
        """The name after an article: "pair of scissors"."""
        return f"pair of {self.name}" if self.plural.startswith("pairs of ") else self.name


SYMBOLS = (
    Symbol("umbrella", "umbrellas", 0x2602),
    Symbol("cloud", "clouds", 0x2601),
    Symbol("anchor", "anchors", 0x2693),
    Symbol("wheel", "wheels", 0x2638),
    Symbol("cow", "cows", 0x1F42E, filled=True),
    Symbol("clover", "clovers", 0x2618),
    Symbol("knight", "knights", 0x265E),
    Symbol("tower", "towers", 0x265C),
    Symbol("scissors", "pairs of scissors", 0x2702, filled=True),
    Symbol("envelope", "envelopes", 0x2709, filled=True),
    Symbol("skull", "skulls", 0x2620),
    Symbol("swords", "pairs of swords", 0x2694),
    Symbol("airplane", "airplanes", 0x2708),
    Symbol("telephone", "telephones", 0x260E),
    Symbol("snowman", "snowmen", 0x2603, filled=True),
    Symbol("cup", "cups", 0x2615, filled=True),
    Symbol("gear", "gears", 0x2699),
    Symbol("snowflake", "snowflakes", 0x2744),
    Symbol("atom", "atoms", 0x269B),
    Symbol("sun", "suns", 0x2600),
    Symbol("star", "stars", 0x2605),
    Symbol("radiation sign", "radiation signs", 0x2622),
    Symbol("biohazard sign", "biohazard signs", 0x2623),
    Symbol("heart", "hearts", 0x2665),
    Symbol("spade", "spades", 0x2660),
    Symbol("crown", "crowns", 0x265B),
    Symbol("flag", "flags", 0x2691),
    Symbol("hammers", "pairs of hammers", 0x2692),
    Symbol("scales", "pairs of scales", 0x2696),
    Symbol("wheelchair", "wheelchairs", 0x267F),
    Symbol("recycling sign", "recycling signs", 0x267B),
    Symbol("music note", "music notes", 0x266B),
    Symbol("die", "dice", 0x2684, filled=True),
    Symbol("keyboard", "keyboards", 0x2328, filled=True),
    Symbol("house", "houses", 0x2302, filled=True),
    Symbol("cat", "cats", 0x1F431, filled=True),
    Symbol("flower", "flowers", 0x2740, filled=True),
    Symbol("hand", "hands", 0x261B),
    Symbol("peace sign", "peace signs", 0x262E),
    Symbol("lily", "lilies", 0x269C),
)
"""Symbols in the order of the classifier outputs. The first twelve form the pairs."""

PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11))
"""Pairs of symbols that usually appear together in training, by index: umbrella and cloud, anchor and wheel, ..."""

SYMBOL_NAMES = tuple(symbol.name for symbol in SYMBOLS)


@dataclass(frozen=True)
class Colour:
    """A named colour.

    Attributes:
        name: an English adjective.
        low: minimum of red, green and blue, in [0, 255].
        high: maximum of red, green and blue, in [0, 255].
    """

    name: str
    low: tuple[int, int, int]
    high: tuple[int, int, int]


COLOURS = (
    Colour("red", (190, 10, 15), (230, 40, 45)),
    Colour("orange", (240, 120, 0), (255, 145, 25)),
    Colour("yellow", (240, 215, 10), (255, 235, 60)),
    Colour("green", (20, 130, 30), (60, 180, 70)),
    Colour("blue", (20, 60, 190), (50, 110, 240)),
    Colour("purple", (125, 25, 150), (165, 65, 200)),
    Colour("white", (235, 235, 235), (252, 252, 252)),
    Colour("black", (15, 15, 15), (42, 42, 42)),
)
COLOUR_NAMES = tuple(colour.name for colour in COLOURS)

FACES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
"""Both fonts contain every symbol above; only the house looks different."""


@cache
def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / face
    # Every Pillow contains the basic layout engine. The other engine is optional and may place glyphs differently.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


@cache
def glyph(symbol: int, face: int, extent: int) -> tuple[Image.Image, Image.Image]:
    """Draw one glyph, centred in a square.

    Args:
        symbol: index in `SYMBOLS`.
        face: index in `FACES`.
        extent: longest side of the glyph's bounding box, in pixels; the square is twice as wide.

    Returns:
        Two pictures of mode `"L"` with values in [0, 255]: the strokes, and the body (the strokes and, for a filled
        symbol, the enclosed area).
    """
    text = chr(SYMBOLS[symbol].code)
    probe = _font(FACES[face], 200).getbbox(text)
    size = max(round(200 * extent / max(probe[2] - probe[0], probe[3] - probe[1])), 1)
    font = _font(FACES[face], size)
    x0, y0, x1, y1 = font.getbbox(text)
    side = 2 * extent
    strokes = Image.new("L", (side, side), 0)
    origin = (round(extent - (x0 + x1) / 2), round(extent - (y0 + y1) / 2))
    ImageDraw.Draw(strokes).text(origin, text, font=font, fill=255)
    if not SYMBOLS[symbol].filled:
        return strokes, strokes
    outside = strokes.point([0 if value < 100 else 255 for value in range(256)])
    ImageDraw.floodfill(outside, (0, 0), 128)
    enclosed = outside.point([0 if value == 128 else 255 for value in range(256)])
    return strokes, ImageChops.lighter(strokes, enclosed)
