"""The images of a sanity check, each with its target class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image

from ..._errors import ExcitationError
from ...core import pick_scores
from ...data._dataset import AnnotatedImages
from ...data._pictures import read_picture
from ...models._loaded import LoadedModel
from .._classes import classes_of
from .._pointing import region


@dataclass(frozen=True)
class Subject:
    """One image and its target class.

    Attributes:
        name: name of the image.
        picture: the image, mode `"RGB"`.
        values: the network input.
        target: class index of the target.
        scores: scores of all classes.
        pixels: mask of the target in the picture; `None` if unknown.
    """

    name: str
    picture: Image.Image
    values: Float[torch.Tensor, "1 channels height width"]
    target: int
    scores: Float[torch.Tensor, " classes"]
    pixels: Bool[np.ndarray, "height width"] | None = None


def subjects_of_pictures(model: LoadedModel, pictures: Mapping[Path, Path]) -> Iterator[Subject]:
    """Yield pictures, each with the most probable class as its target.

    Args:
        model: the network.
        pictures: the name of each picture, by path.

    Raises:
        PictureError: a picture cannot be read.
    """
    for path, name in pictures.items():
        picture = read_picture(path)
        values, scores = _scored(model, picture)
        yield Subject(str(name), picture, values, int(scores.argmax()), scores)


def subjects_of_data(model: LoadedModel, data: AnnotatedImages, count: int) -> Iterator[Subject]:
    """Yield annotated images, each with its most probable category as its target.

    Images that cannot be read, or without a category that is a class of the network, are omitted and recorded in
    `data.problems`.

    Args:
        model: the network.
        data: annotated images. Their categories are classes of the network (see `classes_of`).
        count: maximum number of images.

    Raises:
        ExcitationError: no category is a class of the network, or no image can be used.
    """
    classes = classes_of(model, data, None, model.preprocessing)
    yielded = 0
    for image in data:
        if yielded == count:
            return
        known = {index: name for name in image.categories if image.of(name) for index in classes(name)}
        picture = data.read(image) if known else None
        if picture is None:
            data.problems.report(
                image.path, "has no category that is a class of the network, or no readable picture; image omitted."
            )
            continue
        values, scores = _scored(model, picture)
        target = max(known, key=lambda index: float(scores[index]))
        yielded += 1
        yield Subject(image.id, picture, values, target, scores, region(image, known[target], data.truth))
    if not yielded:
        raise ExcitationError(
            f"{data.name} has no image that can be used with a category that is a class of the network."
        )


def _scored(
    model: LoadedModel, picture: Image.Image
) -> tuple[Float[torch.Tensor, "1 channels height width"], Float[torch.Tensor, " classes"]]:
    """Return the network input, and the class scores averaged over positions."""
    values = model.preprocessing(picture)[None]
    weight = next((item for item in model.model.parameters() if item.is_floating_point()), None)
    values = values if weight is None else values.to(weight)
    with torch.no_grad():
        scores = pick_scores(model.model(values), 1, model.output)
    return values, scores[0].flatten(1).mean(1) if scores.dim() > 2 else scores[0]
