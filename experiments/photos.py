"""Real pictures through a real Caffe network, and what the re-ordered head does: `python -m experiments.photos`.

Needs the reference data beside the project (SqueezeNet v1.0, 300 ImageNet photos, a photo of a cat and a dog). Nothing
of it is kept but numbers, in `docs/results/photos.md`; figures go to `out/photos`, outside of the repository.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer
from PIL import Image
from rich.progress import track

import excitation as eb
from excitation._files import write_whole
from excitation.cli._results import digest
from excitation.data._pictures import read_picture
from excitation.models import LoadedModel
from excitation.views import FigureRow, Panel, figure, find_peak, save_figure

Resize = Literal["squash", "shortest"]
RESIZES: dict[Resize, str] = {"squash": "squashed to 227 x 227", "shortest": "shortest side 227"}
HEADS = {"own": "classifies, then pools", "re-ordered": "pools, then classifies"}
PETS = {"cat": 281, "dog": 207}
"""ImageNet's tabby and golden retriever."""
LAYER = "pool4"
BEST = 5


def main(
    shared: Annotated[Path, typer.Option(help="The reference data.")] = Path("../shared"),
    work: Annotated[Path, typer.Option(help="Figures, and where an interrupted run goes on.")] = Path("out/photos"),
    out: Annotated[Path, typer.Option(help="The tables.")] = Path("docs/results/photos.md"),
) -> None:
    """Measure SqueezeNet's top-1 and top-5, with both heads and both ways to resize; draw a cat and a dog."""
    folder = shared / "models" / "squeezenet_v1.0"
    weights = folder / "squeezenet_v1.0.caffemodel"
    if not weights.is_file():
        raise SystemExit(f"{weights} is absent: this needs the reference data; say where it is with --shared.")
    own = eb.load_model(f"caffe:{folder / 'deploy.prototxt'},{weights}")
    heads = {"own": own, "re-ordered": eb.pool_first(own)}
    samples = shared / "data" / "imagenet_sample"
    with (samples / "labels.csv").open(newline="") as file:
        rows = [(samples / "images" / row["file"], int(row["class_index"])) for row in csv.DictReader(file)]
    labels = np.array([label for _, label in rows])
    mark = digest(weights)[:12]
    best = {
        (head, resize): _best_classes(
            f"{head}, {resize}",
            _resizing(loaded, resize),
            [path for path, _ in rows],
            work / f"{mark}-{head}-{resize}.npy",
        )
        for resize in RESIZES
        for head, loaded in heads.items()
    }
    lines = [
        "# SqueezeNet v1.0 on photos",
        "",
        f"`make photos`: the Caffe network (weights {mark}) on {len(rows)} ImageNet photos, one a class;"
        f" excitation {eb.__version__}, torch {torch.__version__}, single precision.",
        "",
        "| pictures | head | top-1, % | top-5, % | same first class as the own head, % |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (head, resize), found in best.items():
        hits = found == labels[:, None]
        same = found[:, 0] == best["own", resize][:, 0]
        numbers = " | ".join(f"{100 * share:.1f}" for share in (hits[:, 0].mean(), hits.any(1).mean(), same.mean()))
        lines.append(f"| {RESIZES[resize]} | {HEADS[head]} | {numbers} |")
    lines += ["", f"A 95 % interval is up to {100 * 1.96 * (0.25 / len(rows)) ** 0.5:.0f} points either way.", ""]
    lines += _pets(heads, shared / "data" / "photos" / "catdog.jpg", work)
    write_whole(out, "\n".join(lines) + "\n")
    print(out.read_text())


def _resizing(loaded: LoadedModel, resize: Resize) -> LoadedModel:
    return dataclasses.replace(loaded, preprocessing=dataclasses.replace(loaded.preprocessing, resize=resize))


def _best_classes(name: str, loaded: LoadedModel, paths: list[Path], place: Path) -> np.ndarray:
    """The classes with the highest scores for each photo, `(photo, rank)`; read back if they are there already."""
    if place.is_file():
        return np.load(place)
    found = []
    for path in track(paths, name):
        images = loaded.preprocessing(read_picture(path))[None]
        with torch.no_grad():
            found.append(loaded.model(images).flatten().topk(BEST).indices.numpy())
    buffer = io.BytesIO()
    np.save(buffer, np.stack(found))
    write_whole(place, buffer.getvalue())
    return np.stack(found)


def _pets(heads: dict[str, LoadedModel], photo: Path, work: Path) -> list[str]:
    """Draw the maps of cat and dog with both heads; a table of where their mass lies."""
    picture = read_picture(photo)
    lines = [
        f"Cat on the left, dog on the right (`catdog.jpg`), maps at `{LAYER}`, shortest side 227: share of the map in"
        " the left half, and its peak in the photo's pixels.",
        "",
        f"| head | map | {' | '.join(f'{name}, % left | peak' for name in PETS)} |",
        f"| --- | --- | {' | '.join('--- | ---' for _ in PETS)} |",
    ]
    rows = []
    for head, loaded in heads.items():
        images = loaded.preprocessing(picture)[None]
        layer = LAYER if head == "own" else f"model.{LAYER}"
        panels = []
        for kind, contrast in (("MWP", {}), ("c-MWP", {"method": "c-mwp"})):
            maps = eb.explain(loaded, images, list(PETS.values()), layer=layer, **contrast).maps[0]
            panels += [Panel(item, f"{kind}, {name}") for name, item in zip(PETS, maps, strict=True)]
            lines.append(f"| {HEADS[head]} | {kind} | {' | '.join(_where(item, picture) for item in maps)} |")
        rows.append(FigureRow(picture, panels, HEADS[head]))
    save_figure(figure(rows, peaks=True), work / "catdog.png")
    return lines


def _where(attention: torch.Tensor, picture: Image.Image) -> str:
    peak = find_peak(attention, (picture.height, picture.width))
    left = attention[:, : attention.shape[1] // 2].sum() / attention.sum()
    return f"{100 * float(left):.0f} | {peak or 'none'}"


if __name__ == "__main__":
    typer.run(main)
