"""Factories for the command line's tests, called as `toy_models:NAME`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import nn

from excitation.models._loaded import LoadedModel, Preprocessing

CLASSES = ["red thing, scarlet thing", "green thing", "blue thing"]
ROOT = Path(__file__).resolve().parents[2]
calls: list[tuple[int, ...]] = []


class Colours(nn.Module):
    """Knows red, green and blue when it sees them; its first convolution looks at 4 x 4 pixels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 4, stride=4, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.classify = nn.Linear(3, 3)
        with torch.no_grad():
            pure = (torch.eye(3) * 1.5 - 0.5)[:, :, None, None]
            self.conv.weight.copy_(pure.expand(3, 3, 4, 4) / 16)
            self.classify.weight.copy_(torch.eye(3) * 20 - 0.1)
            self.classify.bias.zero_()

    def forward(self, images):
        calls.append(tuple(images.shape))
        return self.classify(self.pool(self.conv(images).relu()).mean((2, 3)))


def bare():
    return Colours()


def named():
    return LoadedModel(Colours().train(), "", Preprocessing(size=(64, 64)), CLASSES, "pool")


def flattening():
    """CAM does not apply: two fully connected layers."""
    model = nn.Sequential(Colours().conv, nn.ReLU(), nn.Flatten(), nn.Linear(768, 6), nn.ReLU(), nn.Linear(6, 3))
    return LoadedModel(model, "", Preprocessing(size=(64, 64), resize="squash"), CLASSES)


def cropping():
    return LoadedModel(Colours(), "", Preprocessing(size=(64, 64), resize="crop"), CLASSES, "pool")


def two_arms():
    model = Colours()
    model.other = nn.Conv2d(3, 3, 4, stride=4, bias=False)
    nn.init.constant_(model.other.weight, 0.01)

    def forward(images):
        return model.classify((model.conv(images).relu() + model.other(images).relu()).mean((2, 3)))

    model.forward = forward
    return model


def failing():
    raise RuntimeError("no such luck")


def nothing():
    return 42


def double():
    return LoadedModel(Colours().double(), "", Preprocessing(size=(64, 64)), CLASSES, "pool")


def breaking():
    model = Colours()
    model.pool = nn.Linear(5, 5)
    return model


not_callable = 3


def squeezenet():
    """The real one; only where the reference data is."""
    spec = importlib.util.spec_from_file_location("real_squeezenet", ROOT / "tests" / "engine" / "squeezenet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = ROOT.parent / "shared" / "models" / "squeezenet_v1.0"
    model = module.load(folder / "weights.npz", "gap").float()
    prepare = Preprocessing(size=(227, 227), scale=1.0, channels="BGR", mean=(104.0, 117.0, 123.0))
    names = (folder / "imagenet_labels.txt").read_text().splitlines()
    return LoadedModel(model, "", prepare, names, "pool4")


def scene(size, red, green, blue):
    """Three discs on white."""
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for (x, y), colour in ((red, "red"), (green, "lime"), (blue, "blue")):
        draw.ellipse((x - 9, y - 9, x + 9, y + 9), fill=colour)
    return picture
