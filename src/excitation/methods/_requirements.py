"""What a network must have for a method, looked at with the first image before a batch runs."""

from __future__ import annotations

import torch

from ..core import Request, find_place, forward, layer_name
from ._gradient_recorder import record_gradients


def require_rules_above(request: Request) -> None:
    """Refuse operations without a rule above the layer, or above the default one if none is asked for.

    Raises:
        ExcitationError: there is one, or no such layer.
    """
    preferred = None if request.preferred is None else layer_name(request.model, request.preferred)
    _known(request, request.layer or preferred)


def require_rules_to_layer(request: Request) -> None:
    """Refuse operations without a rule above the layer, or anywhere if none is asked for.

    Raises:
        ExcitationError: there is one, or no such layer.
    """
    _known(request, request.layer)


def require_all_rules(request: Request) -> None:
    """Refuse operations without a rule, wherever the maps are taken.

    Raises:
        ExcitationError: there is one, or no such layer.
    """
    if request.layer is not None:
        find_place(request.first, request.layer)
    _known(request, None)


def require_rectifiers(request: Request) -> None:
    """Refuse networks without rectified linear units.

    Raises:
        NotApplicableError: there is none.
    """
    record_gradients(request, (), images=request.images[:1], rectifier=_unchanged, grad=False)


def require_rules_and_rectifiers(request: Request) -> None:
    """Refuse operations without a rule, and networks without rectified linear units; one pass for both.

    Raises:
        ExcitationError: there is one, or none.
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
