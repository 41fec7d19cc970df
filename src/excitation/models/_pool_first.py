"""The re-ordered head: pool the features, then classify."""

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
"""What may stand between a classifier of positions and its pooling; it falls away."""


class PoolFirst(torch.nn.Module):
    """A network with its global average pooling moved before its last convolution: `pool_first` makes it.

    Its layers are those of `model`, under the names `model.LAYER`; it shares their weights.
    """

    def __init__(self, model: torch.nn.Module, head: dict[CallId, Replacement]) -> None:
        super().__init__()
        self.model = model
        self._head = head

    def forward(
        self, images: Float[torch.Tensor, "image channels height width"]
    ) -> Float[torch.Tensor, "image classes *ones"]:
        """Class scores in the shape the original gives them."""
        with Replacing(self._head):
            return self.model(images)  # type: ignore[no-any-return]


@overload
def pool_first(model: LoadedModel, size: tuple[int, int] | None = None) -> LoadedModel: ...
@overload
def pool_first(model: torch.nn.Module, size: tuple[int, int] | None = None) -> PoolFirst: ...


def pool_first(model: torch.nn.Module | LoadedModel, size: tuple[int, int] | None = None) -> PoolFirst | LoadedModel:
    """Re-order a head that classifies positions and pools afterwards: pool the features, then classify.

    Where a network classifies each position with a 1 x 1 convolution and averages the scores, class and dual win the
    same mass at every position, so c-MWP says little about space. The same weights on averaged features form the pair
    once for the whole picture, and what is left of it tells places apart.

    It is another classifier. Without a ReLU between classifier and pooling the scores differ only by what padding of
    the classifier adds at the border: averaging and a 1 x 1 convolution commute. A ReLU does not: the original counts
    positions that speak for a class and none that speak against it, the new one weighs both. SqueezeNet v1.0 on 300
    ImageNet photos, shortest side 227: top-1 from 62.7 to 55.0 %, top-5 from 86.3 to 77.7 %, and 72.3 % of the photos
    keep their first class (`make photos`, docs/results/photos.md).

    Args:
        model: in evaluation mode; ends in a 1 x 1 convolution, perhaps a ReLU, and an average over all positions. What
            follows these, such as a softmax, stays. It is not changed. At any size, all positions are averaged.
        size: `(height, width)` of an input to look at; by default that of a loaded model's preprocessing, else
            224 x 224.

    Returns:
        A module with the same weights; for a `LoadedModel` another one.

    Raises:
        ModelError: its head is of another kind; says what stands in the way.

    Source: the pair of Zhang et al. 2016, Sec. 3.3, is meant for features that are pooled before they are classified.
    """
    if isinstance(model, LoadedModel):
        made = pool_first(model.model, model.preprocessing.size if size is None else size)
        return model.inside(made)
    size = (224, 224) if size is None else size
    head = find_head(model, size, FLATTENING | PER_NEURON | OVER_CLASSES | POOLING)
    return PoolFirst(model, _replacements(head)).eval()


def _replacements(calls: list[Call]) -> dict[CallId, Replacement]:
    """What stands for the pooling, what lies below it, and the classifier."""
    place = next((i for i, call in enumerate(calls) if call.name in POOLING), None)
    if place is None:
        what = repr(calls[-1].name) if calls else "its input"
        raise ModelError(
            f"the network's scores come from {what} without pooling above it; there is nothing to re-order."
        )
    pool, *below = calls[place:]
    average = pool.name in {"adaptive_avg_pool2d", "avg_pool2d", "mean"} and pool.input.dim() == 4
    if not average or tuple(pool.result.shape) not in {pool.input.shape[:2], (*pool.input.shape[:2], 1, 1)}:
        raise ModelError(
            f"the network's scores come through {pool.name!r}, which makes {tuple(pool.result.shape)} of"
            f" {tuple(pool.input.shape)}; only an average over all positions can be re-ordered."
        )
    passed = [call for call in below if call.name in RECTIFIERS]
    last = below[len(passed)] if len(below) > len(passed) else None
    if below[: len(passed)] != passed or last is None or last.name != "conv2d":
        found = "the input" if last is None else repr(next(call.name for call in below if call.name not in RECTIFIERS))
        raise ModelError(
            f"the network pools what comes from {found}; a 1 x 1 convolution, with a ReLU or not, is expected there."
        )
    weight, _ = parameters_of(last.arguments, last.options)
    if weight.shape[2:] != (1, 1) or weight.shape[1] != last.input.shape[1]:
        raise ModelError(
            f"the network classifies positions by a convolution of {weight.shape[2]} x {weight.shape[3]} in"
            f" {last.input.shape[1] // weight.shape[1]} groups; only one of 1 x 1 in one group commutes with pooling."
        )
    if any(call.uses > 1 for call in (*passed, last)):
        raise ModelError("the network uses its scores by position in another place too, which would change with them.")
    if any(o < i for i, o in zip(spatial(last.input.shape), spatial(last.result.shape), strict=True)):
        raise ModelError("the network classifies only some positions, by a stride; an average over all is another one.")
    flat = pool.result.dim() == 2
    head: dict[CallId, Replacement] = {call.key: _unchanged for call in passed}
    head[last.key] = Weighted(_pooled)
    head[pool.key] = partial(torch.flatten, start_dim=1) if flat else _unchanged
    return head


def _pooled(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return F.conv2d(x.mean((2, 3), keepdim=True), weight, bias)


def _unchanged(x: torch.Tensor) -> torch.Tensor:
    return x
