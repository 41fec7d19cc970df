"""Rules for operations with weights: Eq. 4 (and 10) and Eq. 5, also for neurons with both signs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float

from .._values import Value
from ..operations import Affine, Average
from ..policies import Policies
from ._compositions import Pair
from ._products import Half, divided, few_channels, living, present, rectified
from ._signals import Lose, Signal

Normalisers = dict[int, torch.Tensor]
"""The normalisers of one operation by the polarity of its outputs, for signals that come later."""


def affine(
    p: Signal, operation: Affine, value: Value, policies: Policies, known: Normalisers, lose: Lose | None = None
) -> Signal:  # fmt: skip
    """`affine`: `P(a_j) = a_j sum_i w+_ij P(a_i) / sum_k w+_ik a_k`, in matrices `a * W+^T (p / (W+ a))` (Eq. 4, 10).

    `w+ = max(w, 0)`. The bias is not used. Inputs with a negative minimum count from their minimum (Eq. 5). Inputs with
    both signs are two rectified neurons each, and so are the outputs. `W+` connects equal polarities, and
    `W- = max(-w, 0)` connects opposite polarities. All terms are then nonnegative, and Eq. 4 holds unchanged.

    Args:
        p: signal on the outputs.
        operation: the recorded operation.
        value: value of its input.
        policies: policies for normalisers, signed and bounded inputs.
        known: cached normalisers of this operation. New normalisers are added.
        lose: function that is called with the lost mass, or `None`.

    Returns:
        The signal on the inputs, with a lowered part if they have both signs.
    """
    halves = Half(operation, 1, p.dtype), Half(operation, -1, p.dtype)
    a = operation.input
    pair = rectified(a if a.dtype == p.dtype else a.to(p.dtype), value, policies)
    return _pass(p, operation, value, policies, halves, known, pair, lose)


def transitions(
    operation: Affine, value: Value, policies: Policies, dtype: torch.dtype, *, contrast: bool
) -> Float[torch.Tensor, "_ image output input"]:
    """Return `affine` of all unit signals on the outputs of a linear layer: the probabilities of Eq. 4, by polarity.

    Args:
        operation: a linear layer.
        value: value of its input, `(image, input)`.
        policies: as in `affine`. Mass of outputs without a normaliser is lost.
        dtype: dtype of the result.
        contrast: whether to subtract the probabilities of the dual outputs (Sec. 3.3).
    """
    inputs = rectified(operation.input.to(dtype), value, policies)
    halves = [Half(operation, 1, dtype), Half(operation, -1, dtype)]
    found: list[torch.Tensor | None] = [None, None]
    for sign, order in ((1, halves), (-1, halves[::-1]))[: 1 + contrast]:
        links = [(j, half, a) for j, (half, a) in enumerate(zip(order, inputs, strict=True)) if a is not None]
        z = [half.forward(a) for _, half, a in links]
        made = [(half, a) for _, half, a in links]
        inverse = living(sum(z[1:], z[0]), policies, operation, made).reciprocal_().mul_(sign)[:, :, None]
        for j, half, a in links:
            share = inverse * half.weight() * a[:, None]
            before = found[j]
            found[j] = share if before is None else before + share
    return torch.stack([part for part in found if part is not None])


def average(
    p: Signal,
    operation: Average,
    value: Value,
    policies: Policies,
    known: Normalisers,
    evidence: Pair | None = None,
    silent: Callable[[], Pair] | None = None,
    lose: Lose | None = None,
) -> Signal:
    """`average`: an affine operation with fixed nonnegative weights: Eq. 4 with `W+ = W`, `W- = 0`.

    With `signed="original"`, only windows with a positive sum pass their signal.

    Args:
        p: signal on the outputs.
        operation: the recorded operation.
        value: value of its input.
        policies: as in `affine`.
        known: as in `affine`.
        evidence: for inputs that are linear compositions, how much each is raised and lowered
            (docs/reference/rules.md).
        silent: returns the evidence for windows with only silent inputs, if these are compositions.
        lose: function that is called with the lost mass, or `None`.
    """
    halves = Half(operation, 1, p.dtype), None
    a = operation.input
    pair = evidence or rectified(a if a.dtype == p.dtype else a.to(p.dtype), value, policies)
    return _pass(p, operation, value, policies, halves, known, pair, lose, silent)


def _pass(
    p: Signal,
    operation: Affine | Average,
    value: Value,
    policies: Policies,
    halves: tuple[Half, Half | None],
    known: Normalisers,
    pair: Pair,
    lose: Lose | None,
    silent: Callable[[], Pair] | None = None,
) -> Signal:
    """Apply Eq. 4 to rectified neurons. The first half connects equal polarities, the second opposite polarities."""
    up, down = pair
    own = isinstance(operation, Affine)
    excite = halves[0]
    few = few_channels(p, operation)
    if down is None and p.shape[0] == 1 and policies.normaliser == "lose" and silent is None:
        # One polarity of inputs and of outputs: the case of the paper, in as few steps as possible.
        z = known.get(0)
        if z is None:
            z = known[0] = living(excite.forward(up), policies, operation, [(excite, up)])
        if lose is not None:
            lose(p[0] * torch.isinf(z))
        return _times(excite.adjoint(divided(p, z, few), few, lead=2), up, own=own)
    to_up: torch.Tensor | None = None
    to_down: torch.Tensor | None = None
    for k, (part, (same, cross)) in enumerate(zip(p, (halves, halves[::-1]), strict=False)):
        links = [(link, x) for link, x in ((same, up), (cross, down)) if link is not None and x is not None]
        if not links:
            if lose is not None:
                lose(part)
            continue  # no input excites this polarity: an average of nonnegative neurons has no lowered neurons
        z = known.get(k)
        if z is None:
            z = links[0][0].forward(links[0][1])
            for link, x in links[1:]:
                z = z.add_(link.forward(x)) if own else z + link.forward(x)
            z = known[k] = living(z, policies, operation, links)
        q = divided(part, z, few)
        if same is not None:
            to_up = _sum(to_up, _times(same.adjoint(q, few), up, own=own))
        if down is not None and cross is not None:
            to_down = _sum(to_down, _times(cross.adjoint(q, few), down, own=own))
        blocked = torch.isinf(z)
        dead = part * blocked
        # The condition must not depend on the signal: the transposed sweep differentiates the rule at a signal of zero.
        if silent is not None and (blocked.device.type != "cpu" or bool(blocked.any())):
            woken, dead = _woken(dead, silent()[k], operation, excite, policies)
            to_up, to_down = (_sum(to_up, woken), to_down) if k == 0 else (to_up, _sum(to_down, woken))
        if policies.normaliser == "lose":
            if lose is not None:
                lose(dead)
        else:
            ones = present(up, value, policies, both=down is not None)
            halves_here = (same, cross if down is not None else None)
            spread_up, spread_down = _spread(dead, ones, halves_here, excite, lose)
            to_up = _sum(to_up, spread_up)
            to_down = _sum(to_down, spread_down) if spread_down is not None else to_down
    if to_up is None:
        to_up = p.new_zeros((p.shape[1], *operation.input.shape))
    return torch.stack([to_up, to_down]) if to_down is not None else to_up[None]


def _woken(
    dead: torch.Tensor, made: torch.Tensor | None, operation: Affine | Average, excite: Half, policies: Policies
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mass of windows with only silent inputs, by their compositions, and the mass without a normaliser."""
    if made is None:
        return dead.new_zeros((dead.shape[0], *operation.input.shape)), dead
    z = living(excite.forward(made), policies, operation, [(excite, made)])
    return excite.adjoint(dead / z) * made, dead * torch.isinf(z)


