"""The difficult subset, lists of it, mappings from categories to classes, and boxes in whole pixels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from excitation.data import (
    AnnotatedImage,
    DataError,
    Instance,
    category_target,
    is_difficult,
    read_coco,
    read_difficult_list,
    read_mapping,
)
from excitation.data._annotations import box_pixels, clip_box
from excitation.data._segmentation import RunLengths


def image(*instances, labels=()):
    return AnnotatedImage("a", Path("a.jpg"), (10, 20), instances, labels)


def test_difficult_is_under_a_quarter_with_company():
    cat, dog = Instance("cat", (0, 0, 7, 7)), Instance("dog", (0, 0, 20, 10))
    assert is_difficult(image(cat, dog), "cat", "boxes")  # 49 of 200
    assert not is_difficult(image(cat), "cat", "boxes")
    assert not is_difficult(image(cat, cat), "cat", "boxes")
    assert not is_difficult(image(cat, dog), "dog", "boxes")
    assert is_difficult(image(cat, labels=("dog",)), "cat", "boxes")
    assert not is_difficult(image(cat, cat, dog), "cat", "boxes")  # areas add up, though the boxes are the same
    exactly = Instance("cat", (0, 0, 5, 10))
    assert not is_difficult(image(exactly, dog), "cat", "boxes")


def test_segments_decide_by_their_pixels():
    large, small = (0, 0, 20, 10), RunLengths((0, 49, 151), (10, 20))
    dog = Instance("dog", (0, 0, 1, 1))
    assert is_difficult(image(Instance("cat", large, small), dog), "cat", "segments")
    assert not is_difficult(image(Instance("cat", large, small), dog), "cat", "boxes")
    quarter = RunLengths((0, 50, 150), (10, 20))
    assert not is_difficult(image(Instance("cat", large, quarter), dog), "cat", "segments")


def test_the_difficult_subset_of_real_photos_by_pycocotools(shared):
    root = shared("data/coco128")
    truth = COCO(root / "annotations/instances.json")
    counted = 0
    for one in read_coco(root):
        notes = truth.loadAnns(truth.getAnnIds(imgIds=int(one.id)))
        for category in one.categories:
            own = [note for note in notes if truth.cats[note["category_id"]]["name"] == category]
            area = sum(int(truth.annToMask(note).sum()) for note in own)
            expected = area * 4 < one.size[0] * one.size[1] and len({note["category_id"] for note in notes}) > 1
            assert is_difficult(one, category, "segments") == expected
            counted += expected
    assert counted == 290


def test_lists_of_difficult_pairs(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("000001 1 0\n000002 0 0\n\n000003 1 1\n")
    assert read_difficult_list(file, ["cat", "dog"]) == {
        "000001": frozenset({"cat"}),
        "000002": frozenset(),
        "000003": frozenset({"cat", "dog"}),
    }
    file.write_text("image, traffic light, cat\n7, 1, 0\n")
    assert read_difficult_list(file, ["cat", "traffic light", "dog"]) == {"7": frozenset({"traffic light"})}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1 1 0 1\n", "line 1 should hold an image id and 2 columns"),
        ("1 1 0\n2 1 x\n", "line 2 should hold"),
        ("1 1 0\n1 1 0\n", "line 2 names image '1' a second time"),
        ("image cat cow\n1 1 0\n", "names 'cow', which is no category"),
    ],
)
def test_malformed_lists_are_refused_with_their_line(tmp_path, content, words):
    file = tmp_path / "list.txt"
    file.write_text(content)
    with pytest.raises(DataError, match=words):
        read_difficult_list(file, ["cat", "dog"])


def test_a_mapping(shared, tmp_path):
    mapping = read_mapping(shared("data/coco128/coco_to_imagenet.json"))
    assert mapping["cat"] == (281, 282, 283, 284, 285)
    assert len(mapping) == 62
    assert sum(category_target(mapping["dog"]).values()) == pytest.approx(1)
    assert category_target((920,)) == 920


@pytest.mark.parametrize("content", ["", "[1]", '{"cat": 3}', '{"cat": ["3"]}', '{"cat": [-1]}', '{"cat": [true]}'])
def test_malformed_mappings_are_refused(tmp_path, content):
    file = tmp_path / "mapping.json"
    file.write_text(content)
    with pytest.raises(DataError, match=r"mapping\.json"):
        read_mapping(file)


def test_mappings_drop_empty_lists_and_repetitions(tmp_path):
    file = tmp_path / "mapping.json"
    file.write_text('{"cat": [3, 1, 3], "dog": []}')
    assert read_mapping(file) == {"cat": (3, 1)}
    with pytest.raises(DataError, match="cannot be read"):
        read_mapping(tmp_path / "none.json")


sides = st.integers(1, 12)
ends = st.floats(-3, 15, allow_nan=False)


@given(sides, sides, ends, ends, ends, ends)
def test_pixels_of_a_box_are_those_with_their_centres_in_it(height, width, x0, y0, x1, y1):
    box, beyond = clip_box((x0, y0, x1, y1), (height, width))
    if box is None:
        clipped = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
        assert clipped[0] >= clipped[2] or clipped[1] >= clipped[3]
        return
    assert beyond == max(0, -x0, -y0, x1 - width, y1 - height)
    a0, b0, a1, b1 = box_pixels(box, (height, width))
    assert 0 <= a0 < a1 <= width
    assert 0 <= b0 < b1 <= height
    ys, xs = np.mgrid[:height, :width] + 0.5
    inside = (xs >= box[0]) & (xs < box[2]) & (ys >= box[1]) & (ys < box[3])
    if inside.any():
        expected = np.zeros((height, width), dtype=bool)
        expected[b0:b1, a0:a1] = True
        np.testing.assert_array_equal(inside, expected)
