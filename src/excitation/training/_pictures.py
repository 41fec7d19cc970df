"""Pictures as training examples: padded to squares, resized, randomly flipped and cropped, as in the paper."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image

from .._checks import check_choice, check_number
from ..data._annotations import Problems
from ..data._pictures import read_picture
from ..data._sizes import picture_size
from ..models._loaded import FILTERS, Preprocessing
from ._options import TrainingError


@dataclass(frozen=True)
class Recipe:
    """The preprocessing of pictures for training.

    Attributes:
        pad: `"mirror"` pads a picture to a square by reflection, resizes it to `side`, and crops a square of `crop`.
            `"none"` keeps the aspect ratio, resizes the shortest side to `side`, and crops the fraction `crop / side`
            of both sides. Each batch then contains pictures of one shape.
        side: size before the crop, in pixels.
        crop: size of the crop, in pixels. Crops are random in training; otherwise, the centre is used (with `"none"`,
            the whole picture).
        flip: whether half of the pictures are mirrored in training.

    Raises:
        ExcitationError: an invalid value.

    Source: Zhang et al., ECCV 2016, Sec. 4.1: mirror padding, 256 x 256, flips and crops, here of 224.
    """

    pad: Literal["mirror", "none"] = "mirror"
    side: int = 256
    crop: int = 224
    flip: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        check_choice("pad", self.pad, ("mirror", "none"))
        check_number("side", self.side, "a whole number of pixels from 1 on", least=1, whole=True)
        check_number("crop", self.crop, "a whole number of pixels up to the side", least=1, most=self.side, whole=True)

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> Recipe:
        """Return the recipe of the paper for another input size. The side is 8/7 of the crop, like 256 and 224."""
        crop = min(preprocessing.size)
        return cls(side=round(crop * 8 / 7), crop=crop)


class PictureExamples:
    """Pictures with labels. The files are read when a batch needs them.

    Args:
        paths: paths of the pictures.
        labels: class indices of each picture.
        classes: names of the classes.
        preprocessing: preprocessing of the network. Its size and its resizing are not used.
        recipe: preprocessing for training.

    Raises:
        TrainingError: there is no picture, files are missing, or a label is not a class index.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[Sequence[int]],
        classes: Sequence[str],
        preprocessing: Preprocessing,
        recipe: Recipe,
    ) -> None:
        self.classes = tuple(classes)
        self.recipe = recipe
        self._paths, self._labels, self._preprocessing = tuple(paths), tuple(map(tuple, labels)), preprocessing
        if not self._paths:
            raise TrainingError("there is no picture to train on.")
        missing = [path for path in self._paths if not path.is_file()]
        if missing:
            shown = ", ".join(map(str, missing[:3]))
            raise TrainingError(f"{len(missing)} of {len(self._paths)} pictures are missing: {shown}.")
        wrong = next(
            (i for i, own in enumerate(self._labels) if any(not 0 <= c < len(self.classes) for c in own)), None
        )
        if wrong is not None or len(self._labels) != len(self._paths):
            where = f"{self._paths[wrong]} has a label" if wrong is not None else "there are labels"
            raise TrainingError(f"{where} that fit none of the {len(self.classes)} classes.")

    @cached_property
    def groups(self) -> Int64[np.ndarray, " example"]:
        """Group pictures by shape if they keep their aspect ratio."""
        if self.recipe.pad == "mirror":
            return np.zeros(len(self._paths), np.int64)
        problems = Problems()
        sizes = [picture_size(path, problems) for path in self._paths]
        if problems:
            raise TrainingError(str(next(iter(problems))))
        shapes = [self._shape(*size) for size in sizes if size is not None]
        known = {shape: number for number, shape in enumerate(sorted(set(shapes)))}
        return np.array([known[shape] for shape in shapes], np.int64)

    def name(self, index: int) -> str:
        """Return the path of a picture."""
        return str(self._paths[index])

    def batch(
        self, indices: Sequence[int], draw: Sequence[int] | None
    ) -> tuple[Float[torch.Tensor, "example channels height width"], Float[torch.Tensor, "example class"]]:
        """Return preprocessed pictures and their labels.

        Raises:
            PictureError: a picture cannot be read.
        """
        rng = None if draw is None else np.random.default_rng(draw)
        labels = torch.zeros(len(indices), len(self.classes))
        inputs = []
        for row, index in enumerate(indices):
            labels[row, list(self._labels[index])] = 1
            inputs.append(self._input(read_picture(self._paths[index]), rng))
        if rng is not None and self.recipe.pad == "none":
            # All pictures of a batch have the same crop, so that they have the same shape.
            height, width = inputs[0].shape[1:]
            part = self.recipe.crop / self.recipe.side
            tall, wide = round(height * part), round(width * part)
            top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
            inputs = [item[:, top : top + tall, left : left + wide] for item in inputs]
        return torch.stack(inputs), labels

    def fingerprint(self) -> str:
        """Return a hash of the classes, the recipe, the preprocessing, and the paths, file sizes and labels."""
        whole = hashlib.sha256(repr((self.classes, self.recipe, self._preprocessing)).encode())
        for path, labels in zip(self._paths, self._labels, strict=True):
            whole.update(f"{path}\t{path.stat().st_size}\t{labels}\n".encode("utf-8", "surrogateescape"))
        return whole.hexdigest()

    def counts(self) -> Int64[np.ndarray, " class"]:
        """Return the number of pictures of each class."""
        flat = [number for own in self._labels for number in set(own)]
        return np.bincount(np.array(flat, np.int64), minlength=len(self.classes))

    def _shape(self, height: int, width: int) -> tuple[int, int]:
        """Return the shape of a picture after its shortest side was resized."""
        factor = self.recipe.side / min(height, width)
        return max(round(height * factor), 1), max(round(width * factor), 1)

    def _input(self, picture: Image.Image, rng: np.random.Generator | None) -> torch.Tensor:
        recipe = self.recipe
        if recipe.pad == "none":
            height, width = self._shape(picture.height, picture.width)
        else:
            picture = mirror_padded(picture)
            height = width = recipe.side
        if picture.size != (width, height):
            picture = picture.resize((width, height), FILTERS[self._preprocessing.interpolation])
        if recipe.pad == "mirror":
            spare = recipe.side - recipe.crop
            x, y = (spare // 2, spare // 2) if rng is None else rng.integers(0, spare + 1, 2).tolist()
            picture = picture.crop((x, y, x + recipe.crop, y + recipe.crop))
        if recipe.flip and rng is not None and rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return _as_is(self._preprocessing, picture.height, picture.width)(picture)


def mirror_padded(picture: Image.Image) -> Image.Image:
    """Pad a picture to a square by reflection."""
    height, width = picture.height, picture.width
    side = max(height, width)
    above, before = (side - height) // 2, (side - width) // 2
    if height == width:
        return picture
    pads = ((above, side - height - above), (before, side - width - before), (0, 0))
    return Image.fromarray(np.pad(np.asarray(picture), pads, mode="symmetric"))


@lru_cache(maxsize=64)
def _as_is(preprocessing: Preprocessing, height: int, width: int) -> Preprocessing:
    """Return the same preprocessing for a picture that already has its final size."""
    return dataclasses.replace(preprocessing, size=(height, width), resize="squash", resize_to=None)
