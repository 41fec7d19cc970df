"""Networks from other libraries: torchvision, timm, Transformers.

Each requires its own extra. The library is imported when a model is loaded.
"""

from ._timm import FORM as TIMM_FORM
from ._timm import load_timm, timm_files
from ._torchvision import FORM as TORCHVISION_FORM
from ._torchvision import load_torchvision, torchvision_files
from ._transformers import FORM as TRANSFORMERS_FORM
from ._transformers import load_transformers, transformers_files
from ._weights import fit_weights, read_weights

__all__ = [
    "TIMM_FORM",
    "TORCHVISION_FORM",
    "TRANSFORMERS_FORM",
    "fit_weights",
    "load_timm",
    "load_torchvision",
    "load_transformers",
    "read_weights",
    "timm_files",
    "torchvision_files",
    "transformers_files",
]
