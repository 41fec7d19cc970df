"""Measuring: the pointing game and its companions, the store of their results, and their tables."""

from ._curves import Curve, deletion, energy_in_region, insertion
from ._grid import Photo, Verdict, choose_mosaics, judge, make_mosaic, share_in_box, square
from ._localization import ALPHAS, AlphaSearch, best_overlap, boxes_of_map, overlap, search_alpha
from ._pointing import TOLERANCE, Tolerance, gaussian_blur, is_hit, point_of_map, region

__all__ = [
    "ALPHAS",
    "TOLERANCE",
    "AlphaSearch",
    "Curve",
    "Photo",
    "Tolerance",
    "Verdict",
    "best_overlap",
    "boxes_of_map",
    "choose_mosaics",
    "deletion",
    "energy_in_region",
    "gaussian_blur",
    "insertion",
    "is_hit",
    "judge",
    "make_mosaic",
    "overlap",
    "point_of_map",
    "region",
    "search_alpha",
    "share_in_box",
    "square",
]
