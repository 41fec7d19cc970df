"""Operations of networks, each spelled in several ways that compute one function, and random networks made of them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Spelled = Callable[..., torch.Tensor]
"""`(x, *weights)`; two of them in one list are one function."""


def _unfolded_convolution(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    n, _, height, width = x.shape
    columns = F.unfold(x, 3, padding=1)
    return (w.flatten(1) @ columns + b[:, None]).reshape(n, -1, height, width)


CONVOLUTION: list[Spelled] = [
    lambda x, w, b: F.conv2d(x, w, b, padding=1),
    lambda x, w, b: F.conv2d(F.pad(x, (1, 1, 1, 1)), w, b),
    lambda x, w, b: F.conv2d(x, w, padding="same") + b[:, None, None],
    _unfolded_convolution,
]

POINTWISE: list[Spelled] = [
    lambda x, w, b: F.conv2d(x, w[:, :, None, None], b),
    lambda x, w, b: F.linear(x.permute(0, 2, 3, 1), w, b).permute(0, 3, 1, 2),
    lambda x, w, b: torch.einsum("bchw,oc->bohw", x, w) + b[:, None, None],
    lambda x, w, b: (w @ x.flatten(2) + b[:, None]).reshape(len(x), -1, *x.shape[2:]),
    lambda x, w, b: torch.tensordot(x, w, ([1], [1])).movedim(-1, 1) + b[:, None, None],
    lambda x, w, b: torch.matmul(x.movedim(1, -1), w.t()).movedim(-1, 1).add(b[:, None, None]),
]

RECTIFIER: list[Spelled] = [
    F.relu,
    lambda x: x.clamp(min=0),
    lambda x: F.threshold(x, 0.0, 0.0),
    lambda x: F.hardtanh(x, 0.0, math.inf),
    lambda x: torch.maximum(x, torch.zeros_like(x)),
    lambda x: F.leaky_relu(x, 0.0),
    lambda x: x * (x > 0),
    lambda x: torch.where(x > 0, x, 0.0),
    lambda x: x.masked_fill(x < 0, 0.0),
    lambda x: (x + x.abs()) / 2,
]

SMOOTH: dict[str, list[Spelled]] = {
    "silu": [F.silu, lambda x: x * x.sigmoid(), lambda x: x / (1 + (-x).exp()), lambda x: torch.sigmoid(x).mul(x)],
    "hardswish": [
        F.hardswish,
        lambda x: x * F.relu6(x + 3) / 6,
        lambda x: x * F.hardsigmoid(x),
        lambda x: x * ((x + 3) / 6).clamp(0, 1),
    ],
    "gelu": [
        F.gelu,
        lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
        lambda x: x * (torch.erf(x / 2**0.5) + 1) / 2,
    ],
    "gelu tanh": [
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ],
    "mish": [F.mish, lambda x: x * F.softplus(x).tanh(), lambda x: x * torch.tanh(torch.log1p(x.exp()))],
    "tanh": [
        torch.tanh,
        lambda x: 2 * torch.sigmoid(2 * x) - 1,
        lambda x: x.tanh().neg().neg(),
        lambda x: 1 - (1 - x.tanh()),
    ],
    "elu": [F.elu, F.celu, lambda x: F.elu(2 * x / 2), lambda x: torch.where(x > 0, x, x.exp() - 1)],
    "square": [lambda x: F.relu(x) ** 2, lambda x: (lambda y: y * y)(F.relu(x)), lambda x: F.relu(x).square()],
    "cube": [lambda x: x**3, lambda x: x * x * x],
}

SIGMOID: list[Spelled] = [
    torch.sigmoid,
    lambda x: 1 / (1 + torch.exp(-x)),
    lambda x: (1 + (-x).exp()).reciprocal(),
    lambda x: (torch.tanh(x / 2) + 1) / 2,
    lambda x: 2 / (2 + 2 * torch.exp(-x)),
]

POOLING: dict[str, list[Spelled]] = {
    "max": [
        lambda x: F.max_pool2d(x, 2),
        lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).amax(4),
        lambda x: x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).amax((3, 5)),
        lambda x: -F.max_pool2d(x, 2).neg(),
        lambda x: torch.maximum(
            torch.maximum(x[..., ::2, ::2], x[..., ::2, 1::2]), torch.maximum(x[..., 1::2, ::2], x[..., 1::2, 1::2])
        ),
        lambda x: -(-x).unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).amin(4),
    ],
    "average": [
        lambda x: F.avg_pool2d(x, 2),
        lambda x: x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean((3, 5)),
        lambda x: F.avg_pool2d(x, 2, divisor_override=1) / 4,
        lambda x: F.interpolate(x, scale_factor=0.5, mode="area"),
        lambda x: F.adaptive_avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2)),
    ],
}

SCALING: dict[str, list[Spelled]] = {
    "batch norm": [
        lambda x, s, t: F.batch_norm(x, torch.zeros_like(t), torch.ones_like(t), s, t, eps=0.0),
        lambda x, s, t: x * s[:, None, None] + t[:, None, None],
        lambda x, s, t: (x.permute(0, 2, 3, 1) * s + t).permute(0, 3, 1, 2),
        lambda x, s, t: torch.addcmul(t[:, None, None], x, s[:, None, None]),
    ],
    "layer norm": [
        lambda x, s, t: F.layer_norm(x.permute(0, 2, 3, 1), s.shape, s, t).permute(0, 3, 1, 2),
        lambda x, s, t: _layer_norm(x, 1) * s[:, None, None] + t[:, None, None],
        lambda x, s, t: (_layer_norm(x.permute(0, 2, 3, 1), 3) * s + t).permute(0, 3, 1, 2),
        lambda x, s, t: _layer_norm_of_statistics(x) * s[:, None, None] + t[:, None, None],
        lambda x, s, t: (
            F.group_norm(x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]), 1, s, t)
            .reshape(len(x), *x.shape[2:], -1)
            .permute(0, 3, 1, 2)
        ),
    ],
    "norm": [
        lambda x, s, t: F.normalize(x, dim=1),
        lambda x, s, t: x / x.norm(dim=1, keepdim=True).clamp_min(1e-12),
        lambda x, s, t: x / x.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12),
        lambda x, s, t: x * (x * x).sum(1, keepdim=True).clamp_min(1e-24).rsqrt(),
    ],
    "identity": [
        lambda x, s, t: x,
        lambda x, s, t: x.transpose(1, 2).contiguous().transpose(1, 2),
        lambda x, s, t: torch.cat([x[:, :2], x[:, 2:]], 1),
        lambda x, s, t: torch.stack(x.unbind(1), 1),
        lambda x, s, t: x.flip(3).flip(3),
        lambda x, s, t: x.roll(1, 2).roll(-1, 2),
        lambda x, s, t: x.index_select(1, torch.arange(x.shape[1])),
        lambda x, s, t: torch.cat([x, x.flip(3)])[: len(x)],
        lambda x, s, t: x / 0.25 * 0.25,
    ],
}


def _layer_norm(x: torch.Tensor, axis: int) -> torch.Tensor:
    """As ConvNeXt and others write it out."""
    mean = x.mean(axis, keepdim=True)
    return (x - mean) / torch.sqrt((x - mean).pow(2).mean(axis, keepdim=True) + 1e-5)


def _layer_norm_of_statistics(x: torch.Tensor) -> torch.Tensor:
    variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
    return -(mean - x) * torch.rsqrt(variance + 1e-5)


def _squeezed(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(F.linear(x.mean((2, 3)), w))


GATE: list[Spelled] = [
    lambda x, w: x * _squeezed(x, w)[:, :, None, None],
    lambda x, w: x * torch.sigmoid(F.conv2d(F.adaptive_avg_pool2d(x, 1), w[:, :, None, None])),
    lambda x, w: torch.sigmoid(F.linear(x.mean((2, 3)), w)).clone()[..., None, None].expand_as(x) * x,
    lambda x, w: torch.einsum("bchw,bc->bchw", x, _squeezed(x, w)),
    lambda x, w: x / (1 + torch.exp(-F.linear(x.mean((2, 3)), w)))[:, :, None, None],
    lambda x, w: x * (0.5 * torch.tanh(F.linear(x.mean((2, 3)), w) / 2) + 0.5)[:, :, None, None],
]

SUM: list[Spelled] = [
    lambda a, b, c: a + b + c,
    lambda a, b, c: a + (b + c),
    lambda a, b, c: torch.stack([a, b, c]).sum(0),
    lambda a, b, c: 3 * torch.stack([a, b, c], 2).mean(2),
    lambda a, b, c: torch.add(c, b) - (-a),
    lambda a, b, c: torch.cat([a, b, c]).unflatten(0, (3, -1)).sum(0),
    lambda a, b, c: torch.cat([a[:, None], b[:, None], c[:, None]], 1).sum(1),
]

HEAD: list[Spelled] = [
    lambda x, w, b: F.linear(x.mean((2, 3)), w, b),
    lambda x, w, b: F.conv2d(F.adaptive_avg_pool2d(x, 1), w[:, :, None, None], b).flatten(1),
    lambda x, w, b: torch.einsum("bchw,kc->bk", x, w) / (x.shape[2] * x.shape[3]) + b,
    lambda x, w, b: x.flatten(2).mean(2) @ w.t() + b,
    lambda x, w, b: (x.mean((2, 3))[:, None] * w[None]).sum(2) + b,
    lambda x, w, b: F.conv2d(x, w[:, :, None, None], b).mean((2, 3)),
    lambda x, w, b: torch.addmm(b, x.mean((3, 2)), w.t()),
]


class Network(nn.Module):
    """A random network.

    Args:
        seed: of the network's structure and weights.
        spelling: seed of the choice of ways, `None` for the first way each time.
    """

    def __init__(self, seed: int, spelling: int | None) -> None:
        super().__init__()
        self.plan = _plan(random.Random(seed))
        self.spelling = spelling
        generator = torch.Generator().manual_seed(seed)
        self.weights = nn.ParameterList()
        for _, shapes, positive in self.plan:
            for shape in shapes:
                weight = torch.randn(shape, generator=generator, dtype=torch.float64) / math.sqrt(math.prod(shape[1:]))
                self.weights.append(nn.Parameter(weight.abs() + 0.1 if positive else weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores."""
        choice = random.Random(self.spelling)
        weights = iter(self.weights)
        skip, other = None, None
        for (kind, ways), shapes, _ in self.plan:
            own = [next(weights) for _ in shapes]
            way = ways[0] if self.spelling is None else choice.choice(ways)
            if kind == "branch":
                skip, other = x, F.relu(x.roll(1, 3))
            elif kind == "sum":
                x = way(x, skip, other)
            else:
                x = way(x, *own)
        return x


