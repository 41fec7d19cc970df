"""Pictures of attention: a map over its picture, and figures of many."""

from ._comparison import Compared, comparison
from ._figure import FigureRow, Panel, figure, save_figure
from ._overlay import enlarge_map, find_peak, overlay

__all__ = [
    "Compared",
    "FigureRow",
    "Panel",
    "comparison",
    "enlarge_map",
    "figure",
    "find_peak",
    "overlay",
    "save_figure",
]
