"""Top-down attention for PyTorch classifiers by Excitation Backprop.

`explain` gives attention maps; `audit` the account of their probability mass; `list_layers` the places to look.
"""

from ._audit import Audit, audit
from ._errors import (
    BypassWarning,
    EscapedTensorError,
    ExcitationError,
    LayerError,
    TargetError,
    TrainingModeError,
    UnsupportedOperationError,
)
from ._explain import Explanation, explain, explain_full
from ._layers import LayerInfo, list_layers
from .propagation import Policies

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "BypassWarning",
    "EscapedTensorError",
    "ExcitationError",
    "Explanation",
    "LayerError",
    "LayerInfo",
    "Policies",
    "TargetError",
    "TrainingModeError",
    "UnsupportedOperationError",
    "audit",
    "explain",
    "explain_full",
    "list_layers",
]
