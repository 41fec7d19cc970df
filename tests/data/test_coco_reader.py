"""COCO: against pycocotools on real data, and everything that can be wrong with a file."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from excitation.data import DataError, read_coco
from excitation.data._segmentation import Polygons, RunLengths, SegmentationError, read_segmentation

SQUARE = [2.0, 2.0, 8.0, 2.0, 8.0, 6.0, 2.0, 6.0]


def write(root, images, annotations, categories=None, split="instances"):
    (root / "annotations").mkdir(exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    for entry in images:
        if isinstance(entry.get("file_name"), str) and "/" not in entry["file_name"] and entry.get("height"):
            Image.new("RGB", (20, 10)).save(root / "images" / entry["file_name"])
    categories = categories or [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"{split}.json").write_text(json.dumps(content))
    return root


def entry(i, **more):
    return {"id": i, "file_name": f"{i}.png", "height": 10, "width": 20, **more}


def noted(i, image=1, **more):
    whole = {"id": i, "image_id": image, "category_id": 1, "bbox": [2, 2, 6, 4], "segmentation": [SQUARE]}
    return {**whole, "iscrowd": 0, **more}


def test_masks_of_real_photos_are_pycocotools(shared, capsys):
    root = shared("data/coco128")
    truth = COCO(root / "annotations/instances.json")
    data = read_coco(root)
    assert len(data) == 128
    crowds = 0
    for image in data:
        expected = truth.loadAnns(truth.getAnnIds(imgIds=int(image.id)))
        assert len(image.instances) == len(expected)
        for instance, one in zip(image.instances, expected, strict=True):
            assert instance.category == truth.cats[one["category_id"]]["name"]
            assert instance.crowd == bool(one["iscrowd"])
            np.testing.assert_array_equal(instance.segmentation.decode(), truth.annToMask(one).astype(bool))
            x, y, width, height = one["bbox"]
            assert instance.box == pytest.approx((x, y, x + width, y + height), abs=1)
            crowds += instance.crowd
    assert crowds == 10
    assert not data.problems
    assert list(data.categories) == [cat["name"] for cat in truth.loadCats(sorted(truth.getCatIds()))]


def test_run_lengths_plain_and_compressed_are_pycocotools():
    rng = np.random.default_rng(0)
    for _ in range(200):
        size = tuple(int(n) for n in rng.integers(1, 40, 2))
        pixels = rng.random(size) < rng.random()
        pixels[rng.integers(size[0]), rng.integers(size[1])] = True
        packed = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
        text = {"size": list(size), "counts": packed["counts"].decode()}
        np.testing.assert_array_equal(read_segmentation(text, size).decode(), pixels)
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[2], pixels.T.ravel(), [2]]).astype(int))))
        counts = [0, *runs.tolist()] if pixels[0, 0] else runs.tolist()
        np.testing.assert_array_equal(read_segmentation({"size": list(size), "counts": counts}, size).decode(), pixels)


def test_polygons_make_a_union():
    found = read_segmentation([SQUARE, [0.0, 0.0, 3.0, 0.0, 3.0, 3.0, 0.0, 3.0]], (10, 20)).decode()
    expected = np.zeros((10, 20), dtype=bool)
    expected[2:6, 2:8] = expected[0:3, 0:3] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("polygon", "neither polygons nor run lengths"),
        ([], "is empty"),
        ([[1, 2, 3, 4]], "at least three points"),
        ([[1, 2, 3, 4, 5]], "at least three points"),
        ([[1, 2, 3, 4, 5, "6"]], "no finite numbers"),
        ([[1, 2, 3, 4, 5, float("nan")]], "no finite numbers"),
        ([[1, 2, 3, 4, 5, 10**400]], "no finite numbers"),
        ([[1, 2, 3, 4, 5, 1e9]], "far outside"),
        ([[-9, -9, -5, -9, -5, -5]], "outside the image"),
        ({"size": [20, 10], "counts": [200]}, "for a size"),
        ({"size": [10, 20], "counts": [100, -1, 101]}, "no counts"),
        ({"size": [10, 20], "counts": [100, 99]}, "199 pixels"),
        ({"size": [10, 20], "counts": [200]}, "covers no pixel"),
        ({"size": [10, 20], "counts": None}, "no counts"),
        ({"size": [10, 20], "counts": "~~~~"}, "cannot be there"),
        ({"size": [10, 20], "counts": "oooooooooooooooo"}, "cannot be there"),
        ({"size": [10, 20], "counts": "PP"}, "end too early"),
        ({"size": [10, 20], "counts": "ooo0"}, "beyond"),
    ],
)
def test_segmentations_that_cannot_be(stored, words):
    with pytest.raises(SegmentationError, match=words):
        read_segmentation(stored, (10, 20))


def test_broken_entries_are_listed_and_the_rest_is_read(tmp_path):
    images = [
        entry(1), entry(1), entry(2, height=0), entry(3, file_name="../3.png"), entry(4, file_name=None),
        {"file_name": "x.png"}, entry(5), entry(6, file_name="missing/6.png"),
    ]  # fmt: skip
    annotations = [
        noted(1), noted(2, category_id=9), noted(3, bbox=[1, 1, 0, 5]), noted(4, bbox=[1, 1, None, 5]),
        noted(5, segmentation=[[1, 1]]), noted(6, image=77), noted(7, bbox=[15, 1, 9, 4], segmentation=None),
        noted(8, bbox=[30, 1, 9, 4]),
        noted(9, category_id=2, iscrowd=1, segmentation={"size": [10, 20], "counts": [0, 200]}),
    ]  # fmt: skip
    data = read_coco(write(tmp_path, images, annotations))
    (tmp_path / "images/5.png").write_bytes(b"no picture")
    first, fifth = list(data)
    assert (first.id, fifth.id) == ("1", "5")
    assert [type(item.segmentation) for item in first.instances] == [Polygons, type(None), RunLengths]
    assert first.instances[1].box == (15, 1, 20, 5)
    assert first.instances[2].crowd
    assert data.read(first).size == (20, 10)
    assert data.read(fifth) is None
    told = "\n".join(map(str, data.problems))
    for words in [
        "more than once", "no usable size (20 x 0)", "3.png: image 3", "image 4 in", "1 images without an id",
        "missing/6.png: image 6", "annotation 2 of image 1 has category 9",
        "annotation 3 of image 1 has a box without area",
        "annotation 4 of image 1 has no box", "annotation 5 of image 1: its segmentation has a polygon",
        "annotation 6 is for image 77", "annotation 7 of image 1 has a box that reaches 4 pixels beyond",
        "annotation 8 of image 1 has a box without area in the image", "5.png: is not a picture",
    ]:  # fmt: skip
        assert words in told
    count = len(data.problems)
    assert count == 14
    assert len(list(data)) == 2
    assert len(data.problems) == count


@pytest.mark.parametrize("name", ["a\0.jpg", "x" * 300, "../up.jpg", "\ud800.jpg"])
def test_names_that_no_file_can_have_are_listed(tmp_path, name):
    (tmp_path / "annotations").mkdir()
    image = {"id": 1, "file_name": name, "height": 4, "width": 4}
    content = {"images": [image], "annotations": [], "categories": []}
    (tmp_path / "annotations/instances.json").write_text(json.dumps(content))
    data = read_coco(tmp_path)
    assert list(data) == []
    assert [problem.sentence for problem in data.problems] == [
        "image 1 in instances.json: its picture is missing; left out."
    ]
    data.fingerprint()


def test_a_picture_of_another_size_is_left_out_and_listed(tmp_path):
    data = read_coco(write(tmp_path, [entry(1, height=20, width=10), entry(2, height=11)], []))
    assert [data.read(image) for image in data] == [None, None]
    told = [problem.sentence for problem in data.problems]
    assert "annotation is for 10 x 20 (it may have been annotated before it was turned upright)" in told[0]
    assert "is 20 x 10 pixels, its annotation is for 20 x 11; image left out" in told[1]


def test_a_segment_without_a_pixel_counts_by_its_box(tmp_path):
    thin = [4.6, 4.6, 4.7, 4.6, 4.7, 4.7]
    (image,) = read_coco(write(tmp_path, [entry(1)], [noted(1, bbox=[4.6, 4.6, 0.1, 0.1], segmentation=[thin])]))
    assert not image.instances[0].segmentation.decode().any()
    assert np.argwhere(image.instances[0].mask(image.size)).tolist() == [[4, 4]]


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"images": 3}', '{"images": [1]}', "[" * 100_000])
def test_a_file_that_is_no_coco_file_is_refused_with_its_path(tmp_path, content):
    write(tmp_path, [], [])
    (tmp_path / "annotations/instances.json").write_text(content)
    with pytest.raises(DataError, match=r"instances\.json"):
        read_coco(tmp_path)


def test_splits_are_named(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read_coco(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no file instances"):
        read_coco(tmp_path)
    write(tmp_path, [entry(1)], [], split="instances_val2014")
    assert read_coco(tmp_path).name.endswith("-val2014")
    write(tmp_path, [entry(2)], [], split="instances_train2014")
    with pytest.raises(DataError, match="there is: train2014, val2014"):
        read_coco(tmp_path)
    assert read_coco(tmp_path, "train2014").ids == ("2",)
    with pytest.raises(DataError, match="no split 'test'"):
        read_coco(tmp_path, "test")


def test_the_fingerprint_follows_annotations_and_files(tmp_path):
    first = read_coco(write(tmp_path, [entry(1)], [noted(1)])).fingerprint()
    assert read_coco(tmp_path).fingerprint() == first
    (tmp_path / "images/1.png").write_bytes(b"short")
    second = read_coco(tmp_path).fingerprint()
    third = read_coco(write(tmp_path, [entry(1)], [noted(1, bbox=[2, 2, 5, 4])])).fingerprint()
    assert len({first, second, third}) == 3


def test_unknown_ids_are_refused(tmp_path):
    with pytest.raises(DataError, match="no image '7'"):
        read_coco(write(tmp_path, [entry(1)], [])).image("7")
