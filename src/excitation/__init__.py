"""Top-down attention for PyTorch classifiers by Excitation Backprop.

`explain` gives attention maps; an `Explainer` holds the settings for many batches, and gives the `balance` of
probability mass, the maps of `all_classes`, and a `cuda_graph`. `verify` tests whether a network of your own can be
explained, `list_layers` lists where maps can be taken, `list_methods` the methods. `load_model` loads networks by name,
`load_caffe` those of Caffe; `to_fully_convolutional` makes them take pictures of any size, `pool_first` classify after
pooling.
"""

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
from .core import Explanation, LayerInfo, Settings, Target, Targets, list_layers
from .engine import Policies
from .explainers import (
    ClassMaps,
    CudaGraph,
    Explainer,
    MassBalance,
    Verification,
    all_classes,
    balance,
    cuda_graph,
    explain,
    verify,
)
from .methods import find_method, list_methods
from .models import (
    ClassNames,
    LoadedModel,
    Preprocessing,
    list_models,
    load_caffe,
    load_model,
    pool_first,
    to_fully_convolutional,
)

__version__ = "1.0.0rc1"

__all__ = [
    "BalanceError",
    "BalanceWarning",
    "BypassWarning",
    "ClassMaps",
    "ClassNames",
    "CudaGraph",
    "EmptyMapWarning",
    "EscapedTensorError",
    "ExcitationError",
    "Explainer",
    "Explanation",
    "LayerError",
    "LayerInfo",
    "LoadedModel",
    "MassBalance",
    "MassLossWarning",
    "NotApplicableError",
    "Policies",
    "Preprocessing",
    "Settings",
    "Target",
    "TargetError",
    "Targets",
    "TrainingModeError",
    "UnsupportedOperationError",
    "Verification",
    "all_classes",
    "balance",
    "cuda_graph",
    "explain",
    "find_method",
    "list_layers",
    "list_methods",
    "list_models",
    "load_caffe",
    "load_model",
    "pool_first",
    "to_fully_convolutional",
    "verify",
]
