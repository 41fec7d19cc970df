"""Prepares pictures for a network and computes explanations. Commands call the engine only through this module."""

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
    """A picture and the preprocessed network input."""

    path: Path
    picture: Image.Image
    values: Float[torch.Tensor, "channels height width"]


def prepare(loaded: LoadedModel, path: Path) -> Prepared:
    """Read and preprocess a picture.

    Raises:
        PictureError: the picture cannot be read, or the preprocessing does not support its shape.
    """
    picture = read_picture(path)
    try:
        return Prepared(path, picture, _fit(loaded, loaded.preprocessing(picture)))
    except ValueError as error:
        raise PictureError(f"{path}: {error}") from error


def in_batches(
    loaded: LoadedModel, paths: Iterable[Path], size: int, refused: Callable[[PictureError], None]
) -> Iterator[list[Prepared]]:
    """Prepare pictures and group them into batches by shape.

    Args:
        loaded: the network with its preprocessing.
        paths: picture files.
        size: number of pictures in a full batch.
        refused: function that is called for each picture that cannot be read. The picture is skipped.

    Yields:
        Batches of one to `size` inputs of one shape. Every picture occurs once.
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
        # This bounds the memory and the loss at an interruption if all pictures have different shapes.
        if len(waiting[fullest]) == size or sum(map(len, waiting.values())) >= 4 * size:
            yield waiting.pop(fullest)
    yield from waiting.values()


@dataclass(frozen=True)
class Explained:
    """The explanation of a batch.

    Attributes:
        layer: layer of the maps.
        maps: raw maps, with negative values if requested.
        scores: score of each target.
        names: readable names of the targets of each image.
        warnings: messages of the warnings.
    """

    layer: str
    maps: Float[torch.Tensor, "image target height width"]
    scores: Float[torch.Tensor, "image target"]
    names: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...]


def explain_batch(loaded: LoadedModel, batch: Sequence[Prepared], query: Query) -> Explained:
    """Compute the maps of pictures of one shape.

    Raises:
        ExcitationError: see `excitation.explain`.
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
    """Return the network's score of each target, and the names of the targets.

    Raises:
        TargetError: a target is not a class of the network.
    """
    with torch.inference_mode():
        scores = pick_scores(loaded.model(item.values[None]), 1, loaded.output).float()
        targets = read_targets(query.classes, 1)
        found = target_scores(targets, scores, loaded.class_names)[0].cpu()
        return found, target_labels(targets, scores, loaded.class_names)[0]


def list_layers_of(loaded: LoadedModel, picture: Image.Image) -> list[dict[str, Any]]:
    """Return the layers of a network for a picture, as dictionaries."""
    images = _fit(loaded, loaded.preprocessing(picture))[None]
    found = [dataclasses.asdict(info) for info in list_layers(loaded.model, images, output=loaded.output)]
    return [{"layer": info.pop("name"), **info} for info in found]


def _fit(loaded: LoadedModel, values: torch.Tensor) -> torch.Tensor:
    """Move values to the device and precision of the network's weights."""
    weight = next((item for item in loaded.model.parameters() if item.is_floating_point()), None)
    return values if weight is None else values.to(weight)
