"""Signals carried upwards: from positions of a layer to all units above them, every class at once.

A downward sweep gives the map of one signal; this gives, for one position, its entry in the maps of all unit signals.
Both multiply the same matrices, from their two ends. Above a few positions everything is zero outside a window, so
only windows are carried: `_windows` does their arithmetic, the steps transpose the rules family by family, `_climb`
goes through the record. What has no step of its own goes up on whole maps, through the derivative of its rule.
"""

from ._choice import last_layer
from ._climb import LIVE, Climb, Reached

__all__ = ["LIVE", "Climb", "Reached", "last_layer"]
