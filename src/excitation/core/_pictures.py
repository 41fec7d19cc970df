"""Pictures as callers give them: PIL pictures, paths or arrays."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from .._errors import ExcitationError
from ..data._pictures import read_picture

Picture: TypeAlias = Image.Image | str | os.PathLike[str] | UInt8[np.ndarray, "height width 3"]
"""A picture in one of the supported formats."""


def list_pictures(images: Any) -> list[Any]:
    """List the pictures of a batch: one picture, a list of them, or an array `(image, height, width, 3)`."""
    if isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4):
        return list(images)
    return [images]


def read_pictures(images: Any) -> list[Image.Image]:
    """Read pictures and convert them to mode `"RGB"`.

    Raises:
        ExcitationError: a file cannot be read, or an item is not a picture.
    """
    return [_read(item) for item in list_pictures(images)]


def _read(item: Any) -> Image.Image:
    if isinstance(item, Image.Image):
        try:
            return item.convert("RGB")
        except (OSError, ValueError) as error:  # for example, it was closed
            raise ExcitationError(f"a picture cannot be read: {error}.") from error
    if isinstance(item, (str, os.PathLike)):
        return read_picture(item)
    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.ndim == 3 and item.shape[2] == 3:
        return Image.fromarray(item)
    kind = f"an array {item.dtype} of shape {item.shape}" if isinstance(item, np.ndarray) else type(item).__name__
    raise ExcitationError(
        f"a picture is {kind}; a PIL picture, a path or an array (height, width, 3) of uint8 is expected. Batches that"
        " are prepared for the network are tensors."
    )
