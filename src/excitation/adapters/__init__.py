"""Adapters to other libraries: attribution objects like Captum's, and an explain function like Quantus's.

The adapters follow the conventions of these libraries, so that their metrics and figures accept the maps. Neither
library is required.
"""

from ._captum import MethodAttribution
from ._quantus import quantus_explain

__all__ = ["MethodAttribution", "quantus_explain"]
