"""A small network whose two arms join, with its class names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

NAMES = ["zebra", "African elephant, Loxodonta africana", "tiger cat", "tabby, tabby cat"]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.a = nn.Conv2d(8, 12, 1)
        self.b = nn.Conv2d(8, 12, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.unused = nn.Conv2d(3, 3, 1)
        self.pair = Pair()
        self.fc = nn.Linear(24, 4)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([self.relu(self.a(x)), self.relu(self.b(x))], 1)
        x = self.pool(F.relu(x))
        x = torch.cat(self.pair(x), 1)
        return self.fc(x.mean((2, 3)))


class Pair(nn.Module):
    def forward(self, x):
        return x.chunk(2, 1)
