"""Classifiers for images of any size, with one score per position (Sec. 4.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import overload

import torch
import torch.nn.functional as F
from jaxtyping import Float

from ._head import (
    FLATTENING,
    OVER_CLASSES,
    PER_NEURON,
    POOLING,
    Call,
    CallId,
    Replacement,
    Replacing,
    Weighted,
    find_head,
    spatial,
)
from ._loaded import LoadedModel, ModelError

ScoreMap = Float[torch.Tensor, "image class rows columns"]


class Convolutional(torch.nn.Module):
    """A classifier whose head is applied convolutionally; the result of `to_fully_convolutional`.

    Its layers are those of `model`, under the names `model.LAYER`, with shared weights.
    """

    def __init__(self, model: torch.nn.Module, head: dict[CallId, Replacement], size: tuple[int, int]) -> None:
        super().__init__()
        self.model = model
        self._head = head
        self._size = size

    def forward(self, images: Float[torch.Tensor, "image channels height width"]) -> ScoreMap:
        """Class scores at every position of a window of the original size, `(image, class, height, width)`.

        Raises:
            ModelError: the images are smaller than the original size.
        """
        height, width = images.shape[-2:]
        if height < self._size[0] or width < self._size[1]:
            raise ModelError(
                f"the images are {height} x {width}; this network needs {self._size[0]} x {self._size[1]} or more."
            )
        with Replacing(self._head):
            return self.model(images)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """The size of the window."""
        return f"window={self._size}"


@overload
def to_fully_convolutional(model: LoadedModel, size: tuple[int, int] | None = None) -> LoadedModel: ...
@overload
def to_fully_convolutional(model: torch.nn.Module, size: tuple[int, int] | None = None) -> Convolutional: ...


def to_fully_convolutional(
    model: torch.nn.Module | LoadedModel, size: tuple[int, int] | None = None
) -> Convolutional | LoadedModel:
    """Convert a classifier with a fully connected or globally pooled head to one with a score map.

    Linear layers become convolutions with the same weights. Global pooling becomes pooling over a window of the size
    that it has at the original input. At the original size the scores do not change. A larger image gives one score per
    position and class. The given model is not modified.

    Args:
        model: in evaluation mode; its head consists of flattening, linear layers, pooling and elementwise functions.
        size: `(height, width)` of the training input; by default the size in a loaded model's preprocessing, else
            224 x 224.

    Returns:
        A module that returns `(image, class, height, width)`; for a `LoadedModel`, a new `LoadedModel` that preserves
        the aspect ratio of pictures.

    Raises:
        ModelError: an unsupported head; the message states where it ends.

    Source: Zhang et al. 2016, Sec. 4.1, after Long et al., "Fully Convolutional Networks", CVPR 2015.
    """
    if isinstance(model, LoadedModel):
        made = to_fully_convolutional(model.model, model.preprocessing.size if size is None else size)
        preprocessing = dataclasses.replace(model.preprocessing, resize="shortest")
        return dataclasses.replace(model.inside(made), preprocessing=preprocessing)
    size = (224, 224) if size is None else size
    calls = find_head(model, size, FLATTENING | PER_NEURON | OVER_CLASSES | POOLING | {"linear"})
    head = _replacements(calls)
    if not any(name == "linear" or name in POOLING for name, _ in head):
        last = calls[-1].name if calls else "its input"
        raise ModelError(
            f"the network's scores come from {last!r}, not from pooling or linear layers; it has no head to convert."
        )
    return Convolutional(model, head, size).eval()


def _replacements(calls: Sequence[Call]) -> dict[CallId, Replacement]:
    """Replacements of the head's calls for maps of any size, from the scores down; other calls do not change."""
    head: dict[CallId, Replacement] = {}
    for call in calls:
        inner, outer = spatial(call.input.shape), spatial(call.result.shape)
        if call.name in FLATTENING:
            head[call.key] = _unchanged
        elif call.name in OVER_CLASSES:
            head[call.key] = partial(getattr(torch, call.name), dim=1)
        elif call.name == "linear":
            head[call.key] = Weighted(partial(_linear, window=call.window))
        elif call.name.startswith("adaptive"):
            pool = F.avg_pool2d if call.name == "adaptive_avg_pool2d" else F.max_pool2d
            if any(i % o for i, o in zip(inner, outer, strict=True)):
                raise ModelError(
                    f"{call.name!r} makes {outer} of {inner} at the original size, in windows of different sizes; give"
                    " a size at which it divides evenly."
                )
            kernel = (inner[0] // outer[0], inner[1] // outer[1])
            head[call.key] = partial(pool, kernel_size=kernel, stride=(1, 1) if outer == (1, 1) else kernel)
        elif call.name in POOLING:
            if outer != (1, 1) or call.input.dim() != 4:
                break  # pooling over a part of space is below the head
            pool = F.max_pool2d if call.name in {"max_pool2d", "amax"} else F.avg_pool2d
            head[call.key] = partial(pool, kernel_size=inner, stride=(1, 1))
    return head


def _unchanged(x: torch.Tensor) -> torch.Tensor:
    return x


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, window: tuple[int, int]) -> torch.Tensor:
    """A linear layer as a convolution; after flattening, the kernel has the size of the flattened map."""
    return F.conv2d(x, weight.reshape(len(weight), x.shape[1], *window), bias)
