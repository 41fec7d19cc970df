"""A small COCO data set of coloured squares, and a network that knows their colours exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from excitation.data import read_coco
from excitation.evaluation import Centre, NamedMethod, run_pointing
from excitation.models._loaded import LoadedModel, Preprocessing

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
MAPPING = {"red": (0,), "green": (1,), "blue": (2, 3)}
SIZES = [(48, 64), (64, 48), (48, 48)]
SIDE = 12


class Colours(nn.Module):
    """One channel per pure colour, two of the four classes for blue."""

    def __init__(self) -> None:
        """Weights by hand."""
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 4, stride=4)
        self.pool = nn.MaxPool2d(2)
        self.classify = nn.Linear(3, 4, bias=False)
        with torch.no_grad():
            pure = (torch.eye(3) * 1.5 - 0.5)[:, :, None, None]
            self.conv.weight.copy_(pure.expand(3, 3, 4, 4) / 16)
            self.conv.bias.zero_()
            self.classify.weight.copy_((torch.eye(3) * 20 - 0.1)[[0, 1, 2, 2]])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores."""
        return self.classify(self.pool(self.conv(images).relu()).mean((2, 3)))


def network() -> LoadedModel:
    """The network at 48 pixels."""
    return LoadedModel(Colours().eval(), "colours", Preprocessing(size=(48, 48)), None, "pool")


def make_data(folder: Path, count: int = 12) -> Path:
    """Pictures with one to three squares of different colours on grey, `hat` for which nothing is known in each
    sixth, a crowd in each fourth."""
    rng = np.random.default_rng(0)
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    images, notes = [], []
    for number in range(count):
        height, width = SIZES[number % 3]
        pixels = np.full((height, width, 3), 128, dtype=np.uint8)
        chosen = rng.permutation(3)[: 1 + number % 3]
        cells = rng.permutation((height // SIDE) * (width // SIDE))
        for place, colour in enumerate(chosen.tolist()):
            y, x = cells[place] // (width // SIDE) * SIDE, cells[place] % (width // SIDE) * SIDE
            pixels[y : y + SIDE, x : x + SIDE] = list(COLOURS.values())[colour]
            notes.append(note(len(notes), number, colour + 1, (int(x), int(y), SIDE, SIDE), number % 4 == 3))
        if number % 6 == 0:
            notes.append(note(len(notes), number, 4, (0, 0, 5, 5)))
        Image.fromarray(pixels).save(folder / f"images/{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate([*COLOURS, "hat"])]
    content = {"images": images, "annotations": notes, "categories": categories}
    (folder / "annotations/instances.json").write_text(json.dumps(content))
    return folder


def note(number, image, category, box, crowd=False):
    """One annotation."""
    x, y, w, h = box
    ring = [x, y, x + w, y, x + w, y + h, x, y + h]
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "segmentation": [ring],
            "iscrowd": int(crowd)}  # fmt: skip


def play(out: Path, data: Path, **more):
    """A run with all that belongs to one."""
    methods = {"mwp": NamedMethod("mwp"), "c-mwp": NamedMethod("c-mwp"), "centre": Centre()}
    options = {"layers": ("conv", "pool"), "mapping": MAPPING, "shortest": 48, **more}
    methods = options.pop("methods", methods)
    layers = options.pop("layers")
    return run_pointing(network(), read_coco(data), methods, layers, out=out, **options)
