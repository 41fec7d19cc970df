"""Box arithmetic: overlaps of many boxes, and non-maximum suppression for many phrases at once."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64

from .._errors import ExcitationError


def box_overlaps(
    first: Float[torch.Tensor, "first 4"], second: Float[torch.Tensor, "second 4"]
) -> Float[torch.Tensor, "first second"]:
    """Intersection over union of each pair of boxes, 0 to 1; 0 where both have no area.

    Args:
        first: `(x0, y0, x1, y1)` each, half open.
        second: likewise.
    """
    width, height = (
        (torch.minimum(first[:, None, i + 2], second[:, i + 2]) - torch.maximum(first[:, None, i], second[:, i])).clamp(
            min=0
        )
        for i in (0, 1)
    )
    shared = width * height
    union = box_areas(first)[:, None] + box_areas(second)[None, :] - shared
    return torch.where(union > 0, shared / union.where(union > 0, torch.ones_like(union)), torch.zeros_like(union))


def box_areas(boxes: Float[torch.Tensor, "box 4"]) -> Float[torch.Tensor, " box"]:
    """Square pixels of half-open boxes; 0 for one whose ends are the wrong way round."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1)


def suppress(
    boxes: Float[torch.Tensor, "box 4"], scores: Float[torch.Tensor, "phrase box"], overlap: float | int = 0.7
) -> list[Int64[torch.Tensor, " kept"]]:
    """Greedy non-maximum suppression: the best box is kept, those that overlap it more than `overlap` are dropped.

    All phrases share the boxes, so their overlaps are computed once.

    Args:
        boxes: half open.
        scores: of each box for each phrase, finite. Of equal scores the earlier box counts as better.
        overlap: intersection over union, 0 to 1. With 1, no box is dropped.

    Returns:
        For each phrase the kept boxes' positions, best first.

    Raises:
        ExcitationError: a score that is not finite.
    """
    if not torch.isfinite(scores).all():
        raise ExcitationError("a score of a box is not finite; give attention maps with finite values.")
    order = scores.argsort(dim=1, descending=True, stable=True)
    # Each box's rivals are the bits of one integer: a greedy step is then one operation, whatever the number of boxes.
    packed = np.packbits((box_overlaps(boxes, boxes) > overlap).cpu().numpy(), axis=1, bitorder="little")
    rivals = [int.from_bytes(row.tobytes(), "little") for row in packed]
    found = []
    for ranks in order.tolist():
        dropped, kept = 0, []
        for box in ranks:
            if not dropped >> box & 1:
                kept.append(box)
                dropped |= rivals[box]
        found.append(torch.tensor(kept, dtype=torch.int64, device=boxes.device))
    return found
