"""The user interface for explanations: `Explainer` and its shortcuts."""

from ._all_classes import Strategy
from ._class_maps import ClassMaps
from ._cuda_graph import CudaGraph
from ._explainer import Explainer, all_classes, balance, cuda_graph, explain
from ._mass_balance import MassBalance
from ._verify import Verification, verify

__all__ = [
    "ClassMaps",
    "CudaGraph",
    "Explainer",
    "MassBalance",
    "Strategy",
    "Verification",
    "all_classes",
    "balance",
    "cuda_graph",
    "explain",
    "verify",
]
