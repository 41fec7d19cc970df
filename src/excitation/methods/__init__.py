"""Attention methods, all asked alike: Excitation Backprop and what it is compared with.

Each is a rule set on the engine's record, or a small function on gradients through the untouched network.
"""

from . import _cam, _contrast, _excitation, _gradcam, _gradient, _guided, _lrp, _masks, _rivals
from ._registry import Method, find_method, list_methods, methods_table

__all__ = ["Method", "find_method", "list_methods", "methods_table"]

# The modules are imported for the methods they register.
del _cam, _contrast, _excitation, _gradcam, _gradient, _guided, _lrp, _masks, _rivals
