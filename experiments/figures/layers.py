"""MWP through all layers (the paper's Fig. 3): `python -m experiments.figures.layers`."""

from __future__ import annotations

from PIL import Image

from excitation import explain
from excitation.models.symbols import load_symbols
from excitation.views import FigureRow, Panel, figure, save_figure
from experiments.figures.places import FIGURES, chosen_scene

LAYERS = ("inception_4c", "inception_4a", "pool3", "inception_3b", "inception_3a", "pool2", "pool1", "conv1", "input")
PER_ROW = 5


def main() -> None:
    """Draw one object's maps from the last layer down to the pixels."""
    scene = chosen_scene(["telephone", "gear"])
    loaded = load_symbols()
    picture = Image.fromarray(scene.image)
    images = loaded.preprocessing(picture)[None]
    maps = explain(loaded, images, ["telephone"], layer=list(LAYERS))
    panels = [
        Panel(
            maps[name][0, 0], name, f"{maps[name].shape[2]} x {maps[name].shape[3]}, mass {float(maps[name].sum()):.4f}"
        )
        for name in LAYERS
    ]
    rows = [
        FigureRow(picture, panels[start : start + PER_ROW], "where is the telephone?" if start == 0 else "")
        for start in range(0, len(panels), PER_ROW)
    ]
    place = FIGURES / "layers.png"
    save_figure(figure(rows, title="MWP of one class, from the top down to the pixels"), place)
    print(f"{place}: scene {scene.index} of the test split")


if __name__ == "__main__":
    main()
