"""What a network takes for a thing that is not there (the paper's Fig. 5, bottom).

In training, pairs of symbols nearly always appear together; here one of them is missing, and the network says it sees
both. Its attention shows why: `python -m experiments.figures.cooccurrence`.
"""

from __future__ import annotations

import torch
from PIL import Image

from excitation import explain, explain_full
from excitation.data.symbols import PAIRS, SYMBOL_NAMES, Scene, make_scene
from excitation.networks.symbols import load_symbols
from excitation.views import FigureRow, Panel, figure, save_figure
from experiments.figures.places import FIGURES

ROWS = 3
LARGE = 0.08  # share of the picture


def lonely_scenes(seed: int = 0) -> list[tuple[Scene, str, str]]:
    """The first scene for each of three pairs in which one member is large and the other absent, with their names."""
    found: dict[tuple[int, int], tuple[Scene, str, str]] = {}
    index = 0
    while len(found) < ROWS:
        scene = make_scene(index, seed, "test")
        index += 1
        for pair in PAIRS:
            members = [item for item in scene.instances if item.symbol in pair]
            if pair not in found and len(members) == 1 and members[0].share > LARGE and len(scene.instances) > 2:
                absent = pair[0] if members[0].symbol == pair[1] else pair[1]
                found[pair] = scene, members[0].name, SYMBOL_NAMES[absent]
                break
    return list(found.values())


def main() -> None:
    """Draw, for each scene, the maps of the symbol that is there and of its absent partner."""
    loaded = load_symbols()
    rows = []
    for scene, present, absent in lonely_scenes():
        picture = Image.fromarray(scene.image)
        images = loaded.preprocessing(picture)[None]
        probabilities = torch.sigmoid(explain_full(loaded, images, [present, absent]).scores[0])
        maps = explain(loaded, images, [present, absent], contrast="dual")[0]
        panels = [
            Panel(maps[0], present, f"p = {float(probabilities[0]):.2f}, it is there"),
            Panel(maps[1], absent, f"p = {float(probabilities[1]):.2f}, there is none"),
        ]
        rows.append(FigureRow(picture, panels))
    place = FIGURES / "cooccurrence.png"
    save_figure(figure(rows, title="c-MWP", mark_peaks=True), place)
    print(place)


if __name__ == "__main__":
    main()
