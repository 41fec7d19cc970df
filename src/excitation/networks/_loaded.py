"""What a model brings along: the network, its pictures' preprocessing, its class names, its places of interest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from PIL import Image


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
        channels: `"RGB"` or `"BGR"` (Caffe).
        mean: per channel, in the network's channel order and after scaling; subtracted.
        std: per channel, likewise; divided by.
        interpolation: Pillow's filter, by name.
    """

    size: tuple[int, int] = (224, 224)
    resize: Literal["shortest", "squash", "crop"] = "shortest"
    resize_to: int | None = None
    scale: float = 1 / 255
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"

    def __call__(self, picture: Image.Image) -> Float[torch.Tensor, "channels height width"]:
        """Turn an RGB picture into one network input (without the batch dimension), float32."""
        raise NotImplementedError


@dataclass(frozen=True)
class LoadedModel:
    """A network with what is known about it.

    Attributes:
        model: the network, in evaluation mode.
        spec: the text it was loaded from, as `--model` takes it.
        preprocessing: from a picture to its input.
        class_names: one per output unit, or `None`.
        default_layer: where maps are taken when none is named; `None` leaves the choice to `explain`.
        output: picks the tensor of class scores from what the network returns; `None` if it is the only one.
    """

    model: torch.nn.Module
    spec: str
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    class_names: Sequence[str] | None = None
    default_layer: str | None = None
    output: Callable[[object], torch.Tensor] | str | int | None = None
