"""Sums of branches: residual connections."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..._errors import UnsupportedOperationError
from .._bounds import alike
from .._values import Value
from ..operations import Sum
from ..policies import Policies
from ._compositions import Pair
from ._signals import Lose, Signal, reduced_to, swapped


def residual_sum(
    p: Signal,
    operation: Sum,
    inputs: Sequence[Value],
    policies: Policies,
    address: str,
    evidence: Sequence[Pair] | None = None,
    lose: Lose | None = None,
) -> list[Signal]:
    """`residual_sum`: `y = a + b` under one of three policies.

    `"proportional"`: an affine operation with weights of one (Eq. 4), `P(a) = P(y) a / (a + b)`, with the parts of the
    terms that have the polarity of the signal (`max(a, 0)` for raised, `max(-a, 0)` for lowered). Bounded neurons count
    from their bound (Eq. 5), as in any affine operation. If all parts are zero, the mass is lost, as in Eq. 4 with
    `Z = 0`, or is divided equally, depending on `policies.normaliser`.
    `"branch"`: all signal passes to the term with the most weighted operations of its own.
    `"original"`: `P(a) = P(y) a / y` with signs, zero where `y = 0`.

    Args:
        p: signal on the sum.
        operation: the recorded operation.
        inputs: values of its terms.
        policies: selects one of the three, and the treatment of silent sums.
        address: name of the operation for messages.
        evidence: for each term, how much it raises and how much it lowers the sum. Required for linear compositions and
            bounded neurons, where these differ from the positive and negative part (docs/reference/rules.md).
        lose: function that is called with the lost mass, or `None`.
    """
    if policies.residual == "proportional":
        parts = _parts(operation, p) if evidence is None else _by_polarity(evidence)
        parts = _beside_constants(parts, inputs)
        shares = _proportional(p, parts, policies, lose)
    else:
        shares = _other(p, operation, inputs, policies, address, lose)
    return [
        reduced_to(share if sign > 0 else swapped(share), term.shape)
        for share, term, sign in zip(shares, operation.terms, operation.signs, strict=True)
    ]


def _signed(operation: Sum, dtype: torch.dtype) -> list[torch.Tensor]:
    """Return the terms with their signs."""
    return [
        term.to(dtype) if sign > 0 else -term.to(dtype)
        for term, sign in zip(operation.terms, operation.signs, strict=True)
    ]


def _parts(operation: Sum, p: Signal) -> list[list[torch.Tensor]]:
    """Return the part of each term, for each polarity of the signal."""
    terms = _signed(operation, p.dtype)
    raised = [term.clamp(min=0) for term in terms]
    return [raised] if p.shape[0] == 1 else [raised, [term.neg().clamp_(min=0) for term in terms]]


def _beside_constants(parts: list[list[torch.Tensor]], inputs: Sequence[Value]) -> list[list[torch.Tensor]]:
    """Give all signal to a neuron where the other term is a constant: the sum is this neuron (`x * m + y * ~m`)."""
    first, second = (
        value.bounds.lower == value.bounds.upper
        if value.bounds.uniform
        else torch.eq(*alike(*value.bounds)).to(part.device)
        for value, part in zip(inputs, parts[0], strict=True)
    )
    if first is False and second is False:
        return parts
    first, second = (torch.as_tensor(constant, device=parts[0][0].device) for constant in (first, second))
    one, other = second & ~first, first & ~second
    return [
        [torch.where(one, 1, torch.where(other, 0, a)), torch.where(other, 1, torch.where(one, 0, b))] for a, b in parts
    ]


def _by_polarity(pairs: Sequence[Pair]) -> list[list[torch.Tensor]]:
    return [[up for up, _ in pairs], [torch.zeros_like(up) if down is None else down for up, down in pairs]]


def _proportional(
    p: Signal, parts: Sequence[Sequence[torch.Tensor]], policies: Policies, lose: Lose | None
) -> list[Signal]:  # fmt: skip
    polarities: list[list[torch.Tensor]] = []
    for terms, part in zip(parts, p, strict=False):
        a, b = terms
        whole = a + b
        if policies.normaliser == "spread":
            dead = whole == 0
            a, b = (torch.where(dead, 1, term) for term in terms)
            whole = torch.where(dead, 2, whole)
        else:
            whole = torch.threshold_(whole, 0.0, math.inf)
            if lose is not None:
                lose(part * torch.isinf(whole))
        polarities.append([part * (term / whole) for term in (a, b)])
    return [torch.stack(shares) if len(shares) > 1 else shares[0][None] for shares in zip(*polarities, strict=True)]


def _other(
    p: Signal, operation: Sum, inputs: Sequence[Value], policies: Policies, address: str, lose: Lose | None
) -> list[Signal]:  # fmt: skip
    if policies.residual == "branch":
        return _to_branch(p, inputs, address)
    terms = _signed(operation, p.dtype)
    y = sum(terms[1:], terms[0])
    alive = y != 0
    if lose is not None:
        for part in p:
            lose(part * ~alive)
    return [torch.where(alive, p * term / torch.where(alive, y, 1), 0) for term in terms]


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
            f"{address!r} adds branches with {own} weighted operations of their own, so it is ambiguous which"
            f" one is the residual branch; use the policy residual='proportional'."
        )
    return [p if count == most else torch.zeros_like(p) for count in own]
