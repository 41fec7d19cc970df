"""Proposals re-scored by maps: overlaps, sums, suppression, gamma; against pycocotools and masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from proposal_arrays import H, W, random_boxes, random_segments
from pycocotools import mask as coco_mask
from torch.utils._python_dispatch import TorchDispatchMode

from excitation import ExcitationError
from excitation.grounding import (
    GAMMAS,
    Detections,
    Proposals,
    Segments,
    box_overlaps,
    choose_gamma,
    own_ranking,
    region_sums,
    rescore,
    suppress,
)


def test_overlaps_agree_with_pycocotools():
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = random_boxes(rng, 7), random_boxes(rng, 9)
        first[0], first[1] = second[0], second[1] + torch.tensor([40.0, 0, 40, 0])
        as_xywh = [torch.cat([item[:, :2], item[:, 2:] - item[:, :2]], 1).numpy() for item in (first, second)]
        known = coco_mask.iou(*as_xywh, [0] * len(second))
        torch.testing.assert_close(box_overlaps(first, second), torch.from_numpy(known), rtol=0, atol=1e-12)
    nothing = torch.zeros(1, 4, dtype=torch.float64)
    assert box_overlaps(nothing, nothing).item() == 0


def plain_suppression(boxes, scores, overlap):
    """Another spelling: best first, drop whoever overlaps a kept one."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        x0, y0, x1, y1 = boxes[i]
        for j in kept:
            u0, v0, u1, v1 = boxes[j]
            shared = max(0, min(x1, u1) - max(x0, u0)) * max(0, min(y1, v1) - max(y0, v0))
            if shared / ((x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - shared) > overlap:
                break
        else:
            kept.append(i)
    return kept


def test_suppression():
    rng = np.random.default_rng(1)
    boxes = random_boxes(rng, 60)
    scores = torch.from_numpy(rng.integers(0, 20, (5, 60)).astype(np.float64))
    for overlap in (0.0, 0.3, 0.7, 1.0):
        found = suppress(boxes, scores, overlap)
        assert [own.tolist() for own in found] == [
            plain_suppression(boxes.tolist(), row.tolist(), overlap) for row in scores
        ]
    # Exactly at the threshold a box stays: 7 of 10 pixels.
    pair = torch.tensor([[0.0, 0, 10, 1], [0, 0, 7, 1]])
    assert suppress(pair, torch.tensor([[2.0, 1.0]]), 0.7)[0].tolist() == [0, 1]
    with pytest.raises(ExcitationError, match="not finite"):
        suppress(pair, torch.tensor([[2.0, torch.nan]]))


def test_sums_and_scores_are_those_of_masks():
    rng = np.random.default_rng(2)
    maps = torch.from_numpy(rng.normal(size=(3, H, W)))
    segments = random_segments(rng)
    proposals = Proposals.from_segments(segments)
    boxes = torch.zeros(len(proposals), H, W, dtype=torch.bool)
    for box, mask in zip(proposals.boxes.int().tolist(), boxes, strict=True):
        mask[box[1] : box[3], box[0] : box[2]] = True
    masks = {"segments": torch.stack([segments.mask(i) for i in range(len(proposals))]), "boxes": boxes}
    for region, own in masks.items():
        found = region_sums(maps, proposals, region)
        torch.testing.assert_close(found.sums, torch.einsum("phw,rhw->pr", maps, own.double()))
        assert found.areas.tolist() == own.sum((1, 2)).tolist()
        for gamma in GAMMAS:
            wanted = found.sums / own.sum((1, 2)) ** gamma
            ranked = rescore(maps, proposals, gamma, region=region)
            for row, detections in zip(wanted, ranked, strict=True):
                kept = plain_suppression(proposals.boxes.tolist(), row.tolist(), 0.7)
                torch.testing.assert_close(detections.boxes, proposals.boxes[kept])
                torch.testing.assert_close(detections.scores, row[kept])
    for mask, box in zip(masks["segments"], proposals.boxes.tolist(), strict=True):
        y, x = mask.nonzero().T
        assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_boxes_between_pixels_take_the_pixels_whose_centres_they_hold():
    proposals = Proposals((4, 4), torch.tensor([[0.4, 0.6, 2.6, 3.0], [1.1, 1.1, 1.3, 1.2]], dtype=torch.float64))
    found = region_sums(torch.arange(16.0).reshape(1, 4, 4), proposals)
    # Columns 0 to 2, rows 1 and 2; and the pixel nearest to a box without any centre.
    assert (found.sums.tolist(), found.areas.tolist()) == ([[4 + 5 + 6 + 8 + 9 + 10, 5]], [6, 1])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("region", ["segments", "boxes"])
def test_wrong_maps_are_refused(value, region):
    proposals = Proposals.from_segments(random_segments(np.random.default_rng(3)))
    maps = torch.zeros(2, H, W)
    maps[1, 3, 4] = value
    with pytest.raises(ExcitationError, match="not finite"):
        region_sums(maps, proposals, region)
    with pytest.raises(ExcitationError, match="resize the maps"):
        region_sums(maps[:, 1:], proposals, region)
    plain = Proposals((H, W), proposals.boxes)
    with pytest.raises(ExcitationError, match="boxes without segments"):
        region_sums(torch.zeros(1, H, W), plain, "segments")
    with pytest.raises(ExcitationError, match="gamma"):
        rescore(torch.zeros(1, H, W), plain, 1.5)
    with pytest.raises(ExcitationError, match="no scores of their own"):
        own_ranking(plain)


def test_gamma_is_chosen_by_the_best_figure_and_the_smallest_of_several():
    found = choose_gamma({1.0: 0.1, 0.5: 0.3, 0.25: 0.3, 0.0: 0.2})
    assert (found.gamma, found.value, list(found.values)) == (0.25, 0.3, [0.0, 0.25, 0.5, 1.0])
    for wrong in ({}, {0.0: float("nan")}):
        with pytest.raises(ExcitationError):
            choose_gamma(wrong)


def test_proposals_that_do_not_fit_are_refused():
    boxes, rng = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3]]), np.random.default_rng(0)
    for wrong in (
        lambda: Proposals((4, 4), boxes[:, [2, 1, 0, 3]]),
        lambda: Proposals((4, 4), boxes, torch.tensor([1.0, torch.nan])),
        lambda: Proposals((H, W), boxes, None, random_segments(rng, 3)),
        lambda: Proposals((4, 4), random_boxes(rng, 3), None, random_segments(rng, 3)),
        lambda: Segments(torch.tensor([[0, 3]]), torch.ones(1, 3, dtype=torch.bool)),
        lambda: Segments(torch.tensor([[0, 0]]), torch.tensor([[False, True]])),
        lambda: Detections(boxes, torch.tensor([1.0, 2.0])),
        lambda: Detections.ranked(boxes, torch.tensor([1.0, torch.inf])),
    ):  # fmt: skip
        with pytest.raises(ExcitationError):
            wrong()
    best = Proposals((4, 4), boxes, torch.tensor([1.0, 2.0])).best(1)
    assert (best.boxes.tolist(), best.scores.tolist()) == ([[1, 1, 3, 3]], [2])


