"""Box arithmetic: overlaps of many boxes, and non-maximum suppression for many phrases at once."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64

from .._errors import ExcitationError


def box_overlaps(
    first: Float[torch.Tensor, "first 4"], second: Float[torch.Tensor, "second 4"]
) -> Float[torch.Tensor, "first second"]:
    """Intersection over union of each pair of boxes, in [0, 1]; 0 if both boxes have no area.

    Args:
        first: half-open boxes `(x0, y0, x1, y1)`, `(first, 4)`.
        second: half-open boxes `(x0, y0, x1, y1)`, `(second, 4)`.

    Returns:
        `(first, second)`.
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
    """Areas of half-open boxes in square pixels; 0 for a box with reversed ends."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1)


def suppress(
    boxes: Float[torch.Tensor, "box 4"], scores: Float[torch.Tensor, "phrase box"], overlap: float | int = 0.7
) -> list[Int64[torch.Tensor, " kept"]]:
    """Greedy non-maximum suppression: keep the best box and drop boxes that overlap it by more than `overlap`.

    The overlaps of the boxes are computed once for all phrases.

    Args:
        boxes: half-open boxes, `(box, 4)`.
        scores: score of each box for each phrase, `(phrase, box)`, finite. Of equal scores, the earlier box is better.
        overlap: intersection over union, in [0, 1]. With 1, no box is dropped.

    Returns:
        For each phrase, the indices of the kept boxes, best first.

    Raises:
        ExcitationError: a score is not finite.
    """
    if not torch.isfinite(scores).all():
        raise ExcitationError("a score of a box is not finite; give attention maps with finite values.")
    order = scores.argsort(dim=1, descending=True, stable=True)
    # Store the overlapping boxes of each box as the bits of one integer: a greedy step is then a single operation.
    packed = np.packbits((box_overlaps(boxes, boxes) > overlap).cpu().numpy(), axis=1, bitorder="little")
    rivals = [int.from_bytes(row.tobytes(), "little") for row in packed]
    survivors = []
    for ranks in order.tolist():
        dropped, kept = 0, []
        for box in ranks:
            if not dropped >> box & 1:
                kept.append(box)
                dropped |= rivals[box]
        survivors.append(torch.tensor(kept, dtype=torch.int64, device=boxes.device))
    return survivors
