"""Parts of the rules of weighted operations: rectified neurons, products with halves of the weights, normalisers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import torch

from .._bounds import NONNEGATIVE, UNBOUNDED, Bounds
from .._values import Value
from ..operations import Affine, Average
from ..operations._families import Noise
from ..policies import Policies
from ._weight_cache import half_with_made

SMALL = 2048
"""Entries of one of several images up to which a mask is quicker than a call for each image."""

MANY = 256
"""Channels from which on it is asked whether most of them carry no signal."""


class Half:
    """Products with the excitatory (sign 1) or the inhibitory (sign -1) half of the weights.

    The half is computed at its first use.
    """

    __slots__ = ("_dtype", "_made", "_operation", "_sign", "_weight")

    def __init__(self, operation: Affine | Average, sign: int, dtype: torch.dtype) -> None:
        self._operation = operation
        self._sign = sign
        self._dtype = dtype
        self._weight: torch.Tensor | None = None
        self._made: dict[Hashable, torch.Tensor] = {}

    def _half(self, operation: Affine) -> torch.Tensor:
        if self._weight is None:
            self._weight, self._made = half_with_made(operation.weight, self._sign, self._dtype)
        return self._weight

    def weight(self) -> torch.Tensor:
        """The half of the weights, for an operation that has weights."""
        assert isinstance(self._operation, Affine)
        return self._half(self._operation)

    def sums(self, noise: Noise) -> torch.Tensor:
        """Return the sum of this half of the weights for each output channel."""
        weight, key = self.weight(), (self._sign, noise)
        found = self._made.get(key)
        return self._made.setdefault(key, noise.sums(weight)) if found is None else found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product with the half."""
        operation = self._operation
        return operation.forward(x, self._half(operation)) if isinstance(operation, Affine) else operation.forward(x)

    def adjoint(self, q: torch.Tensor, few: torch.Tensor | None = None, *, lead: int = 1) -> torch.Tensor:
        """Return the transposed product of `(..., *activation)`. Targets and images form one batch.

        Args:
            q: the signal divided by the normalisers.
            few: the channels of `q`, if it does not have all channels (see `few_channels`).
            lead: number of dimensions before the images; 2 for `(polarity, target, *activation)`.
        """
        operation, flat = self._operation, q.reshape(-1, *q.shape[lead + 1 :])
        if not isinstance(operation, Affine):
            back = operation.adjoint(flat)
        elif operation.turned is None:
            back = operation.adjoint(flat, self._half(operation))
        else:
            turn, product = operation.turned
            weight = self._half(operation)
            # Modules that share a weight can use different groups, and therefore different layouts.
            key = self._sign, operation.input.shape[1]
            turned = self._made.get(key)
            if turned is None:
                turned = self._made.setdefault(key, turn(weight).contiguous())
            turned = turned if few is None else turned.index_select(1, few)
            back = product(flat, turned)
        # If all images are treated alike, the number of images can differ.
        images = q.shape[lead : lead + 1] if operation.apart else operation.input.shape[:1]
        return back.reshape(*q.shape[:lead], *images, *back.shape[1:])

    def flat(self) -> Half:
        """Return the same connections with all weights one."""
        even = Half(self._operation, 1, self._dtype)
        if isinstance(self._operation, Affine):
            even._weight = torch.ones_like(self._operation.weight, dtype=self._dtype)
        return even


Link = tuple[Half, torch.Tensor]
"""One half of the weights and the rectified neurons it is multiplied with."""


def living(z: torch.Tensor, policies: Policies, operation: Affine | Average, links: Sequence[Link]) -> torch.Tensor:
    """Return the normalisers, infinite where they count as zero. A division by them then gives zero.

    Products of nonnegative numbers return exact zeros at any scale. Only fast convolutions return noise instead of
    zeros. The noise is proportional to the attainable value of the output channel: the largest input times the sum of
    the channel's weights.

    Args:
        z: normalisers, `(image, *activation)`. They are changed in place if the operation has weights.
        policies: gives the relative threshold up to which a normaliser counts as zero.
        operation: operation of the normalisers.
        links: halves and inputs that the normalisers were computed from.
    """
    own = isinstance(operation, Affine)
    z = z if own else z.clone()
    if policies.signed == "original":
        return torch.threshold_(z, 0.0, math.inf) if not own else z.masked_fill_(z == 0, math.inf)
    least = torch.finfo(z.dtype).tiny
    threshold = policies.zero_threshold(z.dtype)
    noise = operation.noise if isinstance(operation, Affine) else None
    if threshold == 0 or noise is None:
        return torch.threshold_(z, least, math.inf)
    limit: torch.Tensor | None = None
    for half, a in links:
        largest = torch.unflatten(a, 1, (noise.groups, -1)).flatten(2).amax(2)
        sums = torch.unflatten(half.sums(noise), 0, (noise.groups, -1))
        part = (largest[:, :, None] * sums).flatten(1)
        limit = part if limit is None else limit + part
    assert limit is not None
    limit = limit.mul_(threshold).clamp_(min=least).reshape(*limit.shape, *(1,) * (z.dim() - 2))
    if z.device.type != "cpu" or z.numel() < SMALL * z.shape[0]:
        return z.masked_fill_(z <= limit, math.inf)
    # On a CPU, masks are ten times slower than arithmetic.
    return torch.threshold_(z.div_(limit), 1.0, math.inf).mul_(limit)


