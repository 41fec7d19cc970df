"""Ranking of proposals by the attention map of a phrase: `f(R) = S_R / A_R^gamma` (Sec. 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64

from .._checks import check_choice, check_number
from .._errors import ExcitationError
from ..data._annotations import box_pixels
from ._boxes import suppress
from ._proposals import Proposals

GAMMAS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The candidate exponents of the area."""

OVERLAP = 0.7
"""Maximum intersection over union of kept boxes in non-maximum suppression."""

Region = Literal["segments", "boxes"]


@dataclass(frozen=True)
class Detections:
    """Ranked boxes for one phrase.

    Attributes:
        boxes: half-open boxes `(x0, y0, x1, y1)` in pixels, best first, `(box, 4)`.
        scores: scores in descending order, `(box,)`.
    """

    boxes: Float[torch.Tensor, "box 4"]
    scores: Float[torch.Tensor, " box"]

    def __post_init__(self) -> None:
        if len(self.boxes) != len(self.scores) or bool((self.scores[1:] > self.scores[:-1]).any()):
            raise ExcitationError(
                f"{len(self.boxes)} boxes have {len(self.scores)} scores; one each is expected, best first."
            )

    @classmethod
    def ranked(cls, boxes: Float[torch.Tensor, "box 4"], scores: Float[torch.Tensor, " box"]) -> Detections:
        """Sort boxes by score. Boxes with equal scores keep their order.

        Raises:
            ExcitationError: a wrong number of scores, or a score that is not finite.
        """
        if len(boxes) != len(scores) or not torch.isfinite(scores).all():
            raise ExcitationError(f"{len(boxes)} boxes have {len(scores)} scores; one finite score each is expected.")
        order = scores.argsort(descending=True, stable=True)
        return cls(boxes[order], scores[order])

    @classmethod
    def none(cls) -> Detections:
        """No boxes, for a phrase without known words: it counts as missed."""
        return cls(torch.zeros(0, 4, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))


@dataclass(frozen=True)
class RegionSums:
    """The sums from which the scores for any gamma are computed.

    Attributes:
        sums: sum of the map over each region, `(phrase, proposal)`, float64.
        areas: area of each region in pixels, `(proposal,)`.
    """

    sums: Float[torch.Tensor, "phrase proposal"]
    areas: Float[torch.Tensor, " proposal"]

    def scores(self, gamma: float | int) -> Float[torch.Tensor, "phrase proposal"]:
        """The scores `S_R / A_R^gamma`, `(phrase, proposal)`.

        Raises:
            ExcitationError: gamma is not in [0, 1].
        """
        check_gamma(gamma)
        return self.sums / self.areas.pow(gamma)


def check_gamma(gamma: float | int) -> None:
    """Raise an error if gamma is not a number in [0, 1].

    Raises:
        ExcitationError: it is not.
    """
    check_number("gamma", gamma, "a number from 0 to 1", least=0, most=1)


def region_sums(
    maps: Float[torch.Tensor, "phrase height width"], proposals: Proposals, region: Region | None = None
) -> RegionSums:
    """Sum maps over proposals.

    Segments use sums over superpixels. Boxes use integral images, over the pixels with centres in the box.

    Args:
        maps: one map per phrase, `(phrase, height, width)`, at the size of the picture; finite.
        proposals: proposals of that picture.
        region: `"segments"` or `"boxes"`; by default segments if known.

    Raises:
        ExcitationError: maps of another size or with non-finite values, or unknown segments.
    """
    chosen = region if region is not None else "boxes" if proposals.segments is None else "segments"
    check_choice("region", chosen, ("segments", "boxes"))
    if tuple(maps.shape[1:]) != tuple(proposals.size):
        raise ExcitationError(
            f"maps have {tuple(maps.shape[1:])} pixels, the picture {tuple(proposals.size)}; resize the maps."
        )
    if chosen == "boxes":
        return _box_sums(maps, proposals)
    if proposals.segments is None:
        raise ExcitationError("these proposals are boxes without segments; take region='boxes'.")
    members = proposals.segments.members.to(torch.float64)
    labels = proposals.segments.superpixels.flatten()
    sums = _label_sums(maps.flatten(1), labels, members.shape[1])
    _check_finite(sums)
    pixels = torch.bincount(labels, minlength=members.shape[1]).to(torch.float64)
    return RegionSums(sums @ members.T, members @ pixels)


