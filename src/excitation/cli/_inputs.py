"""From pictures to what a network takes, and what comes back; the one place where commands call the engine."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image

from ..core import list_layers, pick_scores, read_targets, target_labels, target_scores
from ..data._pictures import PictureError, read_picture
from ..explainers import explain
from ..models._loaded import LoadedModel
from ._query import Query


@dataclass(frozen=True)
class Prepared:
    """A picture and the network's input made from it."""

    path: Path
    picture: Image.Image
    values: Float[torch.Tensor, "channels height width"]


def prepare(loaded: LoadedModel, path: Path) -> Prepared:
    """Read and preprocess a picture.

    Raises:
        PictureError: it cannot be read, or its shape does not suit the preprocessing.
    """
    picture = read_picture(path)
    try:
        return Prepared(path, picture, _fit(loaded, loaded.preprocessing(picture)))
    except ValueError as error:
        raise PictureError(f"{path}: {error}") from error


def in_batches(
    loaded: LoadedModel, paths: Iterable[Path], size: int, refused: Callable[[PictureError], None]
) -> Iterator[list[Prepared]]:
    """Prepare pictures and group them by shape, since a batch holds one shape only.

    Args:
        loaded: says how pictures are prepared.
        paths: picture files.
        size: pictures in a full batch.
        refused: is told of each picture that cannot be read; it is left out.

    Yields:
        One to `size` inputs of one shape; every picture once.
    """
    waiting: dict[tuple[int, ...], list[Prepared]] = {}
    for path in paths:
        try:
            item = prepare(loaded, path)
        except PictureError as error:
            refused(error)
            continue
        waiting.setdefault(tuple(item.values.shape), []).append(item)
        fullest = max(waiting, key=lambda shape: len(waiting[shape]))
        # Where every picture has its own shape, memory and what an interruption costs stay bounded.
        if len(waiting[fullest]) == size or sum(map(len, waiting.values())) >= 4 * size:
            yield waiting.pop(fullest)
    yield from waiting.values()


@dataclass(frozen=True)
class Explained:
    """What the engine says about a batch.

    Attributes:
        layer: where the maps were taken.
        maps: raw, signed if asked for.
        scores: of each target.
        names: of each image's targets, for people.
        warnings: sentences that were given on the way.
    """

    layer: str
    maps: Float[torch.Tensor, "image target height width"]
    scores: Float[torch.Tensor, "image target"]
    names: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...]


def explain_batch(loaded: LoadedModel, batch: Sequence[Prepared], query: Query) -> Explained:
    """Maps of pictures of one shape.

    Raises:
        ExcitationError: as `excitation.explain`.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images = torch.stack([item.values for item in batch])
        result = explain(loaded, images, query.classes, **query.settings)
    return Explained(
        result.layer,
        result.maps.cpu(),
        result.scores.cpu(),
        result.targets,
        tuple(str(item.message) for item in caught),
    )


def scores_of(
    loaded: LoadedModel, item: Prepared, query: Query
) -> tuple[Float[torch.Tensor, " target"], tuple[str, ...]]:
    """The network's score of each target, and what the targets are called.

    Raises:
        TargetError: a target is no class.
    """
    with torch.inference_mode():
        scores = pick_scores(loaded.model(item.values[None]), 1, loaded.output).float()
        targets = read_targets(query.classes, 1)
        found = target_scores(targets, scores, loaded.class_names)[0].cpu()
        return found, target_labels(targets, scores, loaded.class_names)[0]


def list_layers_of(loaded: LoadedModel, picture: Image.Image) -> list[dict[str, Any]]:
    """Layers of a network on a picture, as plain values."""
    images = _fit(loaded, loaded.preprocessing(picture))[None]
    found = [dataclasses.asdict(info) for info in list_layers(loaded.model, images, output=loaded.output)]
    return [{"layer": info.pop("name"), **info} for info in found]


def _fit(loaded: LoadedModel, values: torch.Tensor) -> torch.Tensor:
    """To the device and precision of the network's weights."""
    weight = next((item for item in loaded.model.parameters() if item.is_floating_point()), None)
    return values if weight is None else values.to(weight)
