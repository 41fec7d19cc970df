"""What a network must have for a method, looked at with the first image before a batch runs."""

from __future__ import annotations

import torch

from .._forward import forward
from .._layers import find_place, layer_name
from ._question import Question
from ._watch import watch


def knows_above(question: Question) -> None:
    """Refuse operations without a rule above the layer, or above the default one if none is asked for.

    Raises:
        ExcitationError: there is one, or no such layer.
    """
    preferred = None if question.preferred is None else layer_name(question.model, question.preferred)
    _known(question, question.layer or preferred)


def knows_from_input(question: Question) -> None:
    """Refuse operations without a rule above the layer, or anywhere if none is asked for.

    Raises:
        ExcitationError: there is one, or no such layer.
    """
    _known(question, question.layer)


def knows_all(question: Question) -> None:
    """Refuse operations without a rule, wherever the maps are taken.

    Raises:
        ExcitationError: there is one, or no such layer.
    """
    if question.layer is not None:
        find_place(question.first, question.layer)
    _known(question, None)


def has_rectifiers(question: Question) -> None:
    """Refuse networks without rectified linear units.

    Raises:
        NotApplicableError: there is none.
    """
    watch(question, (), images=question.images[:1], rectifier=_unchanged, grad=False)


def knows_all_and_has_rectifiers(question: Question) -> None:
    """Refuse operations without a rule, and networks without rectified linear units; one pass for both.

    Raises:
        ExcitationError: there is one, or none.
    """
    watch(question, (), images=question.images[:1], rectifier=_unchanged, grad=False, rules=True)


def _known(question: Question, layer: str | None) -> None:
    if layer is None:
        assert question.first.top is not None
        if question.first.top.problem is not None:
            raise question.first.top.problem
    else:
        record = forward(question.model, question.images[:1], [layer], question.output, question.constants)
        find_place(record, layer)


def _unchanged(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    del x
    return y
