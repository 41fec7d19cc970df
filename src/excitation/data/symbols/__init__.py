"""The symbol world: images of named symbols in named colours, with exact ground truth for every experiment."""

from ._captions import Caption, Phrase, make_captions
from ._export import export_scenes
from ._glyphs import COLOUR_NAMES, PAIRS, SYMBOL_NAMES
from ._scenes import SPLITS, Instance, Scene, make_scene
from ._tags import Upload, make_uploads

__all__ = [
    "COLOUR_NAMES",
    "PAIRS",
    "SPLITS",
    "SYMBOL_NAMES",
    "Caption",
    "Instance",
    "Phrase",
    "Scene",
    "Upload",
    "export_scenes",
    "make_captions",
    "make_scene",
    "make_uploads",
]