Step = tuple[tuple[str, list[Any]], list[tuple[int, ...]], bool]


def _plan(rng: random.Random) -> list[Step]:
    """Blocks of operations with the shapes of their weights, and whether these are positive."""
    width = 6
    plan: list[Step] = [
        (("affine", CONVOLUTION), [(width, 3, 3, 3), (width,)], False),
        (("rectifier", RECTIFIER), [], False),
    ]
    for _ in range(rng.randint(1, 2)):
        branch = rng.random() < 0.5
        if branch:
            plan.append((("branch", [None]), [], False))
        plan.append((("affine", rng.choice([POINTWISE, CONVOLUTION])), [], False))
        pointwise = plan[-1][0][1] is POINTWISE
        plan[-1] = (plan[-1][0], [(width, width) if pointwise else (width, width, 3, 3), (width,)], False)
        if rng.random() < 0.6:
            name = rng.choice(sorted(SCALING))
            plan.append(((name, SCALING[name]), [(width,), (width,)], name == "batch norm" and rng.random() < 0.5))
        plan.append((("smooth", RECTIFIER if rng.random() < 0.4 else SMOOTH[rng.choice(sorted(SMOOTH))]), [], False))
        if rng.random() < 0.4:
            plan.append((("gate", GATE), [(width, width)], False))
        if branch:
            plan.append((("sum", SUM), [], False))
    if rng.random() < 0.7:
        plan.append((("pool", POOLING[rng.choice(sorted(POOLING))]), [], False))
    plan.append((("affine", POINTWISE), [(width, width), (width,)], False))
    plan.append((("rectifier", RECTIFIER), [], False))
    plan.append((("head", HEAD), [(4, width), (4,)], False))
    return plan
