"""Files of region proposals: MCG, EdgeBoxes, NPZ, and COCO's results."""

from __future__ import annotations

import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from .._checks import check_number, check_path, check_size
from .._files import whole_file
from ..data import DataError, Problems
from ..data._annotations import clip_box
from ..data._json import read_json
from ..data._numbers import is_finite_number
from ..data._pictures import MAX_PIXELS
from ._matlab import MAX_BYTES, read_matlab
from ._proposals import COUNT, ProposalError, Proposals, Segments

MAX_MEMBERS = 2**28
"""Maximum number of proposals times superpixels of one picture."""

BROKEN_NPZ = (
    OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, MemoryError, OverflowError, SyntaxError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip


def read_mcg(path: str | os.PathLike[str], count: int = COUNT) -> Proposals:
    """Read segment proposals of Multiscale Combinatorial Grouping.

    Boxes are the bounding boxes of the segments. The `bboxes` in the file are not used: they were reduced separately,
    and their order differs from that of `scores` and `labels`.

    Args:
        path: a `.mat` file with `superpixels` (a label per pixel), `labels` (the superpixels of each proposal) and,
            optionally, `scores`.
        count: maximum number of proposals, best first; the first ones if there are no scores.

    Raises:
        ProposalError: the file cannot be read, or its parts do not match.
    """
    place = _path(path)
    check_number("count", count, "a number of proposals from 1 on", least=1, whole=True)
    variables = read_matlab(place, ("superpixels", "labels", "scores"))
    plane, labels, scores = variables.get("superpixels"), variables.get("labels"), variables.get("scores")
    if not isinstance(plane, np.ndarray) or plane.ndim != 2 or not 0 < plane.size <= MAX_PIXELS:
        raise ProposalError(f"{place}: has no superpixels, one number for each pixel of a picture.")
    if not isinstance(labels, list) or not labels:
        raise ProposalError(f"{place}: has no labels, a cell with the superpixels of each proposal.")
    values: np.ndarray | None = None
    if scores is not None:
        if not isinstance(scores, np.ndarray) or scores.size != len(labels) or not np.isfinite(scores).all():
            raise ProposalError(f"{place}: has {len(labels)} proposals; a finite score for each is expected.")
        values = scores.astype(np.float64).flatten()
    order = np.arange(len(labels)) if values is None else np.argsort(-values, kind="stable")
    chosen = order[:count]
    names, superpixels = np.unique(plane, return_inverse=True)
    if len(chosen) * len(names) > MAX_MEMBERS:
        raise ProposalError(f"{place}: has {len(names)} superpixels, too many for {len(chosen)} proposals.")
    members = np.zeros((len(chosen), len(names)), dtype=np.bool_)
    for row, position in enumerate(chosen):
        labelled = labels[position].flatten()
        known = np.minimum(np.searchsorted(names, labelled), len(names) - 1)
        if not labelled.size or (names[known] != labelled).any():
            raise ProposalError(f"{place}: proposal {position + 1} is empty, or names a superpixel that is not there.")
        members[row, known] = True
    segments = Segments(torch.from_numpy(superpixels.reshape(plane.shape).astype(np.int64)), torch.from_numpy(members))
    return Proposals.from_segments(segments, None if values is None else torch.from_numpy(values[chosen]))


def read_edge_boxes(
    path: str | os.PathLike[str], size: tuple[int, int], count: int = COUNT, *, variable: str = "bbs"
) -> Proposals:
    """Read EdgeBoxes: rows of `x y width height score`, with coordinates from 1.

    Args:
        path: a `.mat` file, or a text file with one box per line.
        size: `(height, width)` of the picture. Boxes are clipped to it.
        count: maximum number of boxes, best first.
        variable: name of the variable in a `.mat` file.

    Raises:
        ProposalError: the file cannot be read or has another content.
    """
    place = _path(path)
    check_size("size", size)
    rows = read_matlab(place, (variable,)).get(variable) if place.suffix == ".mat" else _text_rows(place)
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 5 or not rows.size:
        raise ProposalError(f"{place}: holds no rows of five numbers, x y width height score.")
    rows = rows.astype(np.float64)
    corners = np.concatenate([rows[:, :2] - 1, rows[:, :2] - 1 + rows[:, 2:4]], 1)
    return _boxed(place, corners, rows[:, 4], size).best(count)


def read_npz_proposals(path: str | os.PathLike[str], size: tuple[int, int], count: int = COUNT) -> Proposals:
    """Read proposals from an NPZ file, for example of `write_npz_proposals`.

    Args:
        path: an NPZ file with `boxes` (`x0, y0, x1, y1`, half open), or with `superpixels` and `members`; optionally
            with `scores`. Pickled arrays are rejected.
        size: `(height, width)` of the picture. Boxes are clipped to it.
        count: maximum number of proposals, best first.

    Raises:
        ProposalError: the file cannot be read or has another content.
    """
    place = _path(path)
    check_size("size", size)
    arrays = _npz(place)
    scores, superpixels, members = (arrays.get(name) for name in ("scores", "superpixels", "members"))
    if superpixels is not None and members is not None:
        if (
            superpixels.dtype.kind not in "iu"
            or superpixels.ndim != 2
            or members.dtype != np.bool_
            or members.ndim != 2
        ):
            raise ProposalError(f"{place}: superpixels are a matrix of whole numbers, members one of truth values.")
        if superpixels.shape != tuple(size):
            raise ProposalError(f"{place}: is for a picture of {superpixels.shape} pixels, not {tuple(size)}.")
        values = None if scores is None else torch.from_numpy(_numbers(place, scores, "scores"))
        segments = Segments(torch.from_numpy(superpixels.astype(np.int64)), torch.from_numpy(members))
        return Proposals.from_segments(segments, values).best(count)
    boxes = arrays.get("boxes")
    if boxes is None or boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ProposalError(f"{place}: has no boxes of four numbers.")
    return _boxed(
        place, _numbers(place, boxes, "boxes"), None if scores is None else _numbers(place, scores, "scores"), size
    ).best(count)


def write_npz_proposals(path: str | os.PathLike[str], proposals: Proposals) -> None:
    """Write proposals to an NPZ file in the format of `read_npz_proposals`: boxes or segments, and scores.

    Raises:
        OSError: the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {"boxes": proposals.boxes.cpu().numpy()}
    if proposals.scores is not None:
        arrays["scores"] = proposals.scores.cpu().numpy()
    if proposals.segments is not None:
        arrays["superpixels"] = proposals.segments.superpixels.cpu().numpy()
        arrays["members"] = proposals.segments.members.cpu().numpy()
    with whole_file(_path(path)) as file:
        # NumPy's type hints declare one named keyword argument, but the other names are free.
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_coco_results(
    path: str | os.PathLike[str], sizes: Mapping[str, tuple[int, int]], count: int = COUNT
) -> tuple[dict[str, Proposals], Problems]:
    """Read boxes in COCO's results format: `image_id`, `bbox` (`[x, y, width, height]`), `score`.

    Args:
        path: the JSON file, a list.
        sizes: `(height, width)` of each picture, by id as text. Other pictures are skipped.
        count: maximum number of boxes per picture, best first.

    Returns:
        Proposals by picture, and the problems of skipped entries.

    Raises:
        ProposalError: the file cannot be read or is not a list.
    """
    place = _path(path)
    try:
        entries = read_json(place)
    except DataError as error:
        raise ProposalError(str(error)) from error
    if not isinstance(entries, list):
        raise ProposalError(f"{place}: holds a {type(entries).__name__}, not COCO's list of results.")
    problems = Problems()
    rows: dict[str, list[list[float]]] = {}
    for number, item in enumerate(entries):
        row = _result(item, sizes)
        if isinstance(row, str):
            problems.report(place, f"result {number} {row}; left out.")
        else:
            rows.setdefault(str(item["image_id"]), []).append(row)
    proposals = {}
    for image, own in rows.items():
        table = torch.tensor(own, dtype=torch.float64)
        proposals[image] = Proposals(sizes[image], table[:, :4], table[:, 4]).best(count)
    return proposals, problems


def _result(item: object, sizes: Mapping[str, tuple[int, int]]) -> list[float] | str:
    """Corners and score of an entry, or its problem."""
    if not isinstance(item, dict) or str(item.get("image_id")) not in sizes:
        return "is for no picture that was asked for"
    box, score = item.get("bbox"), item.get("score")
    numbers = [*box, score] if isinstance(box, list) else []
    if len(numbers) != 5 or not all(map(is_finite_number, numbers)):
        return "has no box of four numbers, or no score"
    x, y, width, height = map(float, numbers[:4])
    inside, _ = clip_box((x, y, x + width, y + height), sizes[str(item["image_id"])])
    return "has a box without area in the picture" if inside is None else [*map(float, inside), float(numbers[4])]


def _boxed(place: Path, corners: np.ndarray, scores: np.ndarray | None, size: tuple[int, int]) -> Proposals:
    """Clip boxes to the picture; no box may become empty."""
    height, width = size
    if not np.isfinite(corners).all() or (scores is not None and not np.isfinite(scores).all()):
        raise ProposalError(f"{place}: holds numbers that are not finite.")
    if scores is not None and scores.shape != (len(corners),):
        raise ProposalError(f"{place}: has {len(corners)} boxes and scores of shape {scores.shape}.")
    inside = np.clip(corners, 0, [width, height, width, height])
    empty = np.flatnonzero((inside[:, 0] >= inside[:, 2]) | (inside[:, 1] >= inside[:, 3]))
    if len(empty):
        raise ProposalError(f"{place}: box {empty[0] + 1} has no area in a picture of {width} x {height} pixels.")
    return Proposals(
        (height, width), torch.from_numpy(inside), None if scores is None else torch.from_numpy(scores.copy())
    )


def _check_bytes(place: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise ProposalError(
            f"{place}: holds more than {MAX_BYTES // 2**20} MiB, too much for proposals of one picture."
        )


def _text_rows(place: Path) -> np.ndarray:
    try:
        _check_bytes(place, place.stat().st_size)
        content = place.read_bytes()
        lines = [line.replace(",", " ").split() for line in content.decode("ascii").splitlines() if line.strip()]
        return np.array([[float(value) for value in line] for line in lines])
    except OSError as error:
        raise ProposalError(f"{place}: cannot be read: {error.strerror or error}.") from error
    except ProposalError:
        raise
    except ValueError as error:  # not ASCII, not a number, or rows of different lengths
        raise ProposalError(f"{place}: holds no rows of five numbers: {error}.") from error


def _npz(place: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(place) as archive:
            _check_bytes(place, sum(item.file_size for item in archive.infolist()))
        with np.load(place, allow_pickle=False) as stored:
            selected = [name for name in ("boxes", "scores", "superpixels", "members") if name in stored.files]
            return {name: np.asarray(stored[name]) for name in selected}
    except ProposalError:
        raise
    # The errors that `zipfile` and NumPy's header reader raise for damaged files.
    except BROKEN_NPZ as error:
        raise ProposalError(f"{place}: is no NPZ file that can be read: {' '.join(str(error).split())}.") from error


def _numbers(place: Path, values: np.ndarray, what: str) -> np.ndarray:
    if values.dtype.kind not in "iuf":
        raise ProposalError(f"{place}: its {what} are no numbers.")
    return values.astype(np.float64)


def _path(path: str | os.PathLike[str]) -> Path:
    check_path("the file of proposals", path)
    return Path(path)
