"""Operations with weights: Eq. 4 (and 10), Eq. 5, and both for neurons of both signs."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float

from .._values import Value
from ..operations import Affine, Average, expanded
from ..policies import Policies
from ._halves import half_with_turned
from ._signals import Signal

SMALL = 2048
"""Entries of one of several images up to which a mask is quicker than a call for each image."""

_REST = [tuple(range(1, dims)) for dims in range(65)]
"""All dimensions but the first, by their number."""


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
    return _pass(p, operation, value, policies, _Half(operation, 1, p.dtype), _Half(operation, -1, p.dtype))


def transitions(
    operation: Affine, value: Value, policies: Policies, dtype: torch.dtype, *, contrast: bool
) -> Float[torch.Tensor, "_ image output input"]:
    """`affine` of all unit signals on a linear layer's outputs: Eq. 4's probabilities themselves, by polarity.

    Args:
        operation: a linear layer.
        value: of its input, `(image, input)`.
        policies: as in `affine`; a missing normaliser loses its mass.
        dtype: of the result.
        contrast: less those of the outputs' duals (Sec. 3.3).
    """
    rectified = _rectified(operation.input.to(dtype), value, policies)
    halves = [_Half(operation, 1, dtype), _Half(operation, -1, dtype)]
    found: list[torch.Tensor | None] = [None, None]
    for sign, order in ((1, halves), (-1, halves[::-1]))[: 1 + contrast]:
        links = [(j, half, a) for j, (half, a) in enumerate(zip(order, rectified, strict=True)) if a is not None]
        z = [half.forward(a) for _, half, a in links]
        inverse = _living(sum(z[1:], z[0]), policies, own=True).reciprocal_().mul_(sign)[:, :, None]
        for j, half, a in links:
            share = inverse * half.weight() * a[:, None]
            before = found[j]
            found[j] = share if before is None else before + share
    return torch.stack([part for part in found if part is not None])


def average(p: Signal, operation: Average, value: Value, policies: Policies) -> Signal:
    """`average`: an affine operation with weights of its own, none negative: Eq. 4 with `W+ = W`, `W- = 0`.

    Under `signed="original"` only windows with a positive sum pass their signal.
    """
    return _pass(p, operation, value, policies, _Half(operation, 1, p.dtype), None)


class _Half:
    """Products with the excitatory (sign 1) or the inhibitory (sign -1) half of the weights.

    The half is made when it is first needed.
    """

    __slots__ = ("_dtype", "_operation", "_sign", "_turned", "_weight")

    def __init__(self, operation: Affine | Average, sign: int, dtype: torch.dtype) -> None:
        self._operation = operation
        self._sign = sign
        self._dtype = dtype
        self._weight: torch.Tensor | None = None
        self._turned: dict[tuple[int, int], torch.Tensor] = {}

    def _half(self, operation: Affine) -> torch.Tensor:
        if self._weight is None:
            self._weight, self._turned = half_with_turned(operation.weight, self._sign, self._dtype)
        return self._weight

    def weight(self) -> torch.Tensor:
        """The half itself, of an operation that has weights."""
        assert isinstance(self._operation, Affine)
        return self._half(self._operation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product."""
        operation = self._operation
        return operation.forward(x, self._half(operation)) if isinstance(operation, Affine) else operation.forward(x)

    def adjoint(self, q: torch.Tensor, lead: int = 1) -> torch.Tensor:
        """The transposed product on `(target, *activation)`: targets and images are one batch to it.

        With `lead=2` on `(polarity, target, *activation)`.
        """
        operation, flat = self._operation, q.flatten(0, lead)
        if not isinstance(operation, Affine):
            back = operation.adjoint(flat)
        elif operation.turned is None:
            back = operation.adjoint(flat, self._half(operation))
        else:
            turn, product = operation.turned
            weight = self._half(operation)
            # Modules that share a weight may part its channels into different groups, and lay it out differently then.
            key = self._sign, operation.input.shape[1]
            turned = self._turned.get(key)
            if turned is None:
                turned = self._turned.setdefault(key, turn(weight).contiguous())
            back = product(flat, turned)
        return back.reshape(*q.shape[: lead + 1], *back.shape[1:])

    def flat(self) -> _Half:
        """The same connections, all of weight one."""
        even = _Half(self._operation, 1, self._dtype)
        if isinstance(self._operation, Affine):
            even._weight = torch.ones_like(self._operation.weight, dtype=self._dtype)
        return even


