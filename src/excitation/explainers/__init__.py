"""The user interface for explanations: `Explainer` and its shortcuts."""

from ._all_classes import Strategy
from ._class_maps import ClassMaps
from ._comparison import Comparison, compare, none_applies, processed
from ._cuda_graph import CudaGraph
from ._explainer import Explainer, all_classes, balance, cuda_graph, explain
from ._mass_balance import MassBalance
from ._pictures import one_batch
from ._verify import Verification, verify

__all__ = [
    "ClassMaps",
    "Comparison",
    "CudaGraph",
    "Explainer",
    "MassBalance",
    "Strategy",
    "Verification",
    "all_classes",
    "balance",
    "compare",
    "cuda_graph",
    "explain",
    "none_applies",
    "one_batch",
    "processed",
    "verify",
]