class Counted(TorchDispatchMode):
    """Counts calls of PyTorch's operations, and the numbers that the largest result holds."""

    def __init__(self):
        super().__init__()
        self.calls, self.largest = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.calls += 1
        if isinstance(result, torch.Tensor):
            self.largest = max(self.largest, result.numel())
        return result


@pytest.mark.parametrize("region", ["segments", "boxes"])
def test_the_work_does_not_grow_with_phrases_times_proposals(region):
    """A mask for each of 500 x 100 pairs would take 50,000 sums, or one result as large as all masks together."""
    rng = np.random.default_rng(10)
    labels = torch.from_numpy((np.arange(60)[:, None] // 10) * 16 + np.arange(80)[None] // 5)
    counts = {}
    for phrases, number in ((100, 500), (100, 50), (10, 500)):
        members = torch.from_numpy(rng.random((number, int(labels.max()) + 1)) < 0.05)
        members[:, 0] |= ~members.any(1)
        proposals = Proposals.from_segments(Segments(labels, members))
        with Counted() as counted:
            region_sums(torch.rand(phrases, 60, 80), proposals, region)
        counts[phrases, number] = counted.calls
        assert counted.largest <= phrases * 61 * 81
    assert counts[100, 500] == counts[100, 50]
    assert counts[100, 500] < 25 * 100
