"""A loaded model: the network with its preprocessing, class names, and default layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from .._checks import check_choice, check_number, check_size
from .._errors import ExcitationError
from ._class_names import ClassNames

MAX_ASPECT = 16
"""Largest aspect ratio of a picture for `resize="shortest"`. Without this limit, a thin picture could require an input
of several gigabytes."""

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


Manner = Literal["shortest", "squash", "crop"]
"""How a picture is resized to the size of the network input."""

Order = Literal["RGB", "BGR", "L"]
"""Channels of the network input."""

_MANNERS, _ORDERS = get_args(Manner), get_args(Order)


class ModelError(ExcitationError):
    """A model cannot be loaded."""


def shown(name: str) -> str:
    """A name from a file for messages: quoted, without control characters, and truncated."""
    text = ascii(name)
    return text if len(text) <= 100 else f"{text[:60]}...{text[-30:]}"


@dataclass(frozen=True)
class Preprocessing:
    """Conversion of a picture to the network input.

    The picture is resized, converted to a tensor, scaled, put in channel order, shifted and divided, in this order.

    Attributes:
        size: `(height, width)` in pixels for `resize="squash"` and `"crop"`. For `"shortest"`, the shortest side
            becomes `min(size)` and the aspect ratio is preserved.
        resize: `"shortest"` uses the full picture and preserves the aspect ratio (the pointing game, Sec. 4.1 of the
            paper); `"squash"` resizes to exactly `size`; `"crop"` resizes the shortest side to `resize_to` and crops
            the centre.
        resize_to: shortest side before a centre crop, in pixels; `None` means `min(size)`.
        scale: factor for values in [0, 255]: 1/255 for torchvision, 1 for Caffe.
        channels: `"RGB"`, `"BGR"` (Caffe), or `"L"` (luminance) for networks with one channel.
        mean: mean per channel, in the channel order of the network; subtracted after scaling.
        std: standard deviation per channel, likewise; the divisor.
        interpolation: name of Pillow's filter; with antialiasing for downscaling.

    Raises:
        ExcitationError: an invalid value.
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
        """Validate the values that do not depend on a picture."""
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
        """Convert an RGB picture to one network input, without batch dimension.

        Args:
            picture: a picture in mode `"RGB"`, as `read_picture` returns it.

        Returns:
            float32, `(channels, height, width)`, in the channel order of the network.

        Raises:
            ExcitationError: not a picture, another mode, or too large an aspect ratio for `resize="shortest"`.
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
        """The crop of a picture that the network receives, which is the region that a map covers.

        Args:
            size: `(height, width)` of the picture.

        Returns:
            A half-open box `(x0, y0, x1, y1)` in pixels of the picture; the full picture unless `resize="crop"`.
        """
        height, width = check_size("size", size)
        if self.resize != "crop":
            return 0.0, 0.0, float(width), float(height)
        tall, wide = self._resized(height, width)
        x0, y0, x1, y1 = self._centre(tall, wide)
        return x0 * width / wide, y0 * height / tall, x1 * width / wide, y1 * height / tall

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size of the network input for a picture.

        Args:
            size: `(height, width)` of the picture.

        Returns:
            `(height, width)` in pixels.

        Raises:
            ExcitationError: too large an aspect ratio for `resize="shortest"`.
        """
        height, width = check_size("size", size)
        resized = self._resized(height, width)
        return self.size if self.resize == "crop" else resized

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
        # Truncate to integers like torchvision, so that the same weights receive the same input.
        other = int(side * long / short)
        return (side, other) if height <= width else (other, side)

    def _centre(self, height: int, width: int) -> tuple[int, int, int, int]:
        tall, wide = self.size
        x0, y0 = round((width - wide) / 2), round((height - tall) / 2)
        return x0, y0, x0 + wide, y0 + tall


LONGEST_NAME = 32
"""Letters of a short name."""


def short_name(spec: str) -> str:
    """A short name for a model's spec: the name or the file of the network, without its source and weights."""
    head, colon, rest = spec.partition(":")
    if head in {"convolutional", "pool-first"}:
        return f"{short_name(rest)} ({head})"
    name = spec
    if colon and head in {"caffe", "onnx", "trained", "hf"}:
        files = [file for file in rest.split(",") if not file.endswith(".binaryproto")]
        place = PurePath(files[-1].strip())
        in_folder = place.stem == "model" and place.parent.name  # RUN/model.safetensors, of `excitation train`
        name = place.parent.name if in_folder else place.name if head == "hf" else place.stem
    elif colon and head != "symbols":
        name = rest.partition("@")[0]
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}…{name[1 - LONGEST_NAME // 2 :]}"


@dataclass(frozen=True)
class LoadedModel:
    """A network with its metadata.

    Attributes:
        model: the network, in evaluation mode.
        spec: the text from which it was loaded, the value of `--model`.
        preprocessing: conversion of a picture to the network input.
        class_names: one name per output unit, or `None`. ImageNet class names become `ClassNames` with names for groups
            of classes: `"dog"` stands for all breeds.
        default_layer: default layer of maps; with `None`, `explain` chooses.
        output: selects the class scores from the network output; `None` if the output is a single tensor.
        classifier_layer: the layer that computes the class scores (the last weighted layer), if known. It is replaced
            for other classes, and contrasts are formed at it, so maps of contrasts must lie below it.
    """

    model: torch.nn.Module
    spec: str
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    class_names: Sequence[str] | None = None
    default_layer: str | None = None
    output: Callable[[object], torch.Tensor] | str | int | None = None
    classifier_layer: str | None = None

    def __post_init__(self) -> None:
        """Add the groups to ImageNet class names from any source."""
        names = self.class_names
        if names is None or isinstance(names, ClassNames):
            return
        # The dataset readers are not needed to explain a network, and their import takes time.
        from ..data._imagenet_classes import GROUPS, are_imagenet_names

        if are_imagenet_names(names):
            object.__setattr__(self, "class_names", ClassNames(names, GROUPS))

    @property
    def label(self) -> str:
        """A short name of the network for figures and tables, such as `"vgg16"` for `"torchvision:vgg16@DEFAULT"`."""
        return short_name(self.spec) or type(self.model).__name__

    def inside(self, wrapper: torch.nn.Module) -> LoadedModel:
        """Replace the network by a wrapper that holds it as `model`; layer names get the prefix `model.`."""
        layers = (None if layer is None else f"model.{layer}" for layer in (self.default_layer, self.classifier_layer))
        default, classifier = layers
        return replace(self, model=wrapper, default_layer=default, classifier_layer=classifier)
