"""Top-down attention for PyTorch classifiers by Excitation Backprop.

`explain` gives attention maps; `verify` says whether a network of your own can be explained; `audit` the account of
their probability mass; `list_layers` the places to look;
`load_model` networks by name, `load_caffe` those of Caffe; `convolutional` makes them take pictures of any size,
`pool_first` classify after pooling; `list_methods` what there is to compare with;
`precompute` all classes at once, `capture` the same call for many batches on a GPU.
"""

from ._audit import Audit, audit
from ._capture import Captured, capture
from ._class_maps import ClassMaps
from ._errors import (
    BalanceError,
    BalanceWarning,
    BypassWarning,
    EmptyMapWarning,
    EscapedTensorError,
    ExcitationError,
    LayerError,
    MassLossWarning,
    NotApplicableError,
    TargetError,
    TrainingModeError,
    UnsupportedOperationError,
)
from ._explain import Explanation, explain, explain_full
from ._layers import LayerInfo, list_layers
from ._precompute import precompute
from ._verify import Verification, verify
from .methods import list_methods
from .networks import LoadedModel, Preprocessing, convolutional, load_caffe, load_model, pool_first
from .propagation import Policies
from .signals import ClassNames

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "BalanceError",
    "BalanceWarning",
    "BypassWarning",
    "Captured",
    "ClassMaps",
    "ClassNames",
    "EmptyMapWarning",
    "EscapedTensorError",
    "ExcitationError",
    "Explanation",
    "LayerError",
    "LayerInfo",
    "LoadedModel",
    "MassLossWarning",
    "NotApplicableError",
    "Policies",
    "Preprocessing",
    "TargetError",
    "TrainingModeError",
    "UnsupportedOperationError",
    "Verification",
    "audit",
    "capture",
    "convolutional",
    "explain",
    "explain_full",
    "list_layers",
    "list_methods",
    "load_caffe",
    "load_model",
    "pool_first",
    "precompute",
    "verify",
]
