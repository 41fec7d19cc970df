"""The transposed sweep: from positions of a layer to all units above them, for all classes in one pass.

A downward sweep computes the map of one signal. A transposed sweep computes one position of the maps of all unit
signals. Both multiply the same transition matrices, in opposite order. Above a few positions, reach probabilities are
zero outside a window, so that only windows are stored (`_windows`). Each step transposes the rule of one family. An
operation without its own step is transposed on whole maps, by the derivative of its rule.
"""

from ._choice import last_layer
from ._transposed_sweep import LIVE, TransposedMaps, TransposedSweep

__all__ = ["LIVE", "TransposedMaps", "TransposedSweep", "last_layer"]
