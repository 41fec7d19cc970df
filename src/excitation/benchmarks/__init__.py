"""Measuring: the pointing game and its companions, the store of their results, and their tables."""

from ._curves import Curve, deletion, energy_in_region, insertion
from ._grid import Photo, Verdict, choose_mosaics, judge, make_mosaic, share_in_box, square
from ._localization import ALPHAS, AlphaSearch, best_overlap, boxes_of_map, overlap, search_alpha
from ._pointing import TOLERANCE, Tolerance, gaussian_blur, is_hit, point_of_map, region
from ._statistics import Accuracy, Comparison, Interval, Outcomes, Wins, accuracy, compare, interval, wins

__all__ = [
    "ALPHAS",
    "TOLERANCE",
    "Accuracy",
    "AlphaSearch",
    "Comparison",
    "Curve",
    "Interval",
    "Outcomes",
    "Photo",
    "Tolerance",
    "Verdict",
    "Wins",
    "accuracy",
    "best_overlap",
    "boxes_of_map",
    "choose_mosaics",
    "compare",
    "deletion",
    "energy_in_region",
    "gaussian_blur",
    "insertion",
    "interval",
    "is_hit",
    "judge",
    "make_mosaic",
    "overlap",
    "point_of_map",
    "region",
    "search_alpha",
    "share_in_box",
    "square",
    "wins",
]
