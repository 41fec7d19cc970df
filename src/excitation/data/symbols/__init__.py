"""The symbol world: pictures of named symbols in named colours, with exact ground truth for every experiment."""

from ._glyphs import COLOUR_NAMES, PAIRS, SYMBOL_NAMES
from ._scenes import SPLITS, Instance, Scene, make_scene

__all__ = ["COLOUR_NAMES", "PAIRS", "SPLITS", "SYMBOL_NAMES", "Instance", "Scene", "make_scene"]
