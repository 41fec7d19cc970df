"""The methods as an explain function for Quantus's metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from .._checks import check_model
from .._errors import ExcitationError
from ._captum import MethodAttribution


def quantus_explain(
    model: torch.nn.Module,
    inputs: Float[np.ndarray, "image channels *pixels"] | Float[torch.Tensor, "image channels *pixels"],
    targets: Int[np.ndarray, " _"] | Int[torch.Tensor, " _"] | int,
    *,
    method: str = "c-mwp",
    device: str | torch.device | None = None,
    steps: tuple[str, ...] = ("bicubic",),
    **options: Any,
) -> Float[np.ndarray, "image 1 *pixels"]:
    """Compute maps for Quantus: `metric(..., explain_func=quantus_explain, explain_func_kwargs={"method": "c-mwp"})`.

    Args:
        model: the network in evaluation mode; no call changes it.
        inputs: preprocessed images, `(image, channels, *pixels)`.
        targets: one class per image, `(image,)`, or one class for all images.
        method: a name from `list_methods()`.
        device: device of the images; the device of the model by default.
        steps: post-processing steps by name; they must resize the maps to the size of the images.
        **options: `layer`, `spatial`, `class_names`, `output`, `constants`, and the options of the method.

    Returns:
        One map per image in the size of the images, `(image, 1, *pixels)`. Quantus broadcasts the channel if needed.

    Raises:
        ExcitationError: an error of the method.
    """
    check_model(model)
    weight = next((item for item in model.parameters() if item.is_floating_point()), None)
    images = torch.as_tensor(inputs)
    if weight is not None:
        images = images.to(device or weight.device, weight.dtype)
    elif device is not None:
        images = images.to(device)
    common = {key: options.pop(key) for key in _COMMON if key in options}
    classes = targets if isinstance(targets, int) else torch.as_tensor(targets).flatten()
    maps = MethodAttribution(model, method, steps=steps, **common).attribute(images, classes, spread=False, **options)
    assert isinstance(maps, torch.Tensor)
    if maps.shape[2:] != images.shape[2:]:
        raise ExcitationError(
            f"the maps are {tuple(maps.shape[2:])} and the images {tuple(images.shape[2:])}, but Quantus expects one"
            " size; add 'bicubic' to the steps."
        )
    return maps.cpu().numpy()


_COMMON = ("layer", "spatial", "class_names", "output", "constants")
