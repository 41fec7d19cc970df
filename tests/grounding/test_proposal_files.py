"""Files of proposals: each format, parts that do not fit, damaged and hostile files; against SciPy."""

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
from proposal_arrays import H, W, random_boxes, random_segments

from excitation.grounding import (
    ProposalError,
    Proposals,
    own_ranking,
    read_coco_results,
    read_edge_boxes,
    read_mcg,
    read_npz_proposals,
    write_npz_proposals,
)
from excitation.grounding._matlab import read_matlab


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
