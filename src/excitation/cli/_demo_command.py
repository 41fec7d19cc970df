"""`excitation demo`: a photo explained by a real network, then a crowded picture of the symbol world."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
import typer
from PIL import Image, ImageDraw

from .._errors import MassLossWarning
from .._files import whole_file
from .._maps import find_peak
from ..core import Explanation
from ..data._pictures import read_picture, write_picture
from ..explainers import balance, explain
from ..models import LoadedModel, ModelError, load_model
from ._console import answer, report_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..data.symbols import Instance, Scene

PHOTO_METHODS = {"MWP": "mwp", "c-MWP": "c-mwp", "r-MWP": "r-mwp"}
BUNDLED, BUNDLED_TARGETS = "coffee.jpg", ("espresso", "cup", "wooden spoon")
LIKELIEST = 3
"""Number of classes that are explained in a photo of the user: those with the highest scores."""

SCENE_METHODS = {"MWP": "mwp", "c-MWP": "c-mwp"}
LEAST, MOST = 4, 6  # different symbols in a crowded picture
VISIBLE = 0.025  # smallest share of the picture


def demo_command(
    photo: Annotated[
        Path | None,
        typer.Option("--photo", metavar="FILE", help="Explain the three classes with the highest scores in this photo.",
                     show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the symbol picture.")] = 0,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for all files.")] = Path("demo"),
) -> None:  # fmt: skip
    """Explain a photo and a crowded picture of the symbol world, with MWP and contrastive MWP.

    The photo is explained by EfficientNet-Lite0 (extra lite): three classes with MWP, c-MWP and r-MWP. The symbol world
    needs no extra; --photo omits it. Writes figures (PNG) and raw maps (NPZ). Prints the probability of each class and
    the maximum of each map; for each symbol, whether the maximum is on it; and the balance of probability mass.
    Downloads nothing.
    """
    try:
        loaded = load_model("lite")
    except ModelError as error:
        if photo is not None:
            raise
        report_line(f"the photo is skipped: {error}")
    else:
        answer(explain_photo(loaded, photo, out))
    if photo is None:
        answer(explain_scene(seed, out))


def explain_photo(loaded: LoadedModel, photo: Path | None, out: Path) -> Iterator[str]:
    """Explain a photo and write `photo.png` and `photo.npz`.

    Args:
        loaded: a network with class names.
        photo: the picture file. Its most probable classes are explained. The bundled photo if `None`.
        out: folder for the files. Existing files are replaced.

    Yields:
        Lines of the output.

    Raises:
        PictureError: the photo cannot be read.
    """
    from ..views import FigureRow, Panel, figure, save_figure

    if photo is None:
        with as_file(files(__package__) / BUNDLED) as path:
            picture = read_picture(path)
    else:
        picture = read_picture(photo)
    images = loaded.preprocessing(picture)[None]
    with torch.no_grad():
        shares = loaded.model(images)[0].softmax(0)
    names = loaded.class_names
    assert names is not None
    targets: Sequence[int] = (
        shares.topk(LIKELIEST).indices.tolist() if photo else [names.index(target) for target in BUNDLED_TARGETS]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MassLossWarning)  # the lines below contain the mass
        found = {name: explain(loaded, images, targets, method=method) for name, method in PHOTO_METHODS.items()}
    maps = {name: result.maps[0] for name, result in found.items()}
    layer = found["MWP"].layer
    size = (picture.height, picture.width)
    box = loaded.preprocessing.field_of_view(size)
    rows = [
        FigureRow(
            picture,
            [
                Panel(attention, names[target], f"probability {float(shares[target]):.3f}")
                for attention, target in zip(of_method, targets, strict=True)
            ],
            name,
            box,
        )
        for name, of_method in maps.items()
    ]
    out.mkdir(parents=True, exist_ok=True)
    save_figure(figure(rows, peaks=True), out / "photo.png")
    with whole_file(out / "photo.npz") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            **{name: of_method.numpy() for name, of_method in maps.items()},
            classes=np.array(targets),
            names=np.array([names[target] for target in targets]),
            probabilities=shares[list(targets)].numpy(),
            layer=np.array(layer),
        )
    yield f"photo {photo or 'of a cup of coffee'}, explained by {loaded.spec} at {layer}"
    yield f"{'class':24} probability  {'kept':>8}" + "".join(f"  {name + ' points to':>18}" for name in PHOTO_METHODS)
    for i, target in enumerate(targets):
        peaks = [find_peak(of_method[i], size, box=box) or "nowhere" for of_method in maps.values()]
        kept = float(maps["MWP"][i].sum())
        yield f"{names[target]:24} {float(shares[target]):11.3f}  {kept:8.3f}" + "".join(
            f"  {peak!s:>18}" for peak in peaks
        )
    yield "kept is the mass of MWP that reaches this layer; the rest ended at neurons without excitatory inputs"
    yield f"figure {out / 'photo.png'}, raw maps {out / 'photo.npz'}"


def crowded_scene(seed: int) -> Scene:
    """Return the first scene of a world with four to six different symbols, all of them of sufficient size."""
    from ..data.symbols import make_scene

    index = 0
    while True:
        scene = make_scene(index, seed, "test")
        symbols = [instance.symbol for instance in scene.instances]
        readable = all(instance.share >= VISIBLE for instance in scene.instances)
        if LEAST <= len(symbols) <= MOST and len(set(symbols)) == len(symbols) and readable:
            return scene
        index += 1


def explain_scene(seed: int, out: Path) -> Iterator[str]:
    """Explain a scene and write `picture.png`, `maps.png` and `maps.npz`.

    Args:
        seed: seed of the scene.
        out: folder for the files. Existing files are replaced.

    Yields:
        Lines of the output.
    """
    from ..evaluation import TOLERANCE, is_hit
    from ..models.symbols import load_symbols
    from ..views import save_figure

    scene = crowded_scene(seed)
    loaded = load_symbols()
    picture = Image.fromarray(scene.image)
    images = loaded.preprocessing(picture)[None]
    targets = [instance.symbol for instance in scene.instances]
    found = {name: explain(loaded, images, targets, method=method) for name, method in SCENE_METHODS.items()}
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
    save_figure(_draw(scene, found, hits), out / "maps.png")
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
        verdicts = [
            f"{peaks[name][i] or 'nowhere'!s:>11} {'hit ' if hits[name][i] else 'miss'}" for name in SCENE_METHODS
        ]
        sums = f"{_number(mass.arrived[0, i])}  {_number(mass.lost[0, i])}"
        yield f"{_called(instance):24} {shares[i]:11.3f}  {verdicts[0]}  {verdicts[1]:>17}  {sums}"
    yield (
        f"a hit is within {TOLERANCE} pixels of the object; "
        + ", ".join(f"{name} {sum(hits[name])} of {len(targets)}" for name in SCENE_METHODS)
    )
    parts = (mass.top, mass.arrived, mass.lost, mass.bypassed)
    top, arrived, lost, past = (_number(part.mean()) for part in parts)
    yield "kept is the mass of MWP that reaches the pixels; all objects' mean:"
    yield f"on top {top} = arrived {arrived} + lost {lost} + bypassed {past}"
    yield f"figure {out / 'maps.png'}, raw maps {out / 'maps.npz'}, picture {out / 'picture.png'}"


def _number(share: torch.Tensor) -> str:
    return f"{round(float(share), 6) + 0.0:.6f}"  # avoids "-0.000000"


def _draw(scene: Scene, found: dict[str, Explanation], hits: dict[str, list[bool]]) -> Figure:
    """Draw the picture with the boxes of its objects, and the maps: one row per method, one column per object."""
    from ..views import FigureRow, Panel, figure

    rows = []
    for name, result in found.items():
        panels = [
            Panel(attention, _called(instance), "hit" if hit else "miss")
            for attention, instance, hit in zip(result.maps[0], scene.instances, hits[name], strict=True)
        ]
        rows.append(FigureRow(_with_boxes(scene), panels, name))
    return figure(rows, peaks=True)


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
