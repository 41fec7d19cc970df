"""Small networks and subjects the sanity checks are tested on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from excitation.evaluation.sanity import Subject
from excitation.models._loaded import LoadedModel, Preprocessing


class Branching(nn.Module):
    """A residual block and two branches; its modules are declared from the top down, so their order misleads."""

    def __init__(self):
        super().__init__()
        self.top = nn.Linear(8, 5)
        self.right = nn.Conv2d(6, 4, 3, padding=1)
        self.left = nn.Conv2d(6, 4, 1)
        self.block = nn.ModuleDict(
            {"norm": nn.BatchNorm2d(6), "second": nn.Conv2d(6, 6, 1), "first": nn.Conv2d(6, 6, 3, padding=1)}
        )
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.spare = nn.Linear(3, 3)
        nn.init.uniform_(self.block["norm"].weight, 0.5, 2)
        nn.init.uniform_(self.block["norm"].running_var, 0.5, 2)
        nn.init.normal_(self.block["norm"].running_mean)

    def forward(self, images):
        x = F.relu(self.stem(images))
        x = F.relu(x + self.block["second"](F.relu(self.block["norm"](self.block["first"](x)))))
        x = torch.cat([F.relu(self.left(x)), F.relu(self.right(x))], 1)
        return self.top(x.mean((2, 3)))


def branching(seed=0):
    torch.manual_seed(seed)
    return Branching().eval()


def pooled(seed=0):
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 10, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 5),
    )  # fmt: skip
    return LoadedModel(layers.eval(), "pooled", Preprocessing(size=(16, 16)), list("abcde"), "2")


def subjects(model, count=3):
    generator = torch.Generator().manual_seed(7)
    found = []
    for index in range(count):
        values = torch.rand(1, 3, 16, 16, generator=generator)
        picture = Image.fromarray((values[0] * 255).byte().permute(1, 2, 0).numpy())
        scores = model.model(values)[0].detach()
        found.append(Subject(f"image{index}", picture, values, int(scores.argmax()), scores))
    return found