def _spread(
    dead: torch.Tensor,
    ones: tuple[torch.Tensor, torch.Tensor | None],
    halves: tuple[Half | None, Half | None],
    excite: Half,
    lose: Lose | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Spread the mass of winners without a normaliser: all inputs, or all weights if none is excitatory, are one."""
    links = [(half, x) for half, x in zip(halves, ones, strict=True) if half is not None and x is not None]
    z = torch.zeros_like(dead[0])
    for half, x in links:
        z = z + half.forward(x)
    alive = z > 0
    q = torch.where(alive, dead / torch.where(alive, z, 1), 0)
    (same, cross), (up_ones, down_ones) = halves, ones
    every = up_ones if down_ones is None else torch.maximum(up_ones, down_ones)
    up = torch.zeros((dead.shape[0], *every.shape), dtype=dead.dtype, device=dead.device)
    up = up if same is None else up + up_ones * same.adjoint(q)
    down = None if cross is None or down_ones is None else down_ones * cross.adjoint(q)
    flat = excite.flat()
    z = flat.forward(every)
    q = torch.where(~alive & (z > 0), dead / torch.where(z > 0, z, 1), 0)
    if lose is not None:  # the winner has only padding as input
        lose(dead * (~alive & (z <= 0)))
    return up + every * flat.adjoint(q), down


def _sum(a: torch.Tensor | None, b: torch.Tensor) -> torch.Tensor:
    """Return the sum, in place of `a`, which only this module refers to."""
    return b if a is None else a.add_(b)


def _times(back: torch.Tensor, x: torch.Tensor, *, own: bool) -> torch.Tensor:
    """Return the product, in place if `back` does not share memory with a smaller tensor."""
    return back.mul_(x) if own else back * x
