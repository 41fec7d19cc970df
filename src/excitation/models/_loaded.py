"""What a model brings along: the network, its pictures' preprocessing, its class names, its places of interest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from .._checks import check_choice, check_number, check_size
from .._errors import ExcitationError
from ._class_names import ClassNames

MAX_ASPECT = 16
"""Longest over shortest side of a picture that `resize="shortest"` takes; beyond it, one thin picture could ask for
an input of gigabytes."""

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


Manner = Literal["shortest", "squash", "crop"]
"""How a picture gets the network's size."""

Order = Literal["RGB", "BGR", "L"]
"""Of the network's input channels."""

_MANNERS, _ORDERS = get_args(Manner), get_args(Order)


class ModelError(ExcitationError):
    """A model cannot be loaded as asked."""


@dataclass(frozen=True)
class Preprocessing:
    """From a picture to the network's input, in the order of the fields.

    The picture is resized, converted to a tensor, scaled, put in channel order, shifted and divided.

    Attributes:
        size: `(height, width)` in pixels for `resize="squash"` and `"crop"`; for `"shortest"` the shortest side is
            `min(size)` and the aspect ratio is kept.
        resize: `"shortest"` keeps the whole picture and its aspect ratio (the pointing game, Sec. 4.1 of the paper);
            `"squash"` resizes to exactly `size`; `"crop"` resizes the shortest side to `resize_to` and cuts the centre.
        resize_to: shortest side before a centre crop, in pixels; `None` means `min(size)`.
        scale: factor on 0..255 values: 1/255 for torchvision, 1 for Caffe.
        channels: `"RGB"`, `"BGR"` (Caffe), or `"L"` for networks of one channel, which take brightness.
        mean: per channel, in the network's channel order and after scaling; subtracted.
        std: per channel, likewise; divided by.
        interpolation: Pillow's filter, by name; smoothed when making smaller.

    Raises:
        ExcitationError: a value that makes no sense.
    """

    size: tuple[int, int] = (224, 224)
    resize: Manner = "shortest"
    resize_to: int | None = None
    scale: float = 1 / 255
    channels: Order = "RGB"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"

    def __post_init__(self) -> None:
        """Check what can be checked before there is a picture."""
        check_size("size", self.size)
        for name, choices in (("resize", _MANNERS), ("channels", _ORDERS), ("interpolation", tuple(FILTERS))):
            check_choice(name, getattr(self, name), choices)
        if self.resize_to is not None:
            check_number("resize_to", self.resize_to, "a whole number of pixels from 1 on", least=1, whole=True)
        check_number("scale", self.scale, "a number")
        count, word = (1, "one value is") if self.channels == "L" else (3, "three values are")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, Sequence) or len(values) != count:
                raise ExcitationError(f"{name} is {values!r}; {word} expected, one per channel.")
            for value in values:
                check_number(f"a value of {name}", value, "a number")
        if min(self.std) <= 0:
            raise ExcitationError(f"std is {self.std}; all values must be positive.")
        if self.resize == "crop" and self._shortest < max(self.size):
            raise ExcitationError(
                f"resize_to is {self._shortest}, smaller than the crop of {self.size};"
                f" make it at least {max(self.size)}."
            )

    def __call__(self, picture: Image.Image) -> Float[torch.Tensor, "channels height width"]:
        """Turn an RGB picture into one network input, without the batch dimension.

        Args:
            picture: mode `"RGB"`, as `read_picture` gives it.

        Returns:
            float32, in the network's channel order.

        Raises:
            ExcitationError: no picture, another mode, or a picture too long and thin for `resize="shortest"`.
        """
        if not isinstance(picture, Image.Image):
            raise ExcitationError(f"a {type(picture).__name__} was given; a PIL.Image.Image in mode 'RGB' is expected.")
        if picture.mode != "RGB":
            raise ExcitationError(f"the picture's mode is {picture.mode!r}; convert it to 'RGB' first.")
        height, width = self._resized(picture.height, picture.width)
        resized = picture.resize((width, height), FILTERS[self.interpolation])
        if self.resize == "crop":
            resized = resized.crop(self._centre(height, width))
        if self.channels == "L":
            resized = resized.convert("L")
        values = torch.from_numpy(np.atleast_3d(np.array(resized, dtype=np.float32))).permute(2, 0, 1)
        if self.channels == "BGR":
            values = values.flip(0)
        mean, std = (torch.tensor(item)[:, None, None] for item in (self.mean, self.std))
        return ((values * self.scale - mean) / std).contiguous()

    def field_of_view(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The part of a picture that the network gets to see, and so the part that a map covers.

        Args:
            size: `(height, width)` of the picture.

        Returns:
            A box `(x0, y0, x1, y1)` in the picture's pixels, half open; all of it unless `resize="crop"`.
        """
        height, width = check_size("size", size)
        if self.resize != "crop":
            return 0.0, 0.0, float(width), float(height)
        tall, wide = self._resized(height, width)
        x0, y0, x1, y1 = self._centre(tall, wide)
        return x0 * width / wide, y0 * height / tall, x1 * width / wide, y1 * height / tall

    @property
    def _shortest(self) -> int:
        return min(self.size) if self.resize_to is None else self.resize_to

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.resize == "squash":
            return self.size
        short, long = sorted((height, width))
        if self.resize == "shortest" and long > MAX_ASPECT * short:
            raise ExcitationError(
                f"the picture is {width} x {height} pixels, more than {MAX_ASPECT} times as long as wide; crop it, or"
                " use a preprocessing with resize='squash' or 'crop'."
            )
        side = min(self.size) if self.resize == "shortest" else self._shortest
        # Cut down to whole pixels, as torchvision does, so that the same weights see the same input.
        other = int(side * long / short)
        return (side, other) if height <= width else (other, side)

    def _centre(self, height: int, width: int) -> tuple[int, int, int, int]:
        tall, wide = self.size
        x0, y0 = round((width - wide) / 2), round((height - tall) / 2)
        return x0, y0, x0 + wide, y0 + tall


@dataclass(frozen=True)
class LoadedModel:
    """A network with what is known about it.

    Attributes:
        model: the network, in evaluation mode.
        spec: the text it was loaded from, as `--model` takes it.
        preprocessing: from a picture to its input.
        class_names: one per output unit, or `None`. Where they are ImageNet's, they become `ClassNames` with words for
            groups of classes: `"dog"` is all breeds.
        default_layer: where maps are taken when none is named; `None` leaves the choice to `explain`.
        output: picks the tensor of class scores from what the network returns; `None` if it is the only one.
        classifier_layer: the layer whose weights make the class scores (the last weighted one), where it is known: the
            one to exchange for other classes, and the one a map must lie below to be contrasted.
    """

    model: torch.nn.Module
    spec: str
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    class_names: Sequence[str] | None = None
    default_layer: str | None = None
    output: Callable[[object], torch.Tensor] | str | int | None = None
    classifier_layer: str | None = None

    def __post_init__(self) -> None:
        """Give ImageNet's class names their groups, wherever the names come from."""
        names = self.class_names
        if names is None or isinstance(names, ClassNames):
            return
        # The readers of data sets are not needed to explain a network, and take their time to be imported.
        from ..data._imagenet_classes import GROUPS, are_imagenet_names

        if are_imagenet_names(names):
            object.__setattr__(self, "class_names", ClassNames(names, GROUPS))

    def inside(self, wrapper: torch.nn.Module) -> LoadedModel:
        """The same, with the network replaced by one that holds it as its part `model`: its layers are called so."""
        layers = (None if layer is None else f"model.{layer}" for layer in (self.default_layer, self.classifier_layer))
        default, classifier = layers
        return replace(self, model=wrapper, default_layer=default, classifier_layer=classifier)
