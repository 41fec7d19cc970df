"""Attention methods with a common interface: Excitation Backprop and the methods it is compared with.

Each method is either a set of rules applied to the engine's record, or a function of gradients of the network.
"""

from .._errors import NotApplicableError
from ..core import STEPS, blur, enlarge, post_process
from . import (
    _cam,
    _centre,
    _contrast,
    _excitation,
    _feedback,
    _gradcam,
    _gradient,
    _guided,
    _lrp,
    _masks,
    _rivals,
    _winners,
)  # fmt: skip
from ._feedback import FeedbackResult, feedback_full
from ._registry import Method, find_method, list_methods, methods_table
from ._shared_forward import GRADIENTS, TOGETHER, gradient_maps_from_one_pass, maps_from_one_pass
from ._sweeps import UncheckedResult

__all__ = [
    "GRADIENTS",
    "STEPS",
    "TOGETHER",
    "FeedbackResult",
    "Method",
    "NotApplicableError",
    "UncheckedResult",
    "blur",
    "enlarge",
    "feedback_full",
    "find_method",
    "gradient_maps_from_one_pass",
    "list_methods",
    "maps_from_one_pass",
    "methods_table",
    "post_process",
]

# Importing the modules registers their methods.
del _cam, _centre, _contrast, _excitation, _feedback, _gradcam, _gradient, _guided, _lrp, _masks, _rivals, _winners