def few_channels(p: torch.Tensor, operation: Affine | Average) -> torch.Tensor | None:
    """Return the output channels of a convolution that have a signal, if they are few; else `None`.

    For class scores with spatial positions, these are usually the channels of the targets. The other channels
    contribute nothing to the transposed product. The result is also `None` if the check would synchronise a device, or
    if derivatives with respect to channels without a signal can be required.
    """
    if p.dim() < 5 or p.shape[3] < MANY or p.device.type != "cpu" or torch.is_grad_enabled():
        return None
    if not isinstance(operation, Affine) or operation.turned is None:
        return None
    if operation.weight.shape[1] != operation.input.shape[1]:
        return None  # with groups, outputs have different inputs
    middle = p[(slice(None),) * 4 + tuple([size // 2 for size in p.shape[4:]])]
    if 4 * int((middle != 0).flatten(0, 2).any(0).sum()) > p.shape[3]:
        return None  # if most channels have signals, one position is sufficient to see it
    rest = [0, 1, 2, *range(4, p.dim())]
    few = ((p.amax(rest) != 0) | (p.amin(rest) != 0)).nonzero().flatten()
    if len(few) == 0:
        return few.new_zeros(1)  # no channel has a signal: return any channel
    return few if 4 * len(few) <= p.shape[3] else None


def divided(p: torch.Tensor, z: torch.Tensor, few: torch.Tensor | None) -> torch.Tensor:
    """Return signals divided by normalisers, `(..., *activation)`, for the channels `few` if they are given."""
    if few is None:
        return p / z
    return p.index_select(p.dim() - z.dim() + 1, few) / z.index_select(1, few)


def rectified(a: torch.Tensor, value: Value, policies: Policies) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the raised and, if there are any, the lowered neurons of an input: how far it is from its silent value.

    A neuron that is silent at its lower bound is a raised neuron and counts from this bound (Eq. 5). A neuron that is
    silent at its upper bound, or has no other bound, is a lowered neuron and counts down from this bound. All other
    neurons are two rectified neurons each.
    """
    bounds = value.bounds
    if policies.bounded == "original":
        bounds = NONNEGATIVE if value.nonnegative else UNBOUNDED
    lower, upper = bounds
    if not bounds.uniform:
        return _by_neuron(a, bounds, value.valid, policies)
    if lower == 0 and bounds.silent is None:
        return a, None
    silent = bounds.origin
    if silent == lower:
        # Due to rounding, a neuron can be below its own bound.
        return _neurons((a - lower).clamp_(min=0), value.valid), None
    if policies.signed == "original":
        return a, None
    if silent == upper:
        return torch.zeros_like(a), _neurons((upper - a).clamp_(min=0), value.valid)
    if silent != 0:
        a = _neurons(a - silent, value.valid)
    if a.device.type == "cpu" and bool((a >= 0).all()):
        return a, None
    return a.clamp(min=0), (-a).clamp(min=0)


def _by_neuron(
    a: torch.Tensor, bounds: Bounds, valid: torch.Tensor | None, policies: Policies
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Like `rectified`, for neurons with different bounds."""
    at_lower, at_upper = _ends(bounds, a.device)
    up = a - torch.as_tensor(bounds.origin).to(a)
    if policies.signed == "original":
        return _neurons(torch.where(at_lower, up.clamp(min=0), a), valid), None
    down = -up
    up = torch.where(at_upper, 0, up).clamp_(min=0)
    if a.device.type == "cpu" and bool(at_lower.all()):
        return _neurons(up, valid), None
    return _neurons(up, valid), _neurons(torch.where(at_lower, 0, down).clamp_(min=0), valid)


def _ends(bounds: Bounds, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return masks of the neurons that are silent at their lower bound, and of those silent at their upper bound."""
    silent, lower, upper = (
        torch.as_tensor(limit, dtype=torch.float64).to(device) for limit in (bounds.origin, *bounds)
    )  # fmt: skip
    at_lower = silent == lower
    return at_lower, (silent == upper) & ~at_lower


def _neurons(x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Return the activations with padding set to zero."""
    return x if valid is None else x * valid.to(x.device)


def present(
    like: torch.Tensor, value: Value, policies: Policies, *, both: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return masks of the raised and lowered neurons that can be nonzero in `rectified`: one for these, else zero.

    Args:
        like: tensor with the shape of the input.
        value: value of the input.
        policies: as for `rectified`.
        both: whether there are lowered neurons.
    """
    ones = _neurons(torch.ones_like(like), value.valid)
    if not both or policies.bounded == "original":
        return ones, ones if both else None
    at_lower, at_upper = _ends(value.bounds, ones.device)
    return ones * ~at_upper, ones * ~at_lower
