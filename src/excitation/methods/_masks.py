"""Scores of masked images: Score-CAM and RISE."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float

from .._errors import ExcitationError
from .._precision import own_precision
from ..core import Maps, Request, only_at_input, working
from ._gradient_recorder import record_gradients, scores_at
from ._registry import method

Of = Literal["score", "probability"]
"""The measured quantity: class scores, or their softmax over classes."""


def _measured(priors: torch.Tensor, scores: torch.Tensor, of: Of) -> Float[torch.Tensor, "image target"]:
    """Scores or probabilities of the targets, with their signals held fixed."""
    values = scores.softmax(1) if of == "probability" else scores
    return (priors * values).flatten(2).sum(2).transpose(0, 1)


def _two_dimensional(request: Request, name: str) -> tuple[int, int]:
    if request.images.dim() != 4:
        raise ExcitationError(
            f"{name} is defined on pictures, but the images have shape {tuple(request.images.shape)}; give (image,"
            " channel, height, width)."
        )
    height, width = request.images.shape[2:]
    return height, width


@method(
    "score-cam",
    "Feature maps weighted by the score of the image masked by each, clipped at zero.",
    family="perturbation",
    place="last",
    source="Wang et al., CVPR Workshops 2020",
    cost="(1 + channels) F",
)
def score_cam(request: Request, *, of: Of = "score", batch: int = 32, signed: bool = False) -> Maps:
    """Masks are the channels of a layer, resized to the image and scaled to [0, 1]; a softmax of scores weights them.

    The default layer is the last spatial layer. A constant channel has no mask and gets weight zero.
    """
    size = _two_dimensional(request, "Score-CAM")
    layer = request.last_layer()
    passed = record_gradients(request, [layer], grad=False)
    priors = request.priors(working(passed.scores.detach()))
    features = working(passed.arranged(layer, passed.tensor(layer).detach()))
    low, high = features.amin((2, 3), keepdim=True), features.amax((2, 3), keepdim=True)
    flat = high == low
    masks = F.interpolate(features, size, mode="bilinear", align_corners=False)
    low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
    masks = ((masks - low) / torch.where(high > low, high - low, 1)).to(request.images)
    responses = []
    for image, own, prior in zip(request.images, masks, priors.transpose(0, 1), strict=True):
        scores = working(scores_at(request, image[None] * own[:, None], batch))
        responses.append(_measured(prior[:, None].expand(-1, len(own), *prior.shape[1:]), scores, of))
    weights = torch.stack(responses)  # (image, channel, target)
    weights = weights.masked_fill(flat[..., 0], -torch.inf)
    weights = torch.where(flat.all(1), 0, weights.softmax(1))
    with own_precision(features):
        maps = torch.einsum("bct,bchw->bthw", weights, features)
    return maps if signed else maps.clamp(min=0)


@method(
    "rise",
    "The average of random masks, weighted by the class's probability for the masked image.",
    family="perturbation",
    source="Petsiuk, Das, Saenko, BMVC 2018",
    cost="(1 + samples) F for all targets",
)
def rise(
    request: Request,
    *,
    samples: int = 2000,
    cells: int = 7,
    kept: float = 0.5,
    of: Of = "probability",
    batch: int = 32,
    seed: int = 0,
) -> Maps:
    """Maps at the image. All images of a batch use the same masks.

    The method draws `samples` masks of `cells` by `cells`, keeps each cell with probability `kept`, and resizes and
    shifts the masks at random. The result estimates the mean measured value given that a pixel is kept (Eq. 6 of its
    paper).
    """
    only_at_input(request, "RISE")
    size = _two_dimensional(request, "RISE")
    if samples < 1 or cells < 1 or not 0 < kept < 1:
        raise ExcitationError(
            f"samples is {samples}, cells {cells}, kept {kept}; at least one sample and cell, and 0 < kept < 1."
        )
    priors = request.priors(working(record_gradients(request, (), grad=False).scores.detach()))
    images = request.images
    maps = priors.new_zeros((len(images), len(priors), *size))
    generator = torch.Generator().manual_seed(seed)
    together = max(1, batch // len(images))
    for first in range(0, samples, together):
        count = min(together, samples - first)
        masks = torch.stack([random_mask(size, cells, kept, generator) for _ in range(count)]).to(images)
        seen = (images * masks[:, None, None]).flatten(0, 1)
        scores = torch.split(working(scores_at(request, seen, batch)), len(images))
        for mask, own in zip(masks, scores, strict=True):
            maps += _measured(priors, own, of)[..., None, None] * mask
    return maps / (samples * kept)


def random_mask(
    size: tuple[int, int], cells: int, kept: float, generator: torch.Generator
) -> Float[torch.Tensor, "height width"]:
    """One smooth random mask: a coarse binary grid with one extra cell, resized bilinearly and cropped at random."""
    step = [-(-side // cells) for side in size]
    grid = (torch.rand((1, 1, cells, cells), generator=generator, dtype=torch.float64) < kept).double()
    large = F.interpolate(grid, [(cells + 1) * s for s in step], mode="bilinear", align_corners=False)[0, 0]
    top, left = (int(torch.randint(s, (), generator=generator)) for s in step)
    return large[top : top + size[0], left : left + size[1]]
