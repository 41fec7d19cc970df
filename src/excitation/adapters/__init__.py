"""The methods as other libraries ask for them: objects like Captum's, an explain function like Quantus's.

Neither library is needed; what is here follows their conventions so that their metrics and figures take these maps.
"""

from ._captum import MethodAttribution
from ._quantus import quantus_explain

__all__ = ["MethodAttribution", "quantus_explain"]
