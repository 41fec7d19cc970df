"""Proposals made from a picture: merged superpixels, and OpenCV's generators."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from excitation.data.symbols import make_scene
from excitation.grounding import (
    ProposalError,
    box_overlaps,
    edge_boxes,
    selective_search,
    superpixel_proposals,
)


def test_merged_superpixels_propose_the_objects():
    pytest.importorskip("skimage", reason="scikit-image (extra 'grounding') is not installed")
    found = 0
    for index in range(3):
        scene = make_scene(index, 0, "test")
        proposals = superpixel_proposals(scene.image)
        again = superpixel_proposals(scene.image)
        assert torch.equal(proposals.boxes, again.boxes)
        assert 300 < len(proposals) <= 500
        assert (proposals.scores[1:] <= proposals.scores[:-1]).all()
        masks = {mask.numpy().tobytes() for mask in proposals.segments.members}
        assert len(masks) == len(proposals)
        objects = torch.tensor([item.box for item in scene.instances], dtype=torch.float64)
        found += (box_overlaps(objects, proposals.boxes).amax(1) >= 0.5).double().mean().item() / 3
    assert found > 0.5  # most objects have a proposal that would be right
    plain = superpixel_proposals(np.full((20, 30, 3), 200, dtype=np.uint8), 50, superpixels=4)
    assert len(plain) <= 50
    with pytest.raises(ProposalError, match="array of uint8"):
        superpixel_proposals(np.zeros((0, 4, 3), np.uint8))


def test_opencv_generators(tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV (extra 'opencv') is not installed")
    if not hasattr(cv2, "ximgproc"):
        pytest.skip("the installed OpenCV lacks the contributed modules (extra 'opencv')")
    image = make_scene(0, 0, "test").image
    edges = np.abs(np.gradient(image.astype(np.float64).mean(2), axis=0)) / 255
    for found in (selective_search(image), edge_boxes(image, 100, edges=edges)):
        assert 0 < len(found) <= 500
        assert found.size == image.shape[:2]
    for wrong in ({}, {"model": "x", "edges": edges}, {"edges": -edges}, {"model": tmp_path / "absent.yml"}):
        with pytest.raises(ProposalError):
            edge_boxes(image, **wrong)
