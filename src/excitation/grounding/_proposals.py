"""Region proposals of one picture: boxes, and segments as sets of superpixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64

from .._checks import check_number
from .._errors import ExcitationError

COUNT = 500
"""Maximum number of proposals per picture (Sec. 4.3)."""


class ProposalError(ExcitationError):
    """Proposals are inconsistent, or a file of proposals cannot be read."""


@dataclass(frozen=True)
class Segments:
    """Regions as unions of superpixels.

    Attributes:
        superpixels: superpixel label of each pixel, from 0, `(height, width)`.
        members: whether a superpixel belongs to a region, `(proposal, superpixel)`. Each region has at least one.
    """

    superpixels: Int64[torch.Tensor, "height width"]
    members: Bool[torch.Tensor, "proposal superpixel"]

    def __post_init__(self) -> None:
        number = int(self.superpixels.max()) + 1 if self.superpixels.numel() else 0
        if not number or int(self.superpixels.min()) < 0 or number > self.members.shape[1]:
            raise ProposalError(
                f"superpixels have numbers up to {number - 1}, regions are made of {self.members.shape[1]}; number them"
                " from 0 on."
            )
        present = torch.zeros(self.members.shape[1], dtype=torch.bool, device=self.members.device)
        present[self.superpixels.flatten()] = True
        empty = (~(self.members & present).any(1)).nonzero().flatten()
        if len(empty):
            raise ProposalError(f"region {int(empty[0])} has no pixel; each needs one at least.")

    def boxes(self) -> Float[torch.Tensor, "proposal 4"]:
        """The bounding box of each region, `(proposal, 4)`: `(x0, y0, x1, y1)`, half open."""
        height, width = self.superpixels.shape
        labels, number = self.superpixels.flatten(), self.members.shape[1]
        y = torch.arange(height, dtype=torch.float64, device=labels.device).repeat_interleave(width)
        x = torch.arange(width, dtype=torch.float64, device=labels.device).repeat(height)
        sides = []
        for place, way in ((x, "amin"), (y, "amin"), (x + 1, "amax"), (y + 1, "amax")):
            nothing = torch.inf if way == "amin" else -torch.inf
            ends = torch.full((number,), nothing, dtype=torch.float64, device=labels.device)
            ends = ends.scatter_reduce(0, labels, place, way)
            among = torch.where(self.members, ends, nothing)
            sides.append(among.amin(1) if way == "amin" else among.amax(1))
        return torch.stack(sides, 1)

    def mask(self, region: int) -> Bool[torch.Tensor, "height width"]:
        """The mask of one region, `(height, width)`."""
        return self.members[region][self.superpixels]


@dataclass(frozen=True)
class Proposals:
    """Candidate object regions of one picture.

    Attributes:
        size: `(height, width)` of the picture in pixels.
        boxes: half-open boxes `(x0, y0, x1, y1)`, `(proposal, 4)`.
        scores: objectness of each proposal, `(proposal,)`; higher is better. `None` if unknown.
        segments: the regions; `None` if only boxes are known.
    """

    size: tuple[int, int]
    boxes: Float[torch.Tensor, "proposal 4"]
    scores: Float[torch.Tensor, " proposal"] | None = None
    segments: Segments | None = None

    def __post_init__(self) -> None:
        boxes = self.boxes
        good = torch.isfinite(boxes).all(1) & (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
        if not bool(good.all()):
            first = int((~good).nonzero()[0])
            raise ProposalError(f"proposal {first} has box {boxes[first].tolist()}; x0 < x1 and y0 < y1 are expected.")
        if self.scores is not None and (len(self.scores) != len(boxes) or not torch.isfinite(self.scores).all()):
            raise ProposalError(f"{len(boxes)} boxes have {len(self.scores)} scores; a finite score each is expected.")
        if self.segments is not None:
            if len(self.segments.members) != len(boxes):
                raise ProposalError(f"there are {len(boxes)} boxes and {len(self.segments.members)} segments.")
            if tuple(self.segments.superpixels.shape) != self.size:
                shape = tuple(self.segments.superpixels.shape)
                raise ProposalError(f"superpixels cover {shape} pixels, the picture has {self.size}.")

    @classmethod
    def from_segments(cls, segments: Segments, scores: Float[torch.Tensor, " proposal"] | None = None) -> Proposals:
        """Create proposals with the bounding boxes of the segments."""
        height, width = segments.superpixels.shape
        return cls((height, width), segments.boxes(), scores, segments)

    def __len__(self) -> int:
        return len(self.boxes)

    def best(self, count: int = COUNT) -> Proposals:
        """The best `count` proposals by score, best first; the first ones if there are no scores.

        Raises:
            ExcitationError: `count` is not a positive integer.
        """
        check_number("count", count, "a number of proposals from 1 on", least=1, whole=True)
        if self.scores is None:
            chosen = torch.arange(min(count, len(self)), device=self.boxes.device)
        else:
            chosen = self.scores.argsort(descending=True, stable=True)[:count]
        return Proposals(
            self.size,
            self.boxes[chosen],
            None if self.scores is None else self.scores[chosen],
            None if self.segments is None else Segments(self.segments.superpixels, self.segments.members[chosen]),
        )
