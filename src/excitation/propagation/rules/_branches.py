"""Sums of branches: residual connections."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..._errors import UnsupportedOperationError
from .._values import Value
from ..operations import Sum
from ..policies import Policies
from ._signals import LOWERED, RAISED, Signal, reduced_to, swapped


def residual_sum(
    p: Signal, operation: Sum, inputs: Sequence[Value], policies: Policies, address: str
) -> list[Signal]:  # fmt: skip
    """`residual_sum`: `y = a + b` under one of three policies.

    `"proportional"`: an affine operation with weights one (Eq. 4): `P(a) = P(y) a / (a + b)` among the terms of the
    signal's polarity (`max(a, 0)` for raised, `max(-a, 0)` for lowered), halves where all of them are zero.
    `"branch"`: all to the term with the most weighted operations of its own.
    `"original"`: `P(a) = P(y) a / y` with signs, zero where `y = 0`.
    """
    terms = [
        term.to(p.dtype) if sign > 0 else -term.to(p.dtype)
        for term, sign in zip(operation.terms, operation.signs, strict=True)
    ]
    if policies.residual == "branch":
        shares = _to_branch(p, inputs, address)
    elif policies.residual == "original":
        y = sum(terms[1:], terms[0])
        alive = y != 0
        shares = [torch.where(alive, p * term / torch.where(alive, y, 1), 0) for term in terms]
    else:
        shares = _proportional(p, terms)
    return [
        reduced_to(share if sign > 0 else swapped(share), term.shape)
        for share, term, sign in zip(shares, operation.terms, operation.signs, strict=True)
    ]


def _proportional(p: Signal, terms: Sequence[torch.Tensor]) -> list[Signal]:
    polarities: list[list[torch.Tensor]] = []
    for polarity, part in zip((RAISED, LOWERED), p, strict=False):
        a, b = (term.clamp(min=0) if polarity == RAISED else term.neg().clamp_(min=0) for term in terms)
        whole = b.add_(a) if b.shape == a.shape else a + b
        # 0 / 0 is the one way to no number here: both terms are silent, each takes half.
        share = a.div_(whole) if whole.shape == a.shape else a / whole
        to_a = part * share.nan_to_num_(nan=0.5, posinf=math.inf)
        polarities.append([to_a, part - to_a])
    return [torch.stack(shares) if len(shares) > 1 else shares[0][None] for shares in zip(*polarities, strict=True)]


def _to_branch(p: Signal, inputs: Sequence[Value], address: str) -> list[Signal]:
    own = []
    for index, value in enumerate(inputs):
        others = 0
        for place, other in enumerate(inputs):
            others |= other.weighted if place != index else 0
        own.append((value.weighted & ~others).bit_count())
    most = max(own)
    if own.count(most) > 1:
        raise UnsupportedOperationError(
            f"{address!r} adds branches with {own} weighted operations of their own, so which one is the residual"
            " branch is open; use the policy residual='proportional'."
        )
    return [p if count == most else torch.zeros_like(p) for count in own]
