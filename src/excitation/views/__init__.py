"""Visualisation of attention: overlays of a map on a picture, figures, comparisons, and line charts."""

from .._maps import enlarge_map, find_peak, is_empty, points_nowhere
from ._caption import PHRASE_COLOURS, CaptionPanel, caption_figure
from ._chart import Line, LinePanel, line_chart
from ._comparison import Compared, comparison
from ._figure import FigureRow, Panel, figure, figure_ending, panel_caption, png_of_figure, save_figure
from ._overlay import marked, overlay

__all__ = [
    "PHRASE_COLOURS",
    "CaptionPanel",
    "Compared",
    "FigureRow",
    "Line",
    "LinePanel",
    "Panel",
    "caption_figure",
    "comparison",
    "enlarge_map",
    "figure",
    "figure_ending",
    "find_peak",
    "is_empty",
    "line_chart",
    "marked",
    "overlay",
    "panel_caption",
    "png_of_figure",
    "points_nowhere",
    "save_figure",
]
