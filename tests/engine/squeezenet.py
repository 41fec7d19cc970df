"""SqueezeNet v1.0 (Iandola et al. 2016) as an ordinary PyTorch module, with Caffe's layer names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

FIRES = {2: (96, 16, 64), 3: (128, 16, 64), 4: (128, 32, 128), 5: (256, 32, 128), 6: (256, 48, 192),
         7: (384, 48, 192), 8: (384, 64, 256), 9: (512, 64, 256)}  # fmt: skip


class Fire(nn.Module):
    def __init__(self, inputs, squeeze, expand):
        super().__init__()
        self.conv1x1_1 = nn.Conv2d(inputs, squeeze, 1)
        self.conv1x1_2 = nn.Conv2d(squeeze, expand, 1)
        self.conv3x3_2 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.conv1x1_1(x))
        return torch.cat([self.relu(self.conv1x1_2(x)), self.relu(self.conv3x3_2(x))], 1)


class SqueezeNet(nn.Module):
    """`head`: `pooled` scores, the score `map` before pooling, or `gap`: pool first, then classify."""

    def __init__(self, head: Literal["pooled", "map", "gap"] = "pooled"):
        super().__init__()
        self.head = head
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.pool1, self.pool4, self.pool8 = (nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(3))
        for number, sizes in FIRES.items():
            setattr(self, f"fire{number}", Fire(*sizes))
        self.dropout = nn.Dropout(0.5)
        self.conv_final = nn.Conv2d(512, 1000, 1, padding=0 if head == "gap" else 1)

    def forward(self, x):
        x = self.pool1(self.relu(self.conv1(x)))
        x = self.pool4(self.fire4(self.fire3(self.fire2(x))))
        x = self.pool8(self.fire8(self.fire7(self.fire6(self.fire5(x)))))
        x = self.dropout(self.fire9(x))
        if self.head == "gap":
            return self.conv_final(x.mean((2, 3), keepdim=True)).flatten(1)
        x = self.relu(self.conv_final(x))
        return x if self.head == "map" else x.mean((2, 3))


def load(weights: Path, head: Literal["pooled", "map", "gap"] = "pooled") -> SqueezeNet:
    model = SqueezeNet(head)
    with np.load(weights) as arrays:
        state = {name.replace("/", "."): torch.from_numpy(arrays[name]) for name in arrays.files}
    model.load_state_dict(state)
    return model.double().eval()
