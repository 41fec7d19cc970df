"""How much mass c-MWP's contrast moves where features are pooled first, and where positions are classified first.

`python -m experiments.contrast_audit`: SqueezeNet v1.0 with its two heads on photos of COCO-128 (where `../shared` is
there), and the bundled classifier with its own head and as a classifier of positions on symbol scenes. Writes the table
and the figure that docs/results/real.md shows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from excitation import explain, load_caffe, to_fully_convolutional
from excitation._files import write_whole
from excitation.cli._demo_command import crowded_scene
from excitation.core._targets import Target
from excitation.data import open_data, read_mapping
from excitation.data.symbols import make_scene
from excitation.evaluation._classes import classes_of
from excitation.evaluation._running import pairs_of
from excitation.models import LoadedModel
from excitation.models.symbols import load_symbols
from excitation.views import FigureRow, Panel, figure, save_figure
from experiments.figures.places import FIGURES

SHARED = Path("../shared")
SQUEEZENET = SHARED / "models/squeezenet_v1.0"
PHOTO_LAYERS = ("fire9/concat", "pool8", "fire8/concat", "fire6/concat", "pool4")
SYMBOL_LAYERS = ("inception_4c", "inception_4b", "inception_4a", "inception_3b")
STRIDE = (16, 16)
"""Input of the bundled classifier whose last feature map has one position."""

Asked = tuple[torch.Tensor, list[Target]]


def main() -> None:
    """Draw the maps, measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--scenes", type=int, default=20)
    given = parser.parse_args()
    pooled = load_symbols()
    positions = to_fully_convolutional(pooled, STRIDE)
    draw(pooled, positions)
    rows: list[list[str]] = []
    for head, loaded, prefix in (("pooled", pooled, ""), ("score map", positions, "model.")):
        layers = {prefix + layer: layer for layer in SYMBOL_LAYERS}
        rows += _rows(f"symbols, {head}", loaded, symbols(loaded, given.scenes), layers)
    if SQUEEZENET.exists():
        for head, prototxt in (("pooled", "deploy_gapfirst.prototxt"), ("score map", "deploy.prototxt")):
            loaded = load_caffe(SQUEEZENET / prototxt, SQUEEZENET / "squeezenet_v1.0.caffemodel")
            layers = {layer: layer for layer in PHOTO_LAYERS}
            rows += _rows(f"SqueezeNet, {head}", loaded, photos(loaded, given.photos), layers)
    write_whole(Path("docs/results/real/contrast_audit.md"), _table(rows, given.photos, given.scenes))


def moved(loaded: LoadedModel, asked: Iterable[Asked], layers: Sequence[str]) -> dict[str, np.ndarray]:
    """By layer, for each pair: the absolute sum of the contrast's channel sums, and their sum.

    Both as parts of the unit's mass at the top. Had unit and dual nothing in common, the first would be 2; at each
    position of a score map that both leave with the same mass it is 0. The second is what the dual lost and the unit
    did not.
    """
    found: dict[str, list[tuple[float, float]]] = {layer: [] for layer in layers}
    for images, targets in asked:
        maps = explain(loaded, images, targets, layer=list(layers), method="c-mwp", signed=True)
        for layer, attention in maps.by_layer.items():
            sums = attention[0].flatten(1)
            found[layer] += zip(sums.abs().sum(1).tolist(), sums.sum(1).tolist(), strict=True)
    return {layer: np.array(values) for layer, values in found.items()}


def symbols(loaded: LoadedModel, count: int) -> Iterator[Asked]:
    """Test scenes and the symbols in each."""
    for index in range(count):
        scene = make_scene(index, 0, "test")
        names: list[Target] = list(dict.fromkeys(instance.name for instance in scene.instances))
        yield loaded.preprocessing(Image.fromarray(scene.image))[None].double(), names


def photos(loaded: LoadedModel, count: int) -> Iterator[Asked]:
    """Photos of COCO-128 with the categories that have classes, up to `count` that have any."""
    data = open_data(f"coco:{SHARED / 'data/coco128'}")
    mapping = read_mapping(SHARED / "data/coco128/coco_to_imagenet.json")
    classes = classes_of(loaded, data, mapping, loaded.preprocessing)
    left = count
    for item in data.ids:
        image = data.image(item)
        picture = None if image is None else data.read(image)
        if image is None or picture is None or not left:
            continue
        pairs, _ = pairs_of(image, classes)
        if pairs:
            left -= 1
            yield loaded.preprocessing(picture)[None].double(), list(pairs.values())


def _rows(
    name: str, loaded: LoadedModel, asked: Iterable[Asked], layers: Mapping[str, str]
) -> list[list[str]]:  # fmt: skip
    loaded.model.double()
    found = moved(loaded, asked, list(layers))
    loaded.model.float()
    rows = []
    for layer, values in found.items():
        low, middle, high = np.quantile(values[:, 0], (0.25, 0.5, 0.75))
        rows.append([name, layers[layer], str(len(values)), f"{middle:.2g} [{low:.2g}, {high:.2g}]",
                     f"{np.median(values[:, 1]):.2g}", str(int((values[:, 0] < 1e-9).sum()))])  # fmt: skip
    return rows


def _table(rows: Sequence[Sequence[str]], photos: int, scenes: int) -> str:
    heads = ["network, head", "layer", "pairs", "absolute sum", "sum", "pairs under 1e-9"]
    lines = [f"`python -m experiments.contrast_audit --photos {photos} --scenes {scenes}`", ""]
    lines += [
        "c-MWP before it is cut at zero, as parts of the unit's mass, in float64: median [quartiles] over pairs of"
    ]
    lines += ["the absolute sum over positions, median of the sum.", ""]
    lines += [f"| {' | '.join(heads)} |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, ""])


def draw(pooled: LoadedModel, positions: LoadedModel) -> None:
    """MWP and c-MWP of the largest symbol of a scene at two layers: the same weights, the two heads."""
    scene = crowded_scene(0)
    name = max(scene.instances, key=lambda instance: instance.share).name
    picture = Image.fromarray(scene.image)
    rows = []
    for head, loaded, prefix in (
        ("pools features, then classifies", pooled, ""),
        ("classifies positions, then pools", positions, "model."),
    ):
        images = loaded.preprocessing(picture)[None]
        panels = []
        for layer in (SYMBOL_LAYERS[0], SYMBOL_LAYERS[-1]):
            for kind, contrast in (("MWP", {}), ("c-MWP", {"method": "c-mwp"})):
                attention = explain(loaded, images, name, layer=prefix + layer, **contrast).maps[0, 0]
                mass = f"mass {float(attention.sum()):.1g}"
                panels.append(Panel(attention, f"{kind}, {layer}", mass))
        rows.append(FigureRow(picture, panels, f"{name}: {head}"))
    place = FIGURES / "score_map.png"
    save_figure(figure(rows, peaks=True), place)
    print(place)


if __name__ == "__main__":
    main()
