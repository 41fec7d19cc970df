"""The first part of `excitation demo`: a photo, explained by a network trained on ImageNet."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch

from .. import MassLossWarning, explain
from .._files import whole_file
from ..data._pictures import read_picture
from ..models import LoadedModel
from ..views import FigureRow, Panel, figure, find_peak, save_figure

METHODS = {"MWP": "mwp", "c-MWP": "c-mwp", "r-MWP": "r-mwp"}
BUNDLED, BUNDLED_TARGETS = "coffee.jpg", ("espresso", "cup", "wooden spoon")
MOST = 3
"""So many of the network's likeliest classes are explained in a photo of your own."""


def run_photo(loaded: LoadedModel, photo: Path | None, out: Path) -> Iterator[str]:
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
        shares.topk(MOST).indices.tolist() if photo else [names.index(target) for target in BUNDLED_TARGETS]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MassLossWarning)  # the lines below contain the mass
        found = {name: explain(loaded, images, targets, method=method) for name, method in METHODS.items()}
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
    save_figure(figure(rows, mark_peaks=True), out / "photo.png")
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
    yield f"{'class':24} probability  {'kept':>8}" + "".join(f"  {name + ' points to':>18}" for name in METHODS)
    for i, target in enumerate(targets):
        peaks = [find_peak(of_method[i], size, box=box) or "nowhere" for of_method in maps.values()]
        kept = float(maps["MWP"][i].sum())
        yield f"{names[target]:24} {float(shares[target]):11.3f}  {kept:8.3f}" + "".join(
            f"  {peak!s:>18}" for peak in peaks
        )
    yield "kept is the mass of MWP that reaches this layer; the rest ended at neurons without excitatory inputs"
    yield f"figure {out / 'photo.png'}, raw maps {out / 'photo.npz'}"
