"""Computation of region proposals: by merging superpixels, or with OpenCV's contributed modules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from .._checks import check_number, check_path
from ._proposals import COUNT, ProposalError, Proposals, Segments

SUPERPIXELS = 256
SIZE_WEIGHTS = (0.0, 1.0)
"""Weights of region size in the merge order; each defines one hierarchy."""


def superpixel_proposals(
    image: UInt8[np.ndarray, "height width 3"], count: int = COUNT, *, superpixels: int = SUPERPIXELS
) -> Proposals:
    """Segment proposals by merging superpixels (SLIC, from scikit-image), in order of colour similarity of neighbours.

    Two hierarchies are built: one merges by colour distance (CIELAB) only, the other merges small regions first. Every
    merged region is a proposal, followed by the superpixels; duplicates are removed. The score is the mean colour
    distance to the neighbours, weighted by the length of the common border: regions with high contrast are better.
    Proposals are ordered by this score, merged regions before single superpixels.

    Args:
        image: RGB values, `(height, width, 3)`, uint8.
        count: maximum number of proposals. Small or uniform images can have fewer.
        superpixels: approximate number of superpixels.

    Raises:
        ProposalError: scikit-image is missing, or the image has another type or shape.
    """
    _check_image(image)
    check_number("count", count, "a number of proposals from 1 on", least=1, whole=True)
    check_number("superpixels", superpixels, "a number from 2 to 2000", least=2, most=2000, whole=True)
    try:
        from skimage.color import rgb2lab
        from skimage.segmentation import slic
    except ImportError as error:
        raise ProposalError("merged superpixels need scikit-image: pip install 'excitation[grounding]'.") from error
    labels = np.unique(slic(image, n_segments=superpixels, compactness=10.0, start_label=0), return_inverse=True)[1]
    labels = labels.reshape(image.shape[:2]).astype(np.int64)
    number = int(labels.max()) + 1
    pixels = np.bincount(labels.flatten(), minlength=number).astype(np.float64)
    lab = rgb2lab(image).reshape(-1, 3)
    colours = np.stack([np.bincount(labels.flatten(), lab[:, i], number) for i in range(3)], 1) / pixels[:, None]
    borders = _borders(labels, number)
    merged = [_merge(colours, pixels, borders, weight) for weight in SIZE_WEIGHTS]
    singles = np.eye(number, dtype=np.bool_)
    members = np.concatenate([*merged, singles])
    _, first = np.unique(np.packbits(members, axis=1), axis=0, return_index=True)
    first = np.sort(first)
    members = members[first][:count]
    scores = torch.from_numpy(_contrast(members, colours, pixels, borders))
    segments = Segments(torch.from_numpy(labels), torch.from_numpy(members))
    return Proposals.from_segments(segments, scores).best(count)


def selective_search(image: UInt8[np.ndarray, "height width 3"], count: int = COUNT) -> Proposals:
    """Boxes of selective search in its fast mode, from OpenCV's contributed modules, in its own order.

    Args:
        image: RGB values, `(height, width, 3)`, uint8.
        count: maximum number of boxes; the first ones are kept.

    Raises:
        ProposalError: the module is missing, or the image has another type or shape.

    Source: Uijlings et al., "Selective Search for Object Recognition", IJCV 2013.
    """
    _check_image(image)
    search = _opencv().ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))
    search.switchToSelectiveSearchFast()
    corners = np.asarray(search.process(), dtype=np.float64).reshape(-1, 4)
    return _from_corners(corners[:, :2], corners[:, 2:], None, image).best(count)


def edge_boxes(
    image: UInt8[np.ndarray, "height width 3"],
    count: int = COUNT,
    *,
    model: str | os.PathLike[str] | None = None,
    edges: Float[np.ndarray, "height width"] | None = None,
) -> Proposals:
    """Boxes of EdgeBoxes, from OpenCV's contributed modules, best first.

    Args:
        image: RGB values, `(height, width, 3)`, uint8.
        count: maximum number of boxes.
        model: file of the structured forest for edge detection (`model.yml.gz`), which is not part of OpenCV.
        edges: alternative to a model: edge strength at each pixel, `(height, width)`, in [0, 1].

    Raises:
        ProposalError: the module or the model is missing, both or neither of `model` and `edges` are given, or the
            image or the edges have another type or shape.

    Source: Zitnick and Dollár, "Edge Boxes: Locating Object Proposals from Edges", ECCV 2014.
    """
    _check_image(image)
    check_number("count", count, "a number of proposals from 1 on", least=1, whole=True)
    if (model is None) == (edges is None):
        raise ProposalError("EdgeBoxes need either the file of an edge model or a map of edges: give one of the two.")
    processing = _opencv().ximgproc
    if model is not None:
        check_path("model", model)
        if not Path(model).is_file():
            raise ProposalError(f"{model}: no such file of an edge model.")
        detector = processing.createStructuredEdgeDetection(os.fspath(model))
        strength = detector.detectEdges(np.ascontiguousarray(image.astype(np.float32) / 255))
    else:
        strength = np.ascontiguousarray(edges, dtype=np.float32)
        if strength.shape != image.shape[:2] or not np.isfinite(strength).all() or strength.min() < 0:
            raise ProposalError(
                f"edges have shape {strength.shape}; finite values from 0 to 1, {image.shape[:2]}, are expected."
            )
    boxes, scores = _boxes_of_edges(processing, strength, count)
    return _from_corners(boxes[:, :2], boxes[:, 2:], scores, image).best(count)


def _boxes_of_edges(processing: Any, strength: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    finder = processing.createEdgeBoxes()
    finder.setMaxBoxes(count)
    boxes, scores = finder.getBoundingBoxes(strength, _orientation(strength))
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4), np.asarray(scores, dtype=np.float64).flatten()


def _orientation(strength: np.ndarray) -> np.ndarray:
    """The direction across each edge, in [0, pi], from second derivatives of the smoothed edge map."""
    smooth = _opencv().GaussianBlur(strength, (9, 9), 2.0)
    dy, dx = np.gradient(smooth)
    dxy, dxx = np.gradient(dx)
    dyy, _ = np.gradient(dy)
    angle = np.arctan(dyy * np.sign(-dxy) / (dxx + 1e-5))
    return np.ascontiguousarray(np.mod(angle, np.pi), dtype=np.float32)


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ProposalError("this needs OpenCV's contributed modules: pip install 'excitation[opencv]'.") from error
    if not hasattr(cv2, "ximgproc"):
        raise ProposalError("this OpenCV lacks the contributed modules; install opencv-contrib-python-headless.")
    return cv2


def _check_image(image: Any) -> None:
    good = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not good or min(image.shape) < 1:
        shown = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ProposalError(f"the picture is a {shown}; an array of uint8, (height, width, 3), is expected.")


def _from_corners(first: np.ndarray, sides: np.ndarray, scores: np.ndarray | None, image: np.ndarray) -> Proposals:
    height, width = image.shape[:2]
    boxes = np.clip(np.concatenate([first, first + sides], 1), 0, [width, height, width, height])
    good = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    if not good.any():
        raise ProposalError("no box was found in the picture.")
    values = None if scores is None else torch.from_numpy(scores[good])
    return Proposals((height, width), torch.from_numpy(boxes[good]), values)


def _borders(labels: np.ndarray, number: int) -> np.ndarray:
    """The number of adjacent pixel pairs between each pair of superpixels."""
    borders = np.zeros((number, number))
    for one, two in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        np.add.at(borders, (one.flatten(), two.flatten()), 1.0)
    borders += borders.T
    np.fill_diagonal(borders, 0)
    return borders


def _merge(colours: np.ndarray, pixels: np.ndarray, borders: np.ndarray, size_weight: float) -> np.ndarray:
    """The regions created by greedy merging of neighbours, last ones first."""
    number = len(pixels)
    colours, pixels, borders = colours.copy(), pixels.copy(), borders.copy()
    members = np.eye(number, dtype=np.bool_)
    total = pixels.sum()

    def costs(one: int) -> np.ndarray:
        """The cost of merging a region with each other region; infinite if they are not adjacent."""
        distance = np.linalg.norm(colours - colours[one], axis=1) / 100
        cost = distance + size_weight * (pixels + pixels[one]) / total
        return np.where(borders[one] > 0, cost, np.inf)

    table = np.stack([costs(one) for one in range(number)]) if number else np.zeros((0, 0))
    regions = []
    for _ in range(number - 1):
        one, two = divmod(int(table.argmin()), number)
        if not np.isfinite(table[one, two]):
            break
        sizes = pixels[[one, two]]
        colours[one] = (colours[[one, two]] * sizes[:, None]).sum(0) / sizes.sum()
        pixels[one] = sizes.sum()
        members[one] |= members[two]
        regions.append(members[one].copy())
        borders[one] += borders[two]
        borders[:, one] += borders[:, two]
        borders[two] = borders[:, two] = 0
        borders[one, one] = 0
        table[two] = table[:, two] = np.inf
        table[one] = table[:, one] = costs(one)
    return np.array(regions[::-1], dtype=np.bool_).reshape(-1, number)


def _contrast(
    members: np.ndarray, colours: np.ndarray, pixels: np.ndarray, borders: np.ndarray
) -> Float[np.ndarray, " region"]:
    """Mean colour distance between a region and the pixels across its border; 0 for the full image."""
    weights = members * pixels
    means = weights @ colours / weights.sum(1, keepdims=True)
    outside = (members @ borders) * ~members
    distances = np.linalg.norm(means[:, None] - colours[None], axis=2)
    lengths = outside.sum(1)
    return np.asarray((outside * distances).sum(1) / np.where(lengths > 0, lengths, 1))
