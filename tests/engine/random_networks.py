"""Random small networks for property tests: any mix of the operations the paper's rules cover."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

ACTIVATIONS = {"relu": F.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "elu": F.elu}
SIZE = 5


@dataclass(frozen=True)
class Recipe:
    """What decides a network and its images: blocks by name, a head, and seeds."""

    blocks: tuple[str, ...]
    activations: tuple[str, ...]
    head: str
    seed: int
    images: int
    signed: bool


PAPER = ("conv", "strided", "grouped", "dilated", "maxpool", "avgpool", "padded_avgpool", "lrn", "dropout", "inception")
ALL = (*PAPER, "norm", "residual", "projection", "pad", "linear_pair")
HEADS = ("mean", "flatten", "pool_relu", "deep")


def fits(blocks):
    """Whether the images' shorter side outlasts the blocks that make it smaller."""
    side = SIZE
    for kind in blocks:
        side = (side - 1) // 2 + 1 if kind == "strided" else side - (kind in {"maxpool", "avgpool"})
        if side < 1:
            return False
    return True


def recipes(paper_only=False, signed=None):
    """Plain ReLU networks on non-negative images (`paper_only`), or everything."""
    return st.builds(
        Recipe,
        blocks=st.lists(st.sampled_from(PAPER if paper_only else ALL), min_size=1, max_size=5).map(tuple).filter(fits),
        activations=st.lists(
            st.just("relu") if paper_only else st.sampled_from(sorted(ACTIVATIONS)), min_size=5, max_size=5
        ).map(tuple),
        head=st.sampled_from(HEADS),
        seed=st.integers(0, 2**16),
        images=st.integers(1, 3),
        signed=st.just(False) if paper_only else st.booleans() if signed is None else st.just(signed),
    )


class Block(nn.Module):
    """One step of a random network; `forward` is readable by `torch.fx`."""

    def __init__(self, kind, channels, activation):
        super().__init__()
        self.kind, self.act = kind, ACTIVATIONS[activation]
        c = channels
        if kind in {"conv", "norm", "residual", "inception", "pad"}:
            self.conv = nn.Conv2d(c, c, 3, padding=0 if kind == "pad" else 1)
        if kind in {"inception", "projection"}:
            self.point = nn.Conv2d(c, c, 1)
        if kind == "projection":
            self.conv, self.conv2 = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 1, bias=False)
        if kind == "strided":
            self.conv = nn.Conv2d(c, c, (3, 2), stride=(2, 1), padding=1)
        if kind == "grouped":
            self.conv = nn.Conv2d(c, c, 3, padding=1, groups=2)
        if kind == "dilated":
            self.conv = nn.Conv2d(c, c, 3, padding=2, dilation=2)
        if kind == "linear_pair":
            self.conv, self.conv2 = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
        if kind == "inception":
            self.merge = nn.Conv2d(2 * c, c, 1)
        if kind in {"norm", "residual"}:
            self.bn = nn.BatchNorm2d(c)
            nn.init.uniform_(self.bn.weight, -0.5, 1.5)
            nn.init.normal_(self.bn.bias)
            self.bn.running_mean.normal_()
            self.bn.running_var.uniform_(0.5, 2)
        self.pool, self.lrn, self.drop = nn.MaxPool2d(2, 1), nn.LocalResponseNorm(3, 0.5), nn.Dropout(0.5)

    def forward(self, x):
        if self.kind in {"conv", "strided", "grouped", "dilated"}:
            return self.act(self.conv(x))
        if self.kind == "norm":
            return self.act(self.bn(self.conv(x)))
        if self.kind == "residual":
            return self.act(self.bn(self.conv(x)) + x)
        if self.kind == "projection":
            return self.act(self.conv2(self.act(self.conv(x))) + self.point(x))
        if self.kind == "linear_pair":
            return self.act(self.conv2(self.conv(x)))
        if self.kind == "inception":
            return self.act(self.merge(torch.cat([self.act(self.conv(x)), F.relu(self.point(x))], 1)))
        if self.kind == "pad":
            return self.act(self.conv(F.pad(x, (1, 1, 1, 1))))
        if self.kind == "maxpool":
            return self.pool(x)
        if self.kind == "avgpool":
            return F.avg_pool2d(x, 2, 1)
        if self.kind == "padded_avgpool":
            return F.avg_pool2d(x, 3, 1, 1)
        if self.kind == "lrn":
            return self.lrn(x)
        return self.drop(x)


class RandomNet(nn.Module):
    """Blocks with a cut after each, and a head."""

    def __init__(self, recipe, channels=4, classes=3):
        super().__init__()
        self.stem = nn.Conv2d(2, channels, 3, padding=1)
        self.relu = nn.ReLU()
        self.blocks = nn.Sequential(
            *(Block(k, channels, a) for k, a in zip(recipe.blocks, recipe.activations, strict=False))
        )
        self.head = recipe.head
        self.pool = nn.AdaptiveAvgPool2d(2)
        size = {"mean": channels, "flatten": 4 * channels, "pool_relu": channels, "deep": 5}[recipe.head]
        self.hidden = nn.Linear(4 * channels, 5)
        self.fc = nn.Conv2d(channels, classes, 1) if recipe.head == "pool_relu" else nn.Linear(size, classes)

    def forward(self, x):
        x = self.blocks(self.relu(self.stem(x)))
        if self.head == "pool_relu":
            return F.relu(self.fc(x)).mean((2, 3))
        if self.head == "mean":
            return self.fc(x.mean((2, 3)))
        x = torch.flatten(self.pool(x), 1)
        if self.head == "deep":
            x = F.relu(self.hidden(x))
        return self.fc(x)


def build(recipe):
    """The network and its images, in double precision."""
    torch.manual_seed(recipe.seed)
    model = RandomNet(recipe).double().eval()
    images = torch.rand(recipe.images, 2, SIZE, SIZE + 1, dtype=torch.float64)
    return model, images * 2 - 1 if recipe.signed else images


def cuts(recipe):
    """Layers every path goes through, from the top down."""
    return [*(f"blocks.{i}" for i in reversed(range(len(recipe.blocks)))), "relu", "input"]
