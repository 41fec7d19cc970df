"""MWP against c-MWP for two objects (the paper's Fig. 4): `python -m experiments.figures.contrast`."""

from __future__ import annotations

from PIL import Image

from excitation import explain
from excitation.models.symbols import load_symbols
from excitation.views import FigureRow, Panel, figure, save_figure
from experiments.figures.places import FIGURES, chosen_scene

NAMES = ("keyboard", "snowman")


def main() -> None:
    """Draw both objects' maps, plain and contrasted, from one scene."""
    scene = chosen_scene(NAMES)
    loaded = load_symbols()
    picture = Image.fromarray(scene.image)
    images = loaded.preprocessing(picture)[None]
    plain = explain(loaded, images, list(NAMES)).maps[0]
    contrasted = explain(loaded, images, list(NAMES), method="c-mwp").maps[0]
    panels = [
        Panel(attention, f"{kind}, {name}")
        for name, pair in zip(NAMES, zip(plain, contrasted, strict=True), strict=True)
        for kind, attention in zip(("MWP", "c-MWP"), pair, strict=True)
    ]
    place = FIGURES / "contrast.png"
    save_figure(figure([FigureRow(picture, panels)], peaks=True), place)
    print(f"{place}: scene {scene.index} of the test split")


if __name__ == "__main__":
    main()
