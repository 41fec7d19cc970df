"""Top-down attention for PyTorch classifiers by Excitation Backprop.

`explain` computes attention maps. An `Explainer` stores the settings for many batches; it also computes the `balance`
of probability mass, the maps of `all_classes`, and a `cuda_graph`. `verify` tests whether a custom network can be
explained. `list_layers` lists the layers at which maps can be computed, and `list_methods` the available methods.
`load_model` loads networks by name, and `load_caffe` loads Caffe networks. `to_fully_convolutional` adapts a network to
images of any size, and `pool_first` makes a network classify after pooling. `compare` explains one picture by several
methods. Results draw themselves: `result.show()`, `result.save("maps.png")`. `overlay` draws one map on its picture.
`ground` finds phrases in a picture with a classifier whose classes are words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from .core import Explanation, LayerInfo, Settings, Target, Targets, list_layers, overlay
from .engine import Policies
from .explainers import (
    ClassMaps,
    Comparison,
    CudaGraph,
    Explainer,
    MassBalance,
    Verification,
    all_classes,
    balance,
    compare,
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

if TYPE_CHECKING:
    from .grounding import Grounder, Grounding, ground

__version__ = "1.0.0rc1"

__all__ = [
    "BalanceError",
    "BalanceWarning",
    "BypassWarning",
    "ClassMaps",
    "ClassNames",
    "Comparison",
    "CudaGraph",
    "EmptyMapWarning",
    "EscapedTensorError",
    "ExcitationError",
    "Explainer",
    "Explanation",
    "Grounder",
    "Grounding",
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
    "compare",
    "cuda_graph",
    "explain",
    "find_method",
    "ground",
    "list_layers",
    "list_methods",
    "list_models",
    "load_caffe",
    "load_model",
    "overlay",
    "pool_first",
    "to_fully_convolutional",
    "verify",
]


def __getattr__(name: str) -> object:
    # The import of `grounding` is slow, since it includes the evaluation; most programs do not need it.
    if name in ("Grounder", "Grounding", "ground"):
        from . import grounding

        return getattr(grounding, name)
    raise AttributeError(f"module 'excitation' has no attribute {name!r}")
