"""Preprocessing of a Caffe network, and mean images in separate files."""

from __future__ import annotations

import math
from pathlib import Path

from google.protobuf.message import DecodeError

from .._loaded import ModelError, Preprocessing
from ._plan import Plan
from ._schema import message
from ._weights import blob_numbers

MEAN = (104.0, 117.0, 123.0)
"""Mean of ImageNet in blue, green, red, as in Caffe's published networks; a prototxt can override it."""

MAX_MEAN = 1 << 25
"""Maximum size of a mean image in bytes: a side of 1672 pixels in single precision; ImageNet's has 256."""


def preprocessing_of(plan: Plan, prototxt: Path, mean_file: Path | None, *, any_size: bool) -> Preprocessing:
    """Preprocessing according to the prototxt; ImageNet's mean if the prototxt specifies none.

    Args:
        plan: the plan of the network.
        prototxt: path of the prototxt; relative paths of mean images are also resolved next to it.
        mean_file: a mean image that overrides that of the prototxt.
        any_size: whether the network accepts images of any size.

    Raises:
        ModelError: invalid values, or a mean image that is missing or does not match.
    """
    channels, height, width = plan.shape if len(plan.shape) == 3 else (3, 224, 224)
    count = 1 if channels == 1 else 3
    # There is no standard mean for luminance.
    mean: tuple[float, ...] = MEAN if count == 3 else (0.0,)
    scale = 1.0
    if plan.source is not None:
        transform, data, images = (
            getattr(plan.source, name) for name in ("transform_param", "data_param", "image_data_param")
        )
        named = transform.mean_file or data.mean_file or images.mean_file
        if named and transform.mean_value:
            raise ModelError(f"prototxt {prototxt} gives both mean_file and mean_value; give one of them.")
        if transform.mean_value:
            values = tuple(transform.mean_value)
            mean = values if len(values) == count else values[:1] * count
        if named and mean_file is None:
            mean_file = _found(named, prototxt)
        scale = transform.scale * data.scale * images.scale
        if not 0 < scale < math.inf or not all(map(math.isfinite, mean)):
            raise ModelError(f"the data layer's scale is {scale} and its mean {mean}; positive and finite expected.")
    if mean_file is not None:
        mean = read_mean(mean_file, count)
    return Preprocessing(
        size=(height, width), resize="shortest" if any_size else "squash", scale=1.0,
        channels="BGR" if count == 3 else "L", mean=mean, std=(1 / scale,) * count,
    )  # fmt: skip


def read_mean(path: Path, channels: int) -> tuple[float, ...]:
    """The mean of each channel of a mean image.

    Caffe subtracts the mean image pixel by pixel. Here, images can have any size, so the mean of each channel is
    subtracted, as for Caffe's fully convolutional networks.

    Args:
        path: a `.binaryproto` file with one blob `(channels, height, width)`, with or without a leading one.
        channels: number of channels of the network's images.

    Returns:
        One mean per channel.

    Raises:
        ModelError: the file is missing, does not contain one blob, has another number of channels, or has missing or
            invalid values.
    """
    try:
        if path.stat().st_size > MAX_MEAN:
            raise ModelError(f"mean file {path} has more than {MAX_MEAN >> 20} MiB; is it a caffemodel?")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"mean file {path} cannot be read: {error.strerror or error}.") from error
    blob = message("weights", "Blob")()
    what = f"mean file {path}"
    try:
        blob.ParseFromString(content)
    except DecodeError as error:
        raise ModelError(f"{what} is damaged or cut short, or no binaryproto: {error}.") from error
    shape = tuple(blob.shape.dim[:8]) if blob.HasField("shape") else (blob.num, blob.channels, blob.height, blob.width)
    if len(shape) == 4 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 3 or min(shape) < 1 or shape[0] != channels:
        raise ModelError(f"{what} has shape {shape}; one picture of {channels} channels is expected.")
    numbers = blob_numbers(blob, what).astype("f8")
    if numbers.size != math.prod(shape):
        raise ModelError(f"{what} has {numbers.size} numbers, {math.prod(shape)} expected.")
    means = tuple(map(float, numbers.reshape(channels, -1).mean(1)))
    if not all(map(math.isfinite, means)):
        raise ModelError(f"{what} has numbers that are NaN or infinite; the file is damaged.")
    return means


def _found(named: str, prototxt: Path) -> Path:
    """Find a mean image, like Caffe relative to the working directory, or next to the prototxt."""
    places = [Path(named), prototxt.parent / Path(named).name]
    for place in places:
        if place.is_file():
            return place
    raise ModelError(
        f"prototxt {prototxt} subtracts the mean picture {named!r}, which is neither there nor beside it; put it beside"
        " the prototxt, give mean_file, or write its mean_value instead."
    )
