"""Pictures as inputs: preprocessing by the model, batching by size, and restoring the order."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from .._errors import ExcitationError
from ..core import Explanation, Frame, Targets, list_pictures, read_pictures, read_targets
from ..models import LoadedModel


def is_pictures(images: object) -> bool:
    """Whether the images are pictures rather than tensors."""
    if isinstance(images, list):
        return bool(images) and not isinstance(images[0], torch.Tensor)
    return isinstance(images, (Image.Image, str, os.PathLike)) or (
        isinstance(images, np.ndarray) and images.dtype == np.uint8
    )


def _loaded(model: torch.nn.Module | LoadedModel) -> LoadedModel:
    if not isinstance(model, LoadedModel):
        raise ExcitationError(
            "images are pictures, but the model is a module without preprocessing; give a preprocessed"
            " tensor, or LoadedModel(model, spec, Preprocessing(...))."
        )
    return model


def one_batch(model: torch.nn.Module | LoadedModel, images: Any) -> Any:
    """Return tensors unchanged, and pictures as one preprocessed batch.

    Raises:
        ExcitationError: the preprocessed pictures have different sizes, or the model has no preprocessing.
    """
    if not is_pictures(images):
        return images
    loaded = _loaded(model)
    values = [_prepared(loaded, picture) for picture in read_pictures(images)]
    sizes = {tuple(item.shape) for item in values}
    if len(sizes) > 1:
        raise ExcitationError(
            f"the pictures have different sizes after preprocessing, {sorted(sizes)}; give pictures of one"
            f" size at a time."
        )
    return torch.stack(values)


def _prepared(loaded: LoadedModel, picture: Image.Image) -> torch.Tensor:
    values = loaded.preprocessing(picture)
    weight = next((item for item in loaded.model.parameters() if item.is_floating_point()), None)
    return values if weight is None else values.to(weight)


def explain_pictures(
    explain: Callable[[torch.Tensor, Any], Explanation],
    model: torch.nn.Module | LoadedModel,
    images: Any,
    targets: Targets,
) -> Explanation:
    """Explain pictures in one batch per preprocessed size; the result has the order of the pictures.

    Raises:
        ExcitationError: an error of `explain`; or the model has no preprocessing, or a picture cannot be read.
    """
    loaded = _loaded(model)
    given = list_pictures(images)
    pictures = read_pictures(given)
    values = [_prepared(loaded, picture) for picture in pictures]
    each = read_targets(targets, len(pictures))
    alike = all(items is each[0] for items in each)
    frames = [_frame(loaded, picture) for picture in pictures]
    batches: dict[tuple[int, ...], list[int]] = {}
    for i, item in enumerate(values):
        batches.setdefault(tuple(item.shape), []).append(i)
    explanations = [
        explain(torch.stack([values[i] for i in members]), each[0] if alike else [each[i] for i in members])
        for members in batches.values()
    ]
    order = [i for members in batches.values() for i in members]
    whole = explanations[0] if len(explanations) == 1 else _joined(explanations, order)
    return replace(whole, frames=tuple(frames), pictures=tuple(given))


def _frame(loaded: LoadedModel, picture: Image.Image) -> Frame:
    size = (picture.height, picture.width)
    box = loaded.preprocessing.field_of_view(size)
    return Frame(size, None if box == (0.0, 0.0, float(size[1]), float(size[0])) else box)


def _joined(explanations: Sequence[Explanation], order: Sequence[int]) -> Explanation:
    """Join the explanations of several batches, with the images in the order of the pictures."""
    first = explanations[0]
    back = sorted(range(len(order)), key=order.__getitem__)
    most = max(len(names) for item in explanations for names in item.targets)

    def rows(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        every = [
            torch.cat([row, row.new_zeros((most - len(row), *row.shape[1:]))]) for tensor in tensors for row in tensor
        ]
        return [every[i] for i in back]

    by_layer: dict[str, Any] = {}
    for k, name in enumerate(first.by_layer):
        # The name of the default layer can depend on the size of the images.
        maps = rows([list(item.by_layer.values())[k] for item in explanations])  # type: ignore[misc]
        by_layer[name] = torch.stack(maps) if len({item.shape for item in maps}) == 1 else maps
    names = [row for item in explanations for row in item.targets]
    return replace(
        first,
        by_layer=by_layer,
        targets=tuple(names[i] for i in back),
        scores=torch.stack(rows([item.scores for item in explanations])),
        top=None if first.top is None else torch.stack(rows([item.top for item in explanations])),  # type: ignore[misc]
        share={
            name: torch.stack(rows([list(item.share.values())[k] for item in explanations]))
            for k, name in enumerate(first.share)
        },
        is_cut={
            name: all(list(item.is_cut.values())[k] for item in explanations) for k, name in enumerate(first.is_cut)
        },
        measure=None,
    )
