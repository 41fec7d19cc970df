"""The pointing game's metric: hand-made cases, and brute force over all pixels."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from excitation import ExcitationError
from excitation.data import AnnotatedImage, Instance, read_coco
from excitation.data._segmentation import RunLengths
from excitation.evaluation import Tolerance, gaussian_blur, is_hit, point_of_map, region
from excitation.views import enlarge_map, find_peak


def field(*boxes, size=(60, 90)):
    pixels = np.zeros(size, dtype=bool)
    for x0, y0, x1, y1 in boxes:
        pixels[y0:y1, x0:x1] = True
    return pixels


@pytest.mark.parametrize(
    ("point", "radius", "shape", "hit"),
    [
        ((40, 30), 0, "disc", True),  # the box's first pixel
        ((39, 30), 0, "disc", False),
        ((39, 30), 1, "disc", True),
        ((25, 30), 15, "disc", True),  # exactly 15 away
        ((24, 30), 15, "disc", False),
        ((31, 18), 15, "disc", True),  # 9, 12: exactly 15 again
        ((30, 18), 15, "disc", False),
        ((25, 15), 15, "disc", False),  # in the corner of the square, not in the disc
        ((25, 15), 15, "square", True),
        ((24, 15), 15, "square", False),
        ((49, 39), 0, "disc", True),  # the last pixel: half open
        ((50, 39), 0, "disc", False),
        ((64, 39), 15, "disc", True),
        ((65, 39), 15, "disc", False),
        ((39, 29), 1.4, "disc", False),  # the diagonal neighbour
        ((39, 29), 1.5, "disc", True),
    ],
)
def test_edges_of_the_tolerance(point, radius, shape, hit):
    assert is_hit(point, field((40, 30, 50, 40)), radius, shape) is hit


def test_any_of_several_instances_will_do():
    both = field((0, 0, 5, 5), (80, 50, 90, 60))
    assert is_hit((85, 40), both)
    assert is_hit((10, 10), both)
    assert not is_hit((45, 30), both)
    assert not is_hit((45, 30), field())


@settings(max_examples=150)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31), st.floats(0, 25))
def test_discs_and_squares_against_every_pixel(height, width, seed, radius):
    rng = np.random.default_rng(seed)
    pixels = rng.random((height, width)) < rng.random() * 0.05
    x, y = int(rng.integers(width)), int(rng.integers(height))
    ys, xs = np.mgrid[:height, :width]
    disc = np.hypot(ys - y, xs - x) <= radius
    square = np.maximum(abs(ys - y), abs(xs - x)) <= radius
    assert is_hit((x, y), pixels, radius) == bool((disc & pixels).any())
    assert is_hit((x, y), pixels, radius, "square") == bool((square & pixels).any())


def test_tolerance_in_pixels_of_the_input():
    assert Tolerance().pixels((480, 640), (224, 298)) == 15
    assert Tolerance(frame="input").pixels((448, 448), (224, 224)) == pytest.approx(30)
    assert Tolerance(frame="input").pixels((480, 640), (224, 298)) == pytest.approx(15 * 480 / 224, rel=2e-3)
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ExcitationError, match="tolerance"):
            Tolerance(wrong)


def test_the_peak_is_that_of_the_bicubic_map():
    for height, width in [(30, 50), (480, 640), (33, 20), (8, 8)]:
        for shape in [(14, 14), (7, 9), (1, 1)]:
            attention = torch.rand(shape)
            x, y = point_of_map(attention, (height, width))
            values = enlarge_map(attention, (height, width))
            assert values[y, x] >= values.max() * (1 - 2e-6)
            if shape != (1, 1):
                assert find_peak(attention, (height, width)) == (x, y)


def test_a_lone_cell_is_pointed_at_in_a_picture_that_is_not_square():
    attention = torch.zeros(5, 8)
    attention[1, 6] = 2
    x, y = point_of_map(attention, (100, 320))
    assert (x, y) in {(259, 29), (260, 30), (259, 30), (260, 29)}  # cells of 20 by 40 pixels


def test_ties_go_to_the_first_in_reading_order():
    assert point_of_map(torch.zeros(7, 7), (50, 80)) == (0, 0)
    assert point_of_map(torch.full((7, 7), 0.3), (50, 81)) == (0, 0)
    assert point_of_map(torch.full((7, 7), -0.3), (50, 81)) == (0, 0)
    two = torch.zeros(6, 6)
    two[4, 1] = two[1, 4] = 1
    x, y = point_of_map(two, (66, 66))
    assert (x, y) == (49, 16)
    row = torch.zeros(6, 6)
    row[2, 1] = row[2, 4] = 1
    assert point_of_map(row, (66, 66)) == (16, 27)


def test_a_map_of_a_part_points_within_it():
    attention = torch.zeros(4, 4)
    attention[3, 3] = 1
    x, y = point_of_map(attention, (100, 200), box=(50.0, 0.0, 150.0, 100.0))
    assert (137 <= x < 150, 85 <= y < 100) == (True, True)


@pytest.mark.parametrize("sigma", [0.1, 0.6, 2.0, 9.3])
def test_the_blur_is_scipys(sigma):
    values = np.random.default_rng(0).random((37, 53))
    expected = scipy.ndimage.gaussian_filter(values, sigma, mode="nearest", radius=math.ceil(4 * sigma))
    np.testing.assert_allclose(gaussian_blur(torch.from_numpy(values), sigma).numpy(), expected, atol=1e-12)


def test_the_blur_finds_the_cluster_not_the_spike():
    attention = torch.zeros(100, 200)
    attention[20, 30] = 1.0
    attention[60:70, 140:150] = 0.4
    assert point_of_map(attention, (100, 200)) == (30, 20)
    x, y = point_of_map(attention, (100, 200), blur=True)
    assert (140 <= x < 150, 60 <= y < 70) == (True, True)
    expected = scipy.ndimage.gaussian_filter(attention.numpy(), 4.0, mode="nearest", radius=16)
    assert (y, x) == np.unravel_index(expected.argmax(), expected.shape)


def test_a_crowd_counts_unless_told_otherwise():
    size = (10, 20)
    one = Instance("cat", (0, 0, 5, 2), RunLengths((0, 3, 197), size))
    crowd = Instance("cat", (10, 0, 20, 10), RunLengths((150, 10, 40), size), crowd=True)
    other = Instance("dog", (0, 0, 20, 10))
    image = AnnotatedImage("a", Path("a"), size, (one, crowd, other))
    assert region(image, "cat").sum() == 13
    assert region(image, "cat", crowds=False).sum() == 3
    assert region(image, "cat", "boxes").sum() == 110
    assert region(image, "cat", "boxes", crowds=False).sum() == 10
    assert region(image, "cow").sum() == 0


def test_regions_of_real_photos(shared):
    from pycocotools import mask
    from pycocotools.coco import COCO

    root = shared("data/coco128")
    truth = COCO(root / "annotations/instances.json")
    for image in list(read_coco(root))[:40]:
        notes = truth.loadAnns(truth.getAnnIds(imgIds=int(image.id)))
        for category in image.categories:
            own = [truth.annToRLE(note) for note in notes if truth.cats[note["category_id"]]["name"] == category]
            np.testing.assert_array_equal(region(image, category), mask.decode(mask.merge(own)).astype(bool))