def _pass(
    p: Signal, operation: Affine | Average, value: Value, policies: Policies, excite: _Half, inhibit: _Half | None
) -> Signal:
    """Eq. 4 between rectified neurons: `excite` joins equal, `inhibit` opposite polarities."""
    a = operation.input
    up, down = _rectified(a if a.dtype == p.dtype else a.to(p.dtype), value, policies)
    own = isinstance(operation, Affine)
    if down is None and p.shape[0] == 1 and policies.normaliser == "lose":
        # One polarity in, one out: the paper's own case, without a step to spare.
        q = p / _living(excite.forward(up), policies, own=own)
        return _times(excite.adjoint(q, lead=2), up, own=own)
    to_up: torch.Tensor | None = None
    to_down: torch.Tensor | None = None
    for part, (same, cross) in zip(p, ((excite, inhibit), (inhibit, excite)), strict=False):
        links = [(link, x) for link, x in ((same, up), (cross, down)) if link is not None and x is not None]
        if not links:
            continue  # nothing can excite this polarity: an average of non-negative neurons lowers nothing
        z = links[0][0].forward(links[0][1])
        for link, x in links[1:]:
            z = z.add_(link.forward(x)) if own else z + link.forward(x)
        dead = part * _dead(z, policies, average=not own) if policies.normaliser == "spread" else None
        q = part / _living(z, policies, own=own)
        if same is not None:
            to_up = _sum(to_up, _times(same.adjoint(q), up, own=own))
        if down is not None and cross is not None:
            to_down = _sum(to_down, _times(cross.adjoint(q), down, own=own))
        if dead is not None:
            ones = torch.ones(operation.input.shape, dtype=p.dtype, device=p.device)
            if value.valid is not None:
                ones = ones * value.valid.to(p.device)
            spread_up, spread_down = _spread(dead, ones, same, cross if down is not None else None, excite)
            to_up = _sum(to_up, spread_up)
            to_down = _sum(to_down, spread_down) if spread_down is not None else to_down
    if to_up is None:
        to_up = p.new_zeros((p.shape[1], *operation.input.shape))
    return torch.stack([to_up, to_down]) if to_down is not None else to_up[None]


def _spread(
    dead: torch.Tensor, ones: torch.Tensor, same: _Half | None, cross: _Half | None, excite: _Half
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Mass of winners without a normaliser: as if all inputs were one; without excitatory weights, evenly."""
    z = torch.zeros_like(dead[0])
    for link in (same, cross):
        z = z if link is None else z + link.forward(ones)
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
    """The sum; `a` is this module's own."""
    return b if a is None else a.add_(b)


def _times(back: torch.Tensor, x: torch.Tensor, *, own: bool) -> torch.Tensor:
    """The product; in place where `back` is no view of something smaller."""
    return back.mul_(x) if own else back * x


def _limit(z: torch.Tensor, policies: Policies) -> torch.Tensor | float:
    """Up to where a normaliser counts as zero: one number, or one for each image, as a tensor."""
    threshold = policies.zero_threshold(z.dtype)
    if threshold == 0 or z.dim() < 2:
        return 0.0
    if z.shape[0] == 1 and z.device.type == "cpu":
        return z.max().item() * threshold
    return z.amax(_REST[z.dim()], keepdim=True).mul_(threshold)


def _dead(z: torch.Tensor, policies: Policies, *, average: bool) -> torch.Tensor:
    """One where a winner has no normaliser, zero elsewhere."""
    if policies.signed == "original":
        return (z <= 0 if average else z == 0).to(z.dtype)
    return (z <= _limit(z, policies)).to(z.dtype)


def _living(z: torch.Tensor, policies: Policies, *, own: bool) -> torch.Tensor:
    """The normalisers, infinite where a winner has none: what is divided by them ends there."""
    z = z if own else z.clone()
    if policies.signed == "original":
        return torch.threshold_(z, 0.0, math.inf) if not own else z.masked_fill_(z == 0, math.inf)
    limit = _limit(z, policies)
    if not isinstance(limit, torch.Tensor):
        return torch.threshold_(z, limit, math.inf)
    if z.device.type != "cpu" or z.numel() < SMALL * z.shape[0]:
        return z.masked_fill_(z <= limit, math.inf)
    # Masks cost a CPU ten times as much as arithmetic does, and reading a number costs it nothing.
    for index, least in enumerate(limit.flatten().tolist()):
        torch.threshold_(z.select(0, index), least, math.inf)
    return z


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
