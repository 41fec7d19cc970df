"""How far maps in half precision are from those in float64: what is left of a map when its network computes coarsely.

Nothing is timed. The networks with random weights are shown noise; the trained ones are shown what they were made for.
"""

from __future__ import annotations

import copy
import csv
import dataclasses
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import nn

import excitation as eb
from excitation.data._pictures import read_picture
from excitation.data.symbols import make_scene
from experiments.speed.networks import Choice, chain
from experiments.speed.timing import Ratio

Precision = Literal["float32", "bfloat16", "float16", "bfloat16 by autocast", "float16 by autocast"]

PRECISIONS: dict[Precision, tuple[torch.dtype, torch.dtype | None]] = {
    "float32": (torch.float32, None),
    "bfloat16": (torch.bfloat16, None),
    "float16": (torch.float16, None),
    "bfloat16 by autocast": (torch.float32, torch.bfloat16),
    "float16 by autocast": (torch.float32, torch.float16),
}
"""By name: what weights and images are kept in, and what autocast computes in."""

SHARED = Path("../shared")
Found = tuple[dict[str, Ratio], dict[str, str]]
"""Rows, and why some refused."""

IMAGES = 4
SHOWN = 8
"""Pictures a trained network is shown."""

FORMAT = (160, 240)
"""Height and width of the symbol world's scenes that are taken: a batch has one size."""


@dataclasses.dataclass(frozen=True)
class Errors:
    """Of each map, against the same map in float64.

    Attributes:
        largest: difference anywhere, over the exact map's largest absolute value.
        mass: difference of the sums, over the exact map's absolute sum.
        correlation: over positions.
        moved: cells between the two maxima, in the direction in which they are farther apart.
    """

    largest: list[float]
    mass: list[float]
    correlation: list[float]
    moved: list[float]


def in_precision(
    precision: Precision, model: nn.Module, images: torch.Tensor, targets: Any, **options: Any
) -> list[torch.Tensor]:
    """`explain` with a copy of the network and its images in a precision; one map `(height, width)` a target."""
    own, cast = PRECISIONS[precision]
    converted = copy.deepcopy(model).to(own)
    with torch.autocast(images.device.type, dtype=cast, enabled=cast is not None):
        maps = eb.explain(converted, images.to(own), targets, **options).per_image()
    return [one for image in maps for one in image]


def errors(found: Iterable[torch.Tensor], exact: Iterable[torch.Tensor]) -> Errors:
    """Compare maps one by one; those that are empty in float64 say nothing and are left out."""
    made = Errors([], [], [], [])
    for one, true in zip(found, exact, strict=True):
        size = true.abs().max()
        if size == 0:
            continue
        one = one.to(true)
        made.largest.append(float((one - true).abs().max() / size))
        made.mass.append(float((one.sum() - true.sum()).abs() / true.abs().sum()))
        made.correlation.append(_correlation(one, true))
        (y, x), (v, u) = (divmod(int(item.argmax()), item.shape[1]) for item in (one, true))
        made.moved.append(float(max(abs(y - v), abs(x - u))))
    return made


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def precision_rows(model: nn.Module, images: torch.Tensor, targets: Any, layer: str) -> Found:
    """Errors of MWP and of signed c-MWP in each precision: the median map, the least and the most; why some refused."""
    rows: dict[str, Ratio] = {}
    refused: dict[str, str] = {}
    for name, options in {"MWP": {}, "c-MWP": {"method": "c-mwp", "signed": True}}.items():
        wide = eb.explain(copy.deepcopy(model).double(), images.double(), targets, layer=layer, **options).maps  # type: ignore[arg-type]
        exact = [one for image in wide for one in image]
        for precision in PRECISIONS:
            try:
                maps = in_precision(precision, model, images, targets, layer=layer, **options)
            except eb.ExcitationError as error:
                refused[f"{name}, {precision}"] = str(error)
                continue
            found = errors(maps, exact)
            for what, numbers in vars(found).items():
                rows[f"{name}, {precision}, {what}"] = _all(numbers)
            rows[f"{name}, {precision}, maps whose maximum moved"] = _all([float(sum(n > 0 for n in found.moved))])
            rows[f"{name}, {precision}, maps"] = _all([float(len(found.moved))])
    return rows, refused


def _all(numbers: list[float]) -> Ratio:
    ordered = sorted(numbers)
    return Ratio(ordered[len(ordered) // 2], ordered[0], ordered[-1])


def random_network(choice: Choice, *, size: int) -> Found:
    """A network with random weights on noise, for its two highest scores."""
    model = chain(choice.name)
    torch.manual_seed(0)
    images = torch.randn(IMAGES, 3, size, size)
    return precision_rows(model, images, _best(model, images), choice.layer.replace(".", "_"))


def _best(model: nn.Module, images: torch.Tensor) -> list[list[int]]:
    with torch.no_grad():
        return model(images).topk(2).indices.tolist()  # type: ignore[no-any-return]


def symbol_scenes(count: int) -> tuple[eb.LoadedModel, torch.Tensor, list[list[int]]]:
    """The bundled classifier, the first scenes of its world in the commonest format, and the symbols in each."""
    loaded = eb.load_model("symbols")
    images, targets = [], []
    for index in itertools.count():
        scene = make_scene(index, 0, "test")
        image = loaded.preprocessing(Image.fromarray(scene.image))
        if image.shape[1:] == FORMAT:
            images.append(image)
            targets.append(sorted({instance.symbol for instance in scene.instances}))
        if len(images) == count:
            break
    return loaded, torch.stack(images), targets


def symbol_network() -> Found:
    """The bundled classifier on scenes of its world, for every symbol that is there."""
    loaded, images, targets = symbol_scenes(SHOWN)
    assert isinstance(loaded.default_layer, str)
    return precision_rows(loaded.model, images, targets, loaded.default_layer)


def has_reference() -> bool:
    """Whether the reference data lies beside the project."""
    return (SHARED / "models" / "squeezenet_v1.0").is_dir()


def trained_squeezenet() -> Found:
    """SqueezeNet v1.0, which pools and then classifies, on ImageNet's photos, for each photo's own class."""
    folder = SHARED / "models" / "squeezenet_v1.0"
    loaded = eb.load_model(f"caffe:{folder / 'deploy.prototxt'},{folder / 'squeezenet_v1.0.caffemodel'}")
    model = eb.pool_first(loaded.model)
    see = dataclasses.replace(loaded.preprocessing, resize="squash")
    samples = SHARED / "data" / "imagenet_sample"
    with (samples / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:: 300 // SHOWN][:SHOWN]
    images = torch.stack([see(read_picture(samples / "images" / row["file"])) for row in rows])
    return precision_rows(model, images, [[int(row["class_index"])] for row in rows], "model.pool4")
