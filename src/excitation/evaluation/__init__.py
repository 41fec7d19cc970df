"""Evaluation: the pointing game and other games, the store of their results, and their tables."""

from .._maps import ALPHAS, boxes_of_map
from ._classes import Probability, probabilities
from ._deletion import Curve, deletion, insertion, run_deletion
from ._game import Progress
from ._grid import Photo, Verdict, choose_mosaics, classified_photos, judge, make_mosaic, run_grid, share_in_box, square
from ._layers import (
    ChosenLayer,
    LayerCurve,
    as_sweep,
    choose_layers,
    layer_curves,
    layer_figure,
    layer_tables,
    sweep_layers,
)
from ._localization import (
    AlphaSearch,
    Localized,
    alpha_figure,
    best_overlap,
    localization_table,
    localized,
    overlap,
    run_localization,
    search_alpha,
)
from ._methods import Centre, ManyLayers, Method, NamedMethod, describe_method
from ._pointing import TOLERANCE, Tolerance, energy_in_region, is_hit, point_of_map, region
from ._pointing_game import category_figure, category_table, comparison_table, pointing_table, run_pointing
from ._report import PublishedFigures, paper_figures, read_published, report_tables
from ._results import Results, merge_results, read_results
from ._rows import choose_rows
from ._setup import gaussian_blur
from ._statistics import Accuracy, Comparison, Interval, Outcomes, Wins, accuracy, compare, interval, wins
from ._store import Row, Store, StoreError, open_store
from ._tables import Cell, Table, as_csv

__all__ = [
    "ALPHAS",
    "TOLERANCE",
    "Accuracy",
    "AlphaSearch",
    "Cell",
    "Centre",
    "ChosenLayer",
    "Comparison",
    "Curve",
    "Interval",
    "LayerCurve",
    "Localized",
    "ManyLayers",
    "Method",
    "NamedMethod",
    "Outcomes",
    "Photo",
    "Probability",
    "Progress",
    "PublishedFigures",
    "Results",
    "Row",
    "Store",
    "StoreError",
    "Table",
    "Tolerance",
    "Verdict",
    "Wins",
    "accuracy",
    "alpha_figure",
    "as_csv",
    "as_sweep",
    "best_overlap",
    "boxes_of_map",
    "category_figure",
    "category_table",
    "choose_layers",
    "choose_mosaics",
    "choose_rows",
    "classified_photos",
    "compare",
    "comparison_table",
    "deletion",
    "describe_method",
    "energy_in_region",
    "gaussian_blur",
    "insertion",
    "interval",
    "is_hit",
    "judge",
    "layer_curves",
    "layer_figure",
    "layer_tables",
    "localization_table",
    "localized",
    "make_mosaic",
    "merge_results",
    "open_store",
    "overlap",
    "paper_figures",
    "point_of_map",
    "pointing_table",
    "probabilities",
    "read_published",
    "read_results",
    "region",
    "report_tables",
    "run_deletion",
    "run_grid",
    "run_localization",
    "run_pointing",
    "search_alpha",
    "share_in_box",
    "square",
    "sweep_layers",
    "wins",
]
