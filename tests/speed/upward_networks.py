"""Small networks for the way up: everything windows can get wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

CLASSES = 5


class Pooled(nn.Module):
    """A root, one kind of middle, a second convolution, and a linear layer on pooled features."""

    def __init__(self, middle, stride=1):
        super().__init__()
        self.root = nn.Conv2d(2, 4, 3, padding=1)
        self.middle = middle
        self.conv = nn.Conv2d(4, 6, 3, stride=stride, padding=1)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        x = torch.relu(self.root(x))
        x = torch.relu(self.conv(self.middle(x)))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Branches(nn.Module):
    """Branches of different reach, concatenated; one of them does not come from the layer's windows alone."""

    def __init__(self):
        super().__init__()
        self.point, self.wide = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, (5, 3), padding=(2, 1))

    def forward(self, x):
        return torch.cat([torch.relu(self.point(x)), torch.relu(self.wide(x))], 1)


class Residual(nn.Module):
    """A strided block whose skip is strided too, its batch norm with negative scales."""

    def __init__(self, stride):
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 3, stride=stride, padding=1), nn.Conv2d(4, 4, 1)
        self.norm, self.skip = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, stride=stride)
        self.norm.weight.data[1::2] = -0.5

    def forward(self, x):
        return torch.relu(self.norm(self.two(torch.relu(self.one(x)))) + self.skip(x))


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.squeeze = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))


class Shuffle(nn.Module):
    """Channels split, one part convolved, put back and shuffled by reshaping: partly on whole maps."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        a, b = x.chunk(2, 1)
        x = torch.cat([a, torch.relu(self.conv(b))], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Between(nn.Module):
    """Functions that move nothing, and one that reads a part of the channels."""

    def forward(self, x):
        x = F.local_response_norm(F.dropout(x, 0.5, False), 3, 0.5)
        return torch.cat([x[:, 2:], -x[:, :2]], 1)


class Padded(nn.Module):
    """Padding apart from the operation after it."""

    def forward(self, x):
        return F.max_pool2d(F.pad(x, (1, 0, 2, 1)), 3, 2)


MIDDLES = {
    "plain": lambda: nn.Identity(),
    "dilated": lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.ReLU()),
    "grouped": lambda: nn.Sequential(nn.Conv2d(4, 4, (2, 3), stride=(2, 1), padding=(0, 2), groups=2), nn.ReLU()),
    "depthwise": lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.ReLU6()),
    "same": lambda: nn.Sequential(nn.Conv2d(4, 4, (2, 4), padding="same"), nn.ReLU()),
    "stepped over": lambda: nn.Sequential(nn.Conv2d(4, 4, 1, stride=3), nn.ReLU()),
    "signed": lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Tanh()),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(4, 4, 3, 2), nn.ReLU()),
    "ceil": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
    "overlapping": lambda: nn.MaxPool2d(3, 1, 1),
    "dilated pool": lambda: nn.MaxPool2d(2, 2, dilation=2),
    "average": lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "average without padding": lambda: nn.AvgPool2d((3, 2), 2, (1, 0), count_include_pad=False),
    "signed average": lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.AvgPool2d(2, 1), nn.ELU()),
    "branches": Branches,
    "residual": lambda: Residual(1),
    "strided residual": lambda: nn.Sequential(Residual(2), Residual(1)),
    "gate": Gate,
    "shuffle": Shuffle,
    "between": Between,
    "padded": Padded,
    "resized": lambda: nn.Upsample(scale_factor=1.5, mode="bilinear"),
}


def build(middle, stride=1):
    """A network in double precision, always the same."""
    torch.manual_seed(3)
    return Pooled(MIDDLES[middle](), stride).double().eval()
