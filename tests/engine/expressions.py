"""Random expressions of bounded neurons, each of which can be written in many ways that compute the same function.

The ways differ in where a negation stands, in how sums are nested, and in how a selection, a write, a mean or a
function is written. Functions keep the sign of their arguments: `tanh(-x)` is another neuron than `-tanh(x)` (Eq. 5).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

WIDTH = 6
Tensor = torch.Tensor

FUNCTIONS: dict[str, list[Callable[[Tensor], Tensor]]] = {
    "tanh": [
        torch.tanh,
        lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
        lambda x: 2 * torch.sigmoid(2 * x) - 1,
    ],
    "relu6": [F.relu6, lambda x: x.clamp(0, 6), lambda x: x.relu() - (x - 6).relu()],
    "relu": [F.relu, lambda x: x * (x > 0), lambda x: (x + x.abs()) / 2, lambda x: torch.where(x > 0, x, 0.0)],
    "sigmoid": [torch.sigmoid, lambda x: 1 / (1 + (-x).exp()), lambda x: x.exp() / (1 + x.exp())],
    "elu": [
        F.elu,
        lambda x: torch.where(x > 0, x, x.exp() - 1),
        lambda x: x.relu() + torch.expm1(x.clamp(max=0)),
        lambda x: x.relu() - F.relu(1 - x.exp()),
    ],
    "softsign": [F.softsign, lambda x: x / (1 + x.abs()), lambda x: x * (1 + x.abs()).reciprocal()],
    "softplus": [F.softplus, lambda x: x + torch.log1p((-x).exp()), lambda x: x.relu() + torch.log1p((-x.abs()).exp())],
    "leaky": [
        lambda x: F.leaky_relu(x, 0.1),
        lambda x: torch.maximum(x, 0.1 * x),
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: x.relu() - 0.1 * (-x).relu(),
    ],
    "softshrink": [lambda x: F.softshrink(x, 0.2), lambda x: x - x.clamp(-0.2, 0.2)],
    "tanhshrink": [F.tanhshrink, lambda x: x - x.tanh()],
    "cube": [lambda x: x**3, lambda x: x * x * x, lambda x: x * x.square()],
    "silu": [F.silu, lambda x: x * torch.sigmoid(x), lambda x: x / (1 + (-x).exp())],
    "hardsigmoid": [F.hardsigmoid, lambda x: F.relu6(x + 3) / 6, lambda x: ((x + 3) / 6).clamp(0, 1)],
    "shifted": [lambda x: F.relu6(x + 1) - 2, lambda x: F.relu6(1 + x).sub(2)],
}  # fmt: skip

GATES = {"sigmoid", "hardsigmoid"}
"""Functions whose results are gates. A product of two gates is refused."""

Node = tuple[Any, ...]

KINDS = (
    *("sum", "sum", "sum3", "difference", "max", "min", "largest", "pooled", "where", "steered", "fill"),
    *("scale", "shift", "halved", "average", "function", "gated", "centred"),
)


def expression(rng: random.Random, depth: int, sources: Iterator[int]) -> Node:
    """A random tree. Its leaves are functions of convolutions, each of its own one."""
    if depth == 0 or rng.random() < 0.1:
        return ("leaf", rng.choice(sorted(FUNCTIONS)), next(sources))
    kind = rng.choice(KINDS)
    if kind in {"sum", "max", "min", "where", "steered", "difference"}:
        return kind, expression(rng, depth - 1, sources), expression(rng, depth - 1, sources)
    if kind == "sum3":
        return kind, *(expression(rng, depth - 1, sources) for _ in range(3))
    if kind == "function":
        return kind, rng.choice(sorted(FUNCTIONS)), expression(rng, depth - 1, sources)
    if kind == "gated":
        inner = expression(rng, depth - 1, sources)
        return (kind, inner, next(sources)) if GATES.isdisjoint(str(inner).split("'")) else inner
    return kind, expression(rng, depth - 1, sources)


class Expression(nn.Module):
    """A network with a random expression between its weighted layers.

    Args:
        seed: seed of the expression and of all weights.
        spelling: seed of the choice of ways.
        depth: depth of the tree.
    """

    def __init__(self, seed: int, spelling: int, depth: int = 3) -> None:
        super().__init__()
        sources = itertools.count(2)
        self.tree = expression(random.Random(seed), depth, sources)
        self.spelling = spelling
        generator = torch.Generator().manual_seed(seed)

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64) / 2)

        self.below = nn.ParameterList(weight(WIDTH, 3, 3, 3) for _ in range(next(sources)))
        self.mixed, self.top = weight(WIDTH, WIDTH, 1, 1), weight(4, WIDTH)
        self.factor = weight(WIDTH, 1, 1)
        self.register_buffer("mask", torch.rand(WIDTH, 1, 1, generator=generator) > 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        self.choice = random.Random(self.spelling)
        self.neurons = [F.conv2d(x, w, padding=1) for w in self.below]
        y = self.written(self.tree, 1)
        return F.linear(F.conv2d(y, self.mixed).relu().mean((2, 3)), self.top)

    def one_of(self, *ways: Callable[[], Tensor]) -> Tensor:
        """Take one way, and sometimes the way of a copy."""
        y = self.choice.choice(ways)()
        if self.choice.random() < 0.2:
            y = self.choice.choice(COPIES)(y)
        return y

    def written(self, node: Node, sign: int) -> Tensor:
        """The node times a sign, which can be inside or outside."""
        if sign < 0 and self.choice.random() < 0.5:
            return self.one_of(*(lambda f=f: f(self.written(node, 1)) for f in NEGATIONS))
        if sign > 0 and self.choice.random() < 0.2:
            return self.one_of(*(lambda f=f: f(self.written(node, -1)) for f in NEGATIONS))
        result: Tensor = getattr(self, f"_{node[0]}")(sign, *node[1:])
        return result

    def _negated(self, sign: int, y: Tensor) -> Tensor:
        return y if sign > 0 else self.choice.choice(NEGATIONS)(y)

    def _leaf(self, sign: int, name: str, place: int) -> Tensor:
        return self._negated(sign, self.choice.choice(FUNCTIONS[name])(self.neurons[place]))

    def _function(self, sign: int, name: str, node: Node) -> Tensor:
        return self._negated(sign, self.choice.choice(FUNCTIONS[name])(self.written(node, 1)))

    def _sum(self, sign: int, a: Node, b: Node) -> Tensor:
        w = self.written
        return self.one_of(
            lambda: w(a, sign) + w(b, sign),
            lambda: w(a, sign) - w(b, -sign),
            lambda: torch.stack([w(b, sign), w(a, sign)]).sum(0),
            lambda: torch.add(w(a, sign), w(b, -sign), alpha=-1),
            lambda: 2 * torch.stack([w(a, sign), w(b, sign)], 2).mean(2),
        )

    def _difference(self, sign: int, a: Node, b: Node) -> Tensor:
        w = self.written
        return self.one_of(
            lambda: w(a, sign) - w(b, sign),
            lambda: w(a, sign) + w(b, -sign),
            lambda: torch.rsub(w(b, sign), w(a, sign)),
        )

    def _sum3(self, sign: int, a: Node, b: Node, c: Node) -> Tensor:
        w = self.written
        return self.one_of(
            lambda: w(a, sign) + w(b, sign) + w(c, sign),
            lambda: w(a, sign) - (w(b, -sign) - w(c, sign)),
            lambda: torch.stack([w(b, sign), w(a, sign), w(c, sign)]).sum(0),
            lambda: (w(a, sign) + w(c, sign)) - w(b, -sign),
        )

    def _max(self, sign: int, a: Node, b: Node) -> Tensor:
        x, y = self.written(a, sign), self.written(b, sign)
        if sign < 0:
            return self._smaller(x, y)
        return self._larger(x, y)

    def _min(self, sign: int, a: Node, b: Node) -> Tensor:
        x, y = self.written(a, sign), self.written(b, sign)
        return self._smaller(x, y) if sign > 0 else self._larger(x, y)

    def _larger(self, x: Tensor, y: Tensor) -> Tensor:
        return self.one_of(
            lambda: torch.maximum(x, y),
            lambda: -torch.minimum(-x, -y),
            lambda: torch.stack([x, y]).amax(0),
            lambda: torch.stack([x, y], 2).sort(2).values[:, :, 1],
            lambda: F.max_pool1d(torch.stack([x, y], -1).flatten(1, 3), 2).reshape(x.shape),
        )

    def _smaller(self, x: Tensor, y: Tensor) -> Tensor:
        return self.one_of(
            lambda: torch.minimum(x, y),
            lambda: -torch.maximum(-x, -y),
            lambda: torch.stack([x, y]).amin(0),
            lambda: torch.stack([x, y], 2).topk(1, 2, largest=False).values[:, :, 0],
        )

    def _largest(self, sign: int, node: Node) -> Tensor:
        y = self.written(node, sign)
        if sign < 0:
            return self.one_of(
                lambda: y.amin(1, keepdim=True).expand_as(y), lambda: -(-y).amax(1, keepdim=True).expand_as(y)
            )
        return self.one_of(
            lambda: y.amax(1, keepdim=True).expand_as(y),
            lambda: F.max_pool1d(y.flatten(2).mT, WIDTH).mT.unflatten(2, y.shape[2:]).expand_as(y),
            lambda: -(-y).min(1, keepdim=True).values.expand_as(y),
        )

    def _pooled(self, sign: int, node: Node) -> Tensor:
        y = self.written(node, sign)
        rows, columns = y.shape[2:]
        windows = y.unfold(2, 3, 1).unfold(3, 3, 1)
        if sign > 0:
            small = self.one_of(lambda: F.max_pool2d(y, 3, 1), lambda: windows.amax((4, 5)))
        else:
            small = self.one_of(lambda: -F.max_pool2d(-y, 3, 1), lambda: windows.amin((4, 5)))
        return small.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, :rows, :columns]

    def _where(self, sign: int, a: Node, b: Node) -> Tensor:
        x, y = self.written(a, sign), self.written(b, sign)
        mask = self.mask.expand(x.shape)

        def write() -> Tensor:
            z = y.clone()
            z[:, self.mask.flatten()] = x[:, self.mask.flatten()]
            return z

        return self.one_of(
            lambda: torch.where(self.mask, x, y),
            lambda: x * self.mask + y * ~self.mask,
            lambda: torch.where(~mask, y, x),
            lambda: y.masked_fill(self.mask, 0.0) + x.masked_fill(~self.mask, 0.0),
            write,
        )

    def _steered(self, sign: int, a: Node, b: Node) -> Tensor:
        """A choice by a mask that depends on the images."""
        mask = self.neurons[0] > self.neurons[1]
        x, y = self.written(a, sign), self.written(b, sign)
        return self.one_of(
            lambda: torch.where(mask, x, y), lambda: torch.where(~mask, y, x), lambda: -torch.where(mask, -x, -y)
        )

    def _fill(self, sign: int, node: Node) -> Tensor:
        y = self.written(node, sign)
        return self.one_of(
            lambda: y.masked_fill(self.mask, 0.5 * sign),
            lambda: torch.where(self.mask, torch.full_like(y, 0.5 * sign), y),
            lambda: torch.where(self.mask, 0.5 * sign, y),
            lambda: torch.cat([y[:, k : k + 1].masked_fill(self.mask[k], 0.5 * sign) for k in range(WIDTH)], 1),
        )

    def _scale(self, sign: int, node: Node) -> Tensor:
        s = self.factor
        nothing, ones = torch.zeros(WIDTH, dtype=s.dtype), torch.ones(WIDTH, dtype=s.dtype)
        return self.one_of(
            lambda: self.written(node, sign) * s,
            lambda: self.written(node, -sign) * -s,
            lambda: F.batch_norm(self.written(node, sign), nothing, ones, s.flatten(), nothing, eps=0.0),
            lambda: self.written(node, 1) * s.abs() * (sign * s.sign()),
            lambda: (self.written(node, sign).movedim(1, -1) * s.flatten()).movedim(-1, 1),
        )

    def _shift(self, sign: int, node: Node) -> Tensor:
        return self.one_of(
            lambda: self.written(node, sign) + 0.7 * sign,
            lambda: 0.7 * sign - self.written(node, -sign),
            lambda: self.written(node, sign) + torch.full((WIDTH, 1, 1), 0.7 * sign, dtype=torch.float64),
        )

    def _halved(self, sign: int, node: Node) -> Tensor:
        return self.one_of(lambda: self.written(node, sign) / 2, lambda: self.written(node, -sign) / -2)

    def _average(self, sign: int, node: Node) -> Tensor:
        y = self.written(node, sign)
        return self.one_of(
            lambda: F.avg_pool2d(y, 3, 1, 1),
            lambda: F.avg_pool2d(y, 3, 1, 1, divisor_override=1) / 9,
            lambda: F.avg_pool2d(F.pad(y, (1, 1, 1, 1)), 3, 1),
            lambda: -F.avg_pool2d(-y, 3, 1, 1),
        )

    def _gated(self, sign: int, node: Node, place: int) -> Tensor:
        gate = torch.sigmoid(self.neurons[place].roll(1, 1))
        return self.one_of(
            lambda: self.written(node, sign) * gate,
            lambda: gate * self.written(node, sign),
            lambda: F.glu(torch.cat([self.written(node, sign), self.neurons[place].roll(1, 1)], 1), 1),
            lambda: self.written(node, sign) / (1 + (-self.neurons[place].roll(1, 1)).exp()),
            lambda: torch.einsum("bchw,bchw->bchw", self.written(node, sign), gate),
        )

    def _centred(self, sign: int, node: Node) -> Tensor:
        y = self.written(node, sign)
        return self.one_of(*(lambda f=f: y - f(y) for f in MEANS), *(lambda f=f: y + f(-y) for f in MEANS),
                           *(lambda f=f: y + -f(y) for f in MEANS))  # fmt: skip


COPIES: Sequence[Callable[[Tensor], Tensor]] = [
    torch.clone,
    lambda y: y.transpose(1, 2).contiguous().transpose(1, 2),
    lambda y: y.index_select(1, torch.arange(y.shape[1])),
    lambda y: y.flatten(2).unflatten(2, y.shape[2:]),
    lambda y: y * 4 / 4,
    lambda y: y + 3 - 3,
]
NEGATIONS: Sequence[Callable[[Tensor], Tensor]] = [
    torch.neg,
    lambda y: y * -1,
    lambda y: 0 - y,
    lambda y: y / -1,
    lambda y: y * -torch.ones(WIDTH, 1, 1, dtype=y.dtype),
]
MEANS: Sequence[Callable[[Tensor], Tensor]] = [
    lambda y: y.mean((2, 3), keepdim=True),
    lambda y: y.mean((2, 3))[..., None, None],
    lambda y: y.sum((2, 3), keepdim=True) / (y.shape[2] * y.shape[3]),
    lambda y: F.adaptive_avg_pool2d(y, 1),
    lambda y: F.avg_pool2d(y, y.shape[2:]),
    lambda y: y.mean(3, keepdim=True).mean(2, keepdim=True),
    lambda y: y.flatten(2).mean(2).unsqueeze(2).unsqueeze(3).expand_as(y),
    lambda y: -(-y).mean((2, 3), keepdim=True).expand(-1, -1, *y.shape[2:]).clone(),
]
