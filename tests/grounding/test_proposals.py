"""Proposals: files of each format, hostile files, generators, scores, suppression; against pycocotools and SciPy."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
import scipy.io
import torch
from pycocotools import mask as coco_mask
from torch.utils._python_dispatch import TorchDispatchMode

from excitation import ExcitationError
from excitation.data.symbols import make_scene
from excitation.grounding import (
    GAMMAS,
    Detections,
    ProposalError,
    Proposals,
    Segments,
    box_overlaps,
    choose_gamma,
    edge_boxes,
    own_ranking,
    read_coco_results,
    read_edge_boxes,
    read_mcg,
    read_npz_proposals,
    region_sums,
    rescore,
    selective_search,
    superpixel_proposals,
    suppress,
    write_npz_proposals,
)
from excitation.grounding._matlab import read_matlab

H, W = 30, 40


def random_boxes(rng, count, size=(H, W)):
    x, y = np.sort(rng.integers(0, size[1], (count, 2))), np.sort(rng.integers(0, size[0], (count, 2)))
    return torch.from_numpy(np.stack([x[:, 0], y[:, 0], x[:, 1] + 1, y[:, 1] + 1], 1).astype(np.float64))


def random_segments(rng, count=20, number=12):
    superpixels = torch.from_numpy(rng.integers(0, number, (H, W)))
    superpixels[:, 0] = torch.arange(H) % number
    members = torch.from_numpy(rng.random((count, number)) < 0.3)
    members[:, 0] |= ~members.any(1)
    return Segments(superpixels, members)


def mcg_arrays(rng, count=20, number=12):
    segments = random_segments(rng, count, number)
    cells = np.empty((count, 1), dtype=object)
    for i, row in enumerate(segments.members):
        cells[i, 0] = (row.nonzero().numpy() + 1).astype(np.uint16)
    scores = rng.permutation(count)[:, None].astype(np.float64)
    # Of another length and order, as in the published files.
    bboxes = rng.random((count - 3, 4))
    return segments, {
        "superpixels": segments.superpixels.numpy().astype(np.uint16) + 1,
        "labels": cells,
        "scores": scores,
        "bboxes": bboxes,
    }


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


@pytest.mark.parametrize("compressed", [True, False])
def test_mcg_of_version_5(tmp_path, compressed):
    segments, arrays = mcg_arrays(np.random.default_rng(4))
    scipy.io.savemat(tmp_path / "1.mat", arrays, do_compression=compressed)
    check_mcg(read_mcg(tmp_path / "1.mat", 8), segments, arrays["scores"][:, 0])
    del arrays["scores"]
    scipy.io.savemat(tmp_path / "2.mat", arrays, do_compression=compressed)
    unscored = read_mcg(tmp_path / "2.mat")
    assert unscored.scores is None
    torch.testing.assert_close(unscored.boxes, segments.boxes())


def test_mcg_of_version_7_3(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py (extra 'grounding') is not installed")
    segments, arrays = mcg_arrays(np.random.default_rng(5))
    write_hdf5(h5py, tmp_path / "1.mat", arrays)
    check_mcg(read_mcg(tmp_path / "1.mat", 8), segments, arrays["scores"][:, 0])
    with h5py.File(tmp_path / "2.mat", "w") as file:
        file["superpixels"] = h5py.ExternalLink("1.mat", "superpixels")
    with pytest.raises(ProposalError, match="superpixels is a link"):
        read_mcg(tmp_path / "2.mat")
    with h5py.File(tmp_path / "3.mat", "w") as file:
        file.create_dataset("superpixels", shape=(10**6, 10**6), dtype="f8", chunks=(100, 100))
    with pytest.raises(ProposalError, match="larger than 256 MiB"):
        read_mcg(tmp_path / "3.mat")


def write_hdf5(h5py, path, arrays):
    """As MATLAB does: dimensions the other way round, cells as references."""
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            if value.dtype != object:
                file[name] = value.T
                continue
            cells = file.create_dataset(name, (1, len(value)), dtype=h5py.ref_dtype)
            for i, (cell,) in enumerate(value):
                file[f"#refs#/{i}"] = cell.T
                cells[0, i] = file[f"#refs#/{i}"].ref


def check_mcg(found, segments, scores):
    order = np.argsort(-scores)[:8]
    assert len(found) == 8
    assert found.scores.tolist() == scores[order].tolist()
    for row, i in enumerate(order):
        assert torch.equal(found.segments.mask(row), segments.mask(int(i)))
    torch.testing.assert_close(found.boxes, segments.boxes()[order.copy()])


def test_the_reader_of_version_5_agrees_with_scipy(tmp_path):
    rng = np.random.default_rng(6)
    arrays = {f"v{i}": rng.integers(0, 2, (3, 4)).astype(kind) for i, kind in enumerate("bBhHiIlLqQfd")}
    arrays |= {"one": np.float64(7.5), "none": np.zeros((0, 3)), "deep": rng.random((2, 3, 4)), "word": "text"}
    cells = np.empty((2, 2), dtype=object)
    cells[:] = [[np.arange(3.0), np.zeros((0, 0))], [np.array([[1.5]]), np.array([[1, 2], [3, 4]], dtype=np.int8)]]
    for compressed in (True, False):
        scipy.io.savemat(tmp_path / "a.mat", arrays | {"cells": cells}, do_compression=compressed)
        known = scipy.io.loadmat(tmp_path / "a.mat")
        found = read_matlab(tmp_path / "a.mat", [*(name for name in arrays if name != "word"), "cells", "absent"])
        assert sorted(found) == sorted({*arrays, "cells"} - {"word"})
        for name, value in found.items():
            if name == "cells":
                for mine, theirs in zip(value, known["cells"].flatten(order="F"), strict=True):
                    np.testing.assert_array_equal(mine, theirs)
            else:
                np.testing.assert_array_equal(value, known[name])
        with pytest.raises(ProposalError, match="holds no real numbers"):
            read_matlab(tmp_path / "a.mat", ["word"])


def element(kind, content, pad=True):
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8 if pad else 0)


def head(kind, shape, name=b""):
    return (
        element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape)) + element(1, name)
    )


MAT_HEADER = b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x0100) + b"IM"


def nested(depth):
    data = element(14, head(6, (1, 1)) + element(9, struct.pack("<d", 1)))
    outer = head(1, (1, 1))
    for _ in range(depth):
        data = struct.pack("<II", 14, len(outer) + len(data)) + outer + data
    return element(14, head(1, (1, 1), b"labels") + data)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (nested(2000), "holds no real numbers"),
        (element(14, head(1, (2**30, 1), b"labels")), "200000 are read at most"),
        (element(14, head(6, (2**30, 2**30), b"labels") + element(9, b"")), "should hold"),
        (element(15, zlib.compress(element(14, b"\0" * 2**29)), pad=False), "more than 256 MiB"),
        (element(15, zlib.compress(element(14, head(6, (1, 1), b"x")))[:-6], pad=False), "cut off"),
        (struct.pack("<II", 14, 2**31), "claims 2147483648 bytes"),
        (struct.pack("<II", 0x00050005, 0), "claims 5 bytes"),
        (b"\1\2\3", "ends within"),
        (element(1, b"12345678"), "where a variable is expected"),
    ],
)
def test_hostile_mat_files(tmp_path, body, said):
    (tmp_path / "1.mat").write_bytes(MAT_HEADER + body)
    with pytest.raises(ProposalError, match=said):
        read_mcg(tmp_path / "1.mat")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"superpixels": np.zeros((0, 3))}, "no superpixels"),
        ({"superpixels": np.zeros((3, 3, 3))}, "no superpixels"),
        ({"labels": np.zeros(3)}, "no labels"),
        ({"scores": np.zeros(3)}, "a finite score for each"),
        ({"scores": np.full(20, np.nan)}, "a finite score for each"),
        ({"superpixels": np.ones((5, 5))}, "names a superpixel that is not there"),
        ({"superpixels": np.full((5, 5), np.nan)}, "names a superpixel that is not there"),
    ],
)
def test_mcg_files_whose_parts_do_not_fit(tmp_path, change, said):
    _, arrays = mcg_arrays(np.random.default_rng(7))
    scipy.io.savemat(tmp_path / "1.mat", arrays | change)
    with pytest.raises(ProposalError, match=said):
        read_mcg(tmp_path / "1.mat")


FUZZ = """
import random, resource, struct, sys
from excitation.grounding import ProposalError, read_mcg
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
path, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
whole, rng = open(path, "rb").read(), random.Random(seed)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
refused = 0
for _ in range(count):
    data = bytearray(whole)
    for _ in range(rng.randint(1, 5)):
        place = rng.randrange(len(data) or 1)
        kind = rng.randrange(4)
        if kind == 0 and data:
            data[place] = rng.randrange(256)
        elif kind == 1:
            data[place : place + 4] = struct.pack("<I", rng.choice([0, 1, 2**31 - 1, 2**32 - 1]))
        elif kind == 2:
            del data[place : place + rng.randint(1, 40)]
        else:
            del data[max(place, 1):]
    open(path, "wb").write(data)
    try:
        read_mcg(path, 8)
    except ProposalError as error:
        refused += 1
        assert len(str(error)) < 600, error
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
print(refused, grown)
"""


@pytest.mark.parametrize("kind", ["plain", "compressed", "hdf5"])
def test_damaged_mat_files_end_in_a_clear_error(tmp_path, kind):
    _, arrays = mcg_arrays(np.random.default_rng(8))
    path = tmp_path / "1.mat"
    if kind == "hdf5":
        h5py = pytest.importorskip("h5py", reason="h5py (extra 'grounding') is not installed")
        write_hdf5(h5py, path, arrays)
    else:
        scipy.io.savemat(path, arrays, do_compression=kind == "compressed")
    # A process of its own: memory can be measured, and a crash would be seen as one.
    command = [sys.executable, "-c", FUZZ, str(path), "0", "400"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    refused, grown = map(int, done.stdout.split())
    assert refused > 50
    assert grown < 300


def test_edge_boxes_count_from_one(tmp_path):
    rows = np.array([[1, 1, 10, 20, 0.5], [31, 11, 20, 10, 0.9]])
    scipy.io.savemat(tmp_path / "1.mat", {"bbs": rows})
    (tmp_path / "1.txt").write_text("1 1 10 20 .5\n\n31,11,20,10,.9\n")
    for name in ("1.mat", "1.txt"):
        found = read_edge_boxes(tmp_path / name, (H, W))
        # Best first; the second reaches beyond the picture.
        assert found.boxes.tolist() == [[30, 10, 40, 20], [0, 0, 10, 20]]
        assert found.scores.tolist() == [0.9, 0.5]
        assert own_ranking(found).scores.tolist() == [0.9, 0.5]
    for text in ("1 2 3 4", "1 2 3 4 x", "1 2 3 4 5\n1 2", "1 2 3 4 nan", "100 2 3 4 5", "1 2 0 4 5", "é", ""):
        (tmp_path / "2.txt").write_text(text)
        with pytest.raises(ProposalError, match=r"2\.txt"):
            read_edge_boxes(tmp_path / "2.txt", (H, W))


def test_npz(tmp_path):
    rng = np.random.default_rng(9)
    segments = random_segments(rng)
    for proposals in (
        Proposals.from_segments(segments, torch.from_numpy(-np.arange(20.0))),
        Proposals((H, W), random_boxes(rng, 20), torch.from_numpy(-np.arange(20.0))),
        Proposals((H, W), random_boxes(rng, 20)),
    ):
        write_npz_proposals(tmp_path / "1.npz", proposals)
        found = read_npz_proposals(tmp_path / "1.npz", (H, W))
        assert torch.equal(found.boxes, proposals.boxes)
        assert (found.segments is None) == (proposals.segments is None)
        assert (found.scores is None) == (proposals.scores is None)
    (tmp_path / "2.npz").write_bytes(b"PK\3\4")
    np.savez(tmp_path / "3.npz", boxes=np.array([object()]))
    np.savez(tmp_path / "4.npz", boxes=np.zeros((3, 5)))
    np.savez(tmp_path / "5.npz", boxes=np.array([[0, 0, 5, 5.0]]), scores=np.zeros(2))
    np.savez(tmp_path / "6.npz", superpixels=np.zeros((2, 2), int), members=np.ones((1, 1), bool))
    np.savez_compressed(tmp_path / "7.npz", boxes=np.zeros((2**24, 4)))
    for number in range(2, 9):
        with pytest.raises(ProposalError, match=rf"{number}\.npz"):
            read_npz_proposals(tmp_path / f"{number}.npz", (H, W))


def test_damaged_npz_files_end_in_a_clear_error(tmp_path):
    rng = random.Random(1)
    write_npz_proposals(tmp_path / "1.npz", Proposals((H, W), random_boxes(np.random.default_rng(0), 20)))
    whole = (tmp_path / "1.npz").read_bytes()
    refused, start = 0, time.monotonic()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "1.npz").write_bytes(data)
        try:
            read_npz_proposals(tmp_path / "1.npz", (H, W))
        except ProposalError:
            refused += 1
    assert refused > 100
    assert time.monotonic() - start < 60


def test_coco_results(tmp_path):
    good = {"image_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}
    rows = [
        good, {**good, "score": 0.9, "bbox": [0.5, 0, 90, 4]}, {**good, "image_id": 8}, 5, {**good, "bbox": [1, 2, 3]},
        {**good, "bbox": [1, 2, 0, 4]}, {**good, "score": None}, {**good, "score": 10**400}, {**good, "image_id": "a"},
    ]  # fmt: skip
    (tmp_path / "r.json").write_text(json.dumps(rows))
    found, problems = read_coco_results(tmp_path / "r.json", {"7": (H, W), "a": (H, W)})
    assert found["7"].boxes.tolist() == [[0.5, 0, 40, 4], [1, 2, 4, 6]]
    assert found["a"].boxes.tolist() == [[1, 2, 4, 6]]
    assert len(problems) == 6
    for text in ("{}", "[", "[" * 100_000):
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(ProposalError, match=r"r\.json"):
            read_coco_results(tmp_path / "r.json", {})


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
    pytest.importorskip("cv2", reason="OpenCV's contributed modules (extra 'opencv') are not installed")
    image = make_scene(0, 0, "test").image
    edges = np.abs(np.gradient(image.astype(np.float64).mean(2), axis=0)) / 255
    for found in (selective_search(image), edge_boxes(image, 100, edges=edges)):
        assert 0 < len(found) <= 500
        assert found.size == image.shape[:2]
    for wrong in ({}, {"model": "x", "edges": edges}, {"edges": -edges}, {"model": tmp_path / "absent.yml"}):
        with pytest.raises(ProposalError):
            edge_boxes(image, **wrong)


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