def rescore(
    maps: Float[torch.Tensor, "phrase height width"],
    proposals: Proposals,
    gamma: float | int,
    *,
    region: Region | None = None,
    overlap: float | int = OVERLAP,
) -> list[Detections]:
    """Rank proposals for each phrase: compute scores, take the boxes of segments, suppress overlapping boxes.

    Args:
        maps: one map per phrase, `(phrase, height, width)`, at the size of the picture; finite.
        proposals: proposals of that picture.
        gamma: exponent of the area, in [0, 1].
        region: as in `region_sums`.
        overlap: threshold of non-maximum suppression, in [0, 1].

    Raises:
        ExcitationError: an error of `region_sums`; or gamma or overlap out of range.

    Source: Zhang et al., ECCV 2016, Sec. 4.3.
    """
    return rank_regions(proposals, region_sums(maps, proposals, region).scores(gamma), overlap)


def rank_regions(
    proposals: Proposals, scores: Float[torch.Tensor, "phrase proposal"], overlap: float | int = OVERLAP
) -> list[Detections]:
    """Boxes of proposals by score, without boxes that overlap a better box by more than `overlap`.

    Raises:
        ExcitationError: overlap out of range, or a score that is not finite.
    """
    check_number("overlap", overlap, "an intersection over union from 0 to 1", least=0, most=1)
    kept = suppress(proposals.boxes, scores, overlap)
    return [Detections(proposals.boxes[own], row[own]) for own, row in zip(kept, scores, strict=True)]


def own_ranking(proposals: Proposals, overlap: float | int = OVERLAP) -> Detections:
    """Boxes ranked by the proposals' own scores, for any phrase: the baseline MCG_base.

    Raises:
        ExcitationError: the proposals have no scores, or overlap is out of range.
    """
    if proposals.scores is None:
        raise ExcitationError("these proposals have no scores of their own; the baseline needs them.")
    return rank_regions(proposals, proposals.scores[None], overlap)[0]


@dataclass(frozen=True)
class GammaSearch:
    """The exponent of the area chosen on the validation split.

    Attributes:
        gamma: the gamma with the highest value; the smallest if several have it.
        value: its value.
        values: the values of all candidates, by gamma.
    """

    gamma: float
    value: float
    values: dict[float, float]


def choose_gamma(values: Mapping[float, float]) -> GammaSearch:
    """Choose the gamma of one method by its results on the validation split.

    Args:
        values: a metric for each gamma, higher is better, such as recall at 1. The paper does not state its metric.

    Raises:
        ExcitationError: no candidates, or a value that is not a finite number.
    """
    if not values:
        raise ExcitationError("no gamma was tried; give the result of one at least.")
    for gamma, value in values.items():
        check_number(f"the result of gamma {gamma}", value, "a finite number")
    ordered = {float(gamma): float(values[gamma]) for gamma in sorted(values)}
    best = max(ordered, key=lambda gamma: (ordered[gamma], -gamma))
    return GammaSearch(best, ordered[best], ordered)


def _check_finite(sums: Float[torch.Tensor, "phrase part"]) -> None:
    """Check maps for non-finite values through sums over all pixels, which is faster than a check of each pixel."""
    if not torch.isfinite(sums).all():
        raise ExcitationError("an attention map holds values that are not finite, so that nothing can be scored by it.")


def _label_sums(
    maps: Float[torch.Tensor, "phrase pixel"], labels: Int64[torch.Tensor, " pixel"], number: int
) -> Float[torch.Tensor, "phrase label"]:
    sums = torch.zeros(len(maps), number, dtype=torch.float64, device=maps.device)
    for row, own in zip(sums, maps, strict=True):
        row.copy_(torch.bincount(labels, own.to(torch.float64), minlength=number))
    return sums


def _box_sums(maps: Float[torch.Tensor, "phrase height width"], proposals: Proposals) -> RegionSums:
    height, width = proposals.size
    pixels = [box_pixels((*box,), proposals.size) for box in proposals.boxes.tolist()]
    x0, y0, x1, y1 = torch.tensor(pixels, device=maps.device).reshape(-1, 4).T
    corners = [row * (width + 1) + column for row, column in ((y1, x1), (y0, x1), (y1, x0), (y0, x0))]
    sums = torch.zeros(len(maps), len(pixels), dtype=torch.float64, device=maps.device)
    wholes = torch.zeros(len(maps), 1, dtype=torch.float64, device=maps.device)
    # Process one map at a time: its integral image fits in the processor cache.
    table = torch.zeros(height + 1, width + 1, dtype=torch.float64, device=maps.device)
    flat = table.flatten()
    for row, whole, own in zip(sums, wholes, maps, strict=True):
        table[1:, 1:] = torch.cumsum(own, 1, dtype=torch.float64).cumsum(0)
        a, b, c, d = (flat[corner] for corner in corners)
        row.copy_(a - b - c + d)
        whole.copy_(flat[-1])
    _check_finite(wholes)
    return RegionSums(sums, ((x1 - x0) * (y1 - y0)).to(torch.float64))
