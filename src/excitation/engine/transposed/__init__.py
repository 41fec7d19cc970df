"""The transposed sweep: from positions of a layer to all units above them, for every class at once.

A downward sweep computes the map of one signal. A transposed sweep computes one position of the maps of all unit
signals. Both multiply the same transition matrices, from opposite ends. Above a few positions, reach probabilities are
zero outside a window, so only windows are stored (`_windows`). Each step transposes the rule of one family. An
operation without a step of its own is transposed on whole maps, by the derivative of its rule.
"""

from ._choice import last_layer
from ._transposed_sweep import LIVE, TransposedMaps, TransposedSweep

__all__ = ["LIVE", "TransposedMaps", "TransposedSweep", "last_layer"]
