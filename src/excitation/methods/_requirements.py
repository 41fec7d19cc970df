"""Requirements of methods on a network, checked on the first image before a batch runs."""

from __future__ import annotations

import torch

from ..core import Request, find_place, forward, layer_name
from ._gradient_recorder import record_gradients


def require_rules_above(request: Request) -> None:
    """Raise an error for operations without a rule above the requested layer, or above the default layer.

    Raises:
        ExcitationError: there is such an operation, or the layer does not exist.
    """
    preferred = None if request.preferred is None else layer_name(request.model, request.preferred)
    _known(request, request.layer or preferred)


def require_rules_to_layer(request: Request) -> None:
    """Raise an error for operations without a rule above the requested layer, or anywhere if no layer is requested.

    Raises:
        ExcitationError: there is such an operation, or the layer does not exist.
    """
    _known(request, request.layer)


def require_all_rules(request: Request) -> None:
    """Raise an error for operations without a rule anywhere in the network.

    Raises:
        ExcitationError: there is such an operation, or the layer does not exist.
    """
    if request.layer is not None:
        find_place(request.first, request.layer)
    _known(request, None)


def require_rectifiers(request: Request) -> None:
    """Raise an error for networks without rectified linear units.

    Raises:
        NotApplicableError: the network has no rectified linear unit.
    """
    record_gradients(request, (), images=request.images[:1], rectifier=_unchanged, grad=False)


def require_rules_and_rectifiers(request: Request) -> None:
    """Raise an error for operations without a rule, and for networks without rectified linear units, with one pass.

    Raises:
        ExcitationError: there is an operation without a rule, or no rectified linear unit.
    """
    record_gradients(request, (), images=request.images[:1], rectifier=_unchanged, grad=False, rules=True)


def _known(request: Request, layer: str | None) -> None:
    if layer is None:
        assert request.first.top is not None
        if request.first.top.problem is not None:
            raise request.first.top.problem
    else:
        record = forward(request.model, request.images[:1], [layer], request.output, request.constants)
        find_place(record, layer)


def _unchanged(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    del x
    return y
