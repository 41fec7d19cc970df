"""One coloured square per picture, for the games that need a dominant object, and a run of each game."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pointing_world import COLOURS, MAPPING, network, note

from excitation.data import read_coco
from excitation.evaluation import NamedMethod, run_deletion, run_grid, run_localization, run_pointing

METHODS = {"mwp": NamedMethod("mwp"), "c-mwp": NamedMethod("c-mwp"), "grad-cam": NamedMethod("grad-cam")}
LAYERS = {"mwp": ("conv", "pool"), "c-mwp": ("conv", "pool"), "grad-cam": ("conv",)}
SINGLE = {"red": (0,), "green": (1,), "blue": (2,)}


def make_single(folder: Path, count: int = 12) -> Path:
    """Pictures of 48 x 48 with one large square, of all colours in turn."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    images, notes = [], []
    for number in range(count):
        pixels = np.full((48, 48, 3), 128, dtype=np.uint8)
        x, y = 8 * (number % 3), 8 * (number % 2)
        pixels[y : y + 32, x : x + 24] = list(COLOURS.values())[number % 3]
        notes.append(note(number, number, number % 3 + 1, (x, y, 24, 32)))
        Image.fromarray(pixels).save(folder / f"images/{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 48, "width": 48})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(COLOURS)]
    content = {"images": images, "annotations": notes, "categories": categories}
    (folder / "annotations/instances.json").write_text(json.dumps(content))
    return folder


def play_game(game: str, out: Path, data: Path, **more):
    """A run of a game with all that belongs to one."""
    model, images = network(), read_coco(data)
    common = {"out": out, "mapping": SINGLE, **more}
    methods = common.pop("methods", METHODS)
    layers = {name: LAYERS.get(name, (None,)) for name in methods}
    if game == "localization":
        return run_localization(model, images, methods, layers, **{"side": 48, "held_out": 3, **common})
    if game == "grid":
        # Three classes and a fourth: two of the network's answer to blue.
        return run_grid(
            model, images, methods, layers, **{"side": 1, "mosaics": 12, "lowest": 0.0, "cell": 48, **common}
        )
    if game == "deletion":
        return run_deletion(model, images, methods, layers, **{"steps": 3, "shortest": 48, **common})
    return run_pointing(model, images, methods, layers, **{"shortest": 48, "mapping": MAPPING, **common})
