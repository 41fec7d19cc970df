"""Operations with weights: Eq. 4 (and 10), Eq. 5, and both for neurons of both signs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .._values import Value
from ..operations import Affine, Average, expanded
from ..policies import Policies
from ._signals import Signal


def affine(p: Signal, operation: Affine, value: Value, policies: Policies) -> Signal:
    """`affine`: `P(a_j) = a_j sum_i w+_ij P(a_i) / sum_k w+_ik a_k`, in matrices `a * W+^T (p / (W+ a))` (Eq. 4, 10).

    `w+ = max(w, 0)`; the bias takes no part. Inputs bounded by a minimum below zero are counted from it (Eq. 5).
    Inputs of both signs are two rectified neurons each, and so are the outputs: `W+` leads between equal and
    `W- = max(-w, 0)` between opposite polarities, every term is non-negative again, and Eq. 4 holds as it stands.

    Args:
        p: signal on the outputs.
        operation: the recorded operation.
        value: of its input.
        policies: for normalisers, signed and bounded inputs.

    Returns:
        The signal on the inputs; with a lowered part if they have both signs.
    """
    weight = operation.weight.to(p.dtype)
    return _pass(p, operation, value, policies, _Half(operation, weight.clamp(min=0)),
                 _Half(operation, (-weight).clamp(min=0)))  # fmt: skip


def average(p: Signal, operation: Average, value: Value, policies: Policies) -> Signal:
    """`average`: an affine operation with weights of its own, none negative: Eq. 4 with `W+ = W`, `W- = 0`.

    Under `signed="original"` only windows with a positive sum pass their signal.
    """
    return _pass(p, operation, value, policies, _Half(operation, None), None)


@dataclass(frozen=True)
class _Half:
    """Products with the excitatory or the inhibitory half of the weights."""

    operation: Affine | Average
    weight: torch.Tensor | None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self.operation, Affine):
            assert self.weight is not None
            return self.operation.forward(x, self.weight)
        return self.operation.forward(x)

    def adjoint(self, q: torch.Tensor) -> torch.Tensor:
        """The transposed product on `(target, *activation)`: targets and images are one batch to it."""
        flat = q.flatten(0, 1)
        if isinstance(self.operation, Affine):
            assert self.weight is not None
            back = self.operation.adjoint(flat, self.weight)
        else:
            back = self.operation.adjoint(flat)
        return back.reshape(*q.shape[:2], *back.shape[1:])

    def flat(self) -> _Half:
        """The same connections, all of weight one."""
        return _Half(self.operation, None if self.weight is None else torch.ones_like(self.weight))


def _pass(
    p: Signal, operation: Affine | Average, value: Value, policies: Policies, excite: _Half, inhibit: _Half | None
) -> Signal:
    """Eq. 4 between rectified neurons: `excite` joins equal, `inhibit` opposite polarities."""
    up, down = _rectified(operation.input.to(p.dtype), value, policies)
    shape = operation.input.shape
    to_up: torch.Tensor | None = None
    to_down: torch.Tensor | None = None
    for part, (same, cross) in zip(p, ((excite, inhibit), (inhibit, excite)), strict=False):
        links = [(half, x) for half, x in ((same, up), (cross, down)) if half is not None and x is not None]
        if not links:
            continue  # nothing can excite this polarity: an average of non-negative neurons lowers nothing
        z = sum((half.forward(x) for half, x in links[1:]), links[0][0].forward(links[0][1]))
        alive = _alive(z, policies, average=isinstance(operation, Average))
        q = torch.where(alive, part / torch.where(alive, z, 1), 0)
        if same is not None:
            to_up = _sum(to_up, up * same.adjoint(q))
        if down is not None and cross is not None:
            to_down = _sum(to_down, down * cross.adjoint(q))
        if policies.normaliser == "spread":
            dead = torch.where(alive, 0, part)
            ones = torch.ones(shape, dtype=p.dtype, device=p.device)
            if value.valid is not None:
                ones = ones * value.valid.to(p.device)
            spread_up, spread_down = _spread(dead, ones, same, cross if down is not None else None, excite)
            to_up = _sum(to_up, spread_up)
            to_down = _sum(to_down, spread_down) if spread_down is not None else to_down
    if to_up is None:
        to_up = p.new_zeros((p.shape[1], *shape))
    return torch.stack([to_up, to_down]) if to_down is not None else to_up[None]


def _spread(
    dead: torch.Tensor, ones: torch.Tensor, same: _Half | None, cross: _Half | None, excite: _Half
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Mass of winners without a normaliser: as if all inputs were one; without excitatory weights, evenly."""
    z = torch.zeros_like(dead[0])
    for half in (same, cross):
        z = z if half is None else z + half.forward(ones)
    alive = z > 0
    q = torch.where(alive, dead / torch.where(alive, z, 1), 0)
    up = torch.zeros((dead.shape[0], *ones.shape), dtype=dead.dtype, device=dead.device)
    up = up if same is None else up + ones * same.adjoint(q)
    down = None if cross is None else ones * cross.adjoint(q)
    flat = excite.flat()
    z = flat.forward(ones)
    q = torch.where(~alive & (z > 0), dead / torch.where(z > 0, z, 1), 0)
    return up + ones * flat.adjoint(q), down


def _sum(a: torch.Tensor | None, b: torch.Tensor) -> torch.Tensor:
    return b if a is None else a + b


def _alive(z: torch.Tensor, policies: Policies, *, average: bool) -> torch.Tensor:
    """Where a winner has a normaliser."""
    if policies.signed == "original":
        return z > 0 if average else z != 0
    threshold = policies.zero_threshold(z.dtype)
    if threshold == 0 or z.dim() < 2:
        return z > 0
    largest = z.flatten(1).amax(1).reshape(-1, *(1,) * (z.dim() - 1))
    return z > threshold * largest


def _rectified(a: torch.Tensor, value: Value, policies: Policies) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The raised and, if there are any, the lowered neurons of an input."""
    lower = value.lower
    if policies.bounded == "original" and not value.nonnegative:
        lower = -math.inf
    if isinstance(lower, torch.Tensor):
        # A concatenation of differently bounded parts: each neuron by its own bound.
        lower = expanded(value).to(a)
        known = torch.isfinite(lower)
        up = torch.where(known, a - torch.where(known, lower, 0).clamp(max=0), a.clamp(min=0))
        up = up if value.valid is None else up * value.valid.to(a.device)
        down = torch.where(known, 0, (-a).clamp(min=0))
        return up, None if policies.signed == "original" else down
    if lower >= 0:
        return a, None
    if math.isfinite(lower):
        up = a - lower
        return (up if value.valid is None else up * value.valid.to(a.device)), None
    if policies.signed == "original":
        return a, None
    if a.device.type == "cpu" and bool((a >= 0).all()):
        return a, None
    return a.clamp(min=0), (-a).clamp(min=0)
