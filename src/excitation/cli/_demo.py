"""The second part of `excitation demo`: a crowded scene with MWP and c-MWP maps of all its objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from .. import Explanation, balance, explain
from .._files import whole_file
from ..data._pictures import write_picture
from ..data.symbols import Instance, Scene, make_scene
from ..evaluation import TOLERANCE, is_hit
from ..models.symbols import load_symbols
from ..views import FigureRow, Panel, figure, find_peak, save_figure

METHODS = {"MWP": "mwp", "c-MWP": "c-mwp"}
LEAST, MOST = 4, 6  # different symbols in a crowded picture
VISIBLE = 0.025  # smallest share of the picture


def crowded_scene(seed: int) -> Scene:
    """Return the first scene of a world with four to six different symbols, all of them of sufficient size."""
    index = 0
    while True:
        scene = make_scene(index, seed, "test")
        symbols = [instance.symbol for instance in scene.instances]
        readable = all(instance.share >= VISIBLE for instance in scene.instances)
        if LEAST <= len(symbols) <= MOST and len(set(symbols)) == len(symbols) and readable:
            return scene
        index += 1


def run_demo(seed: int, out: Path) -> Iterator[str]:
    """Explain a scene and write `picture.png`, `maps.png` and `maps.npz`.

    Args:
        seed: seed of the scene.
        out: folder for the files. Existing files are replaced.

    Yields:
        Lines of the output.
    """
    scene = crowded_scene(seed)
    loaded = load_symbols()
    picture = Image.fromarray(scene.image)
    images = loaded.preprocessing(picture)[None]
    targets = [instance.symbol for instance in scene.instances]
    found = {name: explain(loaded, images, targets, method=method) for name, method in METHODS.items()}
    mass = balance(loaded, images, targets, layer="input")
    shares = torch.sigmoid(found["MWP"].scores[0]).tolist()
    size = (picture.height, picture.width)
    peaks = {name: [find_peak(attention, size) for attention in result.maps[0]] for name, result in found.items()}
    hits = {
        name: [
            peak is not None and is_hit(peak, instance.mask)
            for peak, instance in zip(points, scene.instances, strict=True)
        ]
        for name, points in peaks.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    write_picture(out / "picture.png", picture)
    save_figure(draw(scene, found, hits), out / "maps.png")
    with whole_file(out / "maps.npz") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            **{name: result.maps[0].numpy() for name, result in found.items()},
            objects=np.array([_called(instance) for instance in scene.instances]),
            probabilities=np.array(shares),
            boxes=np.array([instance.box for instance in scene.instances]),
            layer=np.array(found["MWP"].layer),
            seed=np.array(seed),
        )
    yield f"scene {scene.index} of world {seed}, explained at {found['MWP'].layer}"
    yield f"{'object':24} probability  {'MWP points to':>16}  {'c-MWP points to':>17}  {'kept':>8}  {'lost':>8}"
    for i, instance in enumerate(scene.instances):
        verdicts = [f"{peaks[name][i] or 'nowhere'!s:>11} {'hit ' if hits[name][i] else 'miss'}" for name in METHODS]
        sums = f"{_number(mass.arrived[0, i])}  {_number(mass.lost[0, i])}"
        yield f"{_called(instance):24} {shares[i]:11.3f}  {verdicts[0]}  {verdicts[1]:>17}  {sums}"
    yield (
        f"a hit is within {TOLERANCE} pixels of the object; "
        + ", ".join(f"{name} {sum(hits[name])} of {len(targets)}" for name in METHODS)
    )
    parts = (mass.top, mass.arrived, mass.lost, mass.bypassed)
    top, arrived, lost, past = (_number(part.mean()) for part in parts)
    yield "kept is the mass of MWP that reaches the pixels; all objects' mean:"
    yield f"on top {top} = arrived {arrived} + lost {lost} + bypassed {past}"
    yield f"figure {out / 'maps.png'}, raw maps {out / 'maps.npz'}, picture {out / 'picture.png'}"


def _number(share: torch.Tensor) -> str:
    return f"{round(float(share), 6) + 0.0:.6f}"  # avoids "-0.000000"


def draw(scene: Scene, found: dict[str, Explanation], hits: dict[str, list[bool]]) -> Figure:
    """Draw the picture with the boxes of its objects, and the maps: one row per method, one column per object."""
    rows = []
    for name, result in found.items():
        panels = [
            Panel(attention, _called(instance), "hit" if hit else "miss")
            for attention, instance, hit in zip(result.maps[0], scene.instances, hits[name], strict=True)
        ]
        rows.append(FigureRow(_with_boxes(scene), panels, name))
    return figure(rows, mark_peaks=True)


def _with_boxes(scene: Scene) -> Image.Image:
    scale = 3  # on a small picture, even thin lines would cover the objects
    large = Image.fromarray(scene.image).resize(
        (scene.image.shape[1] * scale, scene.image.shape[0] * scale), Image.Resampling.BICUBIC
    )
    pen = ImageDraw.Draw(large)
    for instance in scene.instances:
        x0, y0, x1, y1 = (side * scale for side in instance.box)
        pen.rectangle((x0 - 1, y0 - 1, x1, y1), outline="black", width=4)
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline="white", width=2)
    return large


def _called(instance: Instance) -> str:
    return f"{instance.colour_name} {instance.name}"
