"""The reordered head: pool the features, then classify."""

from __future__ import annotations

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
    parameters_of,
    spatial,
)
from ._loaded import LoadedModel, ModelError

RECTIFIERS = frozenset({"relu", "dropout", "feature_dropout"})
"""Calls that can occur between a position classifier and its pooling; they are removed."""


class PoolFirst(torch.nn.Module):
    """A network with global average pooling before instead of after its last convolution; the result of `pool_first`.

    Its layers are those of `model`, under the names `model.LAYER`, with shared weights.
    """

    def __init__(self, model: torch.nn.Module, head: dict[CallId, Replacement]) -> None:
        super().__init__()
        self.model = model
        self._head = head

    def forward(
        self, images: Float[torch.Tensor, "image channels height width"]
    ) -> Float[torch.Tensor, "image classes *ones"]:
        """Class scores in the shape of the original scores."""
        with Replacing(self._head):
            return self.model(images)  # type: ignore[no-any-return]


@overload
def pool_first(model: LoadedModel, size: tuple[int, int] | None = None) -> LoadedModel: ...
@overload
def pool_first(model: torch.nn.Module, size: tuple[int, int] | None = None) -> PoolFirst: ...


def pool_first(model: torch.nn.Module | LoadedModel, size: tuple[int, int] | None = None) -> PoolFirst | LoadedModel:
    """Reorder a head that classifies positions before pooling: pool the features first, then classify.

    If a network classifies each position with a 1 x 1 convolution and averages the scores, unit and dual unit have the
    same mass at every position, and c-MWP contains little spatial information. With the same weights on averaged
    features, unit and dual are formed once for the full image, and their difference varies between positions.

    The result is a different classifier. Without a ReLU between classifier and pooling, the scores differ only through
    the padding of the classifier, because averaging commutes with a 1 x 1 convolution. With a ReLU, the original
    counts only positions with positive evidence, and the new network also counts negative evidence. SqueezeNet v1.0 on
    300 ImageNet photos, shortest side 227: top-1 accuracy drops from 62.7 to 55.0 %, top-5 from 86.3 to 77.7 %, and
    the top class is unchanged for 72.3 % of the photos (`make photos`, docs/results/photos.md).

    Args:
        model: in evaluation mode. It must end in a 1 x 1 convolution, an optional ReLU, and an average over all
            positions. Later operations, such as a softmax, are kept. The given model is not modified. The new network
            averages all positions at any image size.
        size: `(height, width)` of an input for the analysis of the head; by default the size in a loaded model's
            preprocessing, else 224 x 224.

    Returns:
        A module with the same weights; for a `LoadedModel`, a new `LoadedModel`.

    Raises:
        ModelError: an unsupported head; the message names the operation that is not supported.

    Source: Zhang et al. 2016, Sec. 3.3, defines unit and dual for features that are pooled before classification.
    """
    if isinstance(model, LoadedModel):
        made = pool_first(model.model, model.preprocessing.size if size is None else size)
        return model.inside(made)
    size = (224, 224) if size is None else size
    head = find_head(model, size, FLATTENING | PER_NEURON | OVER_CLASSES | POOLING)
    return PoolFirst(model, _replacements(head)).eval()


def _replacements(calls: list[Call]) -> dict[CallId, Replacement]:
    """Replacements of the pooling, of the calls between, and of the classifier."""
    place = next((i for i, call in enumerate(calls) if call.name in POOLING), None)
    if place is None:
        what = repr(calls[-1].name) if calls else "its input"
        raise ModelError(
            f"the network's scores come from {what} without pooling above it; there is nothing to reorder."
        )
    pool, *below = calls[place:]
    average = pool.name in {"adaptive_avg_pool2d", "avg_pool2d", "mean"} and pool.input.dim() == 4
    if not average or tuple(pool.result.shape) not in {pool.input.shape[:2], (*pool.input.shape[:2], 1, 1)}:
        raise ModelError(
            f"the network's scores come through {pool.name!r}, which makes {tuple(pool.result.shape)} of"
            f" {tuple(pool.input.shape)}; only an average over all positions can be reordered."
        )
    passed = [call for call in below if call.name in RECTIFIERS]
    last = below[len(passed)] if len(below) > len(passed) else None
    if below[: len(passed)] != passed or last is None or last.name != "conv2d":
        blocker = (
            "the input" if last is None else repr(next(call.name for call in below if call.name not in RECTIFIERS))
        )
        raise ModelError(
            f"the network pools what comes from {blocker}; a 1 x 1 convolution, with a ReLU or not, is expected there."
        )
    weight, _ = parameters_of(last.arguments, last.options)
    if weight.shape[2:] != (1, 1) or weight.shape[1] != last.input.shape[1]:
        raise ModelError(
            f"the network classifies positions by a convolution of {weight.shape[2]} x {weight.shape[3]} in"
            f" {last.input.shape[1] // weight.shape[1]} groups; only one of 1 x 1 in one group commutes with pooling."
        )
    if any(call.uses > 1 for call in (*passed, last)):
        raise ModelError(
            "another operation of the network uses the scores at each position, and its result would change."
        )
    if any(o < i for i, o in zip(spatial(last.input.shape), spatial(last.result.shape), strict=True)):
        raise ModelError(
            "the network classifies only some positions (a stride), so pooling first averages other positions."
        )
    flat = pool.result.dim() == 2
    head: dict[CallId, Replacement] = {call.key: _unchanged for call in passed}
    head[last.key] = Weighted(_pooled)
    head[pool.key] = partial(torch.flatten, start_dim=1) if flat else _unchanged
    return head


def _pooled(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return F.conv2d(x.mean((2, 3), keepdim=True), weight, bias)


def _unchanged(x: torch.Tensor) -> torch.Tensor:
    return x
