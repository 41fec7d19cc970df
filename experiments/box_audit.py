"""Why some methods' boxes miss the kangaroo: too small, too large, or elsewhere.

`python -m experiments.box_audit`: SqueezeNet v1.0 with its two heads on the photos of `../shared/data/kangaroo`, each
method at the threshold that its own held-out photos chose, as `make real` plays it. Writes
`docs/results/real/box_audit.md`, which docs/results/real.md reads.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from excitation import load_caffe
from excitation._files import write_whole
from excitation._maps import ALPHAS, SIDE, boxes_of_map
from excitation.data import open_data
from excitation.evaluation._localization import HELD_OUT, OVERLAP, overlap
from excitation.evaluation._pointing import Box
from excitation.evaluation._setup import squashed
from excitation.methods import find_method

SHARED = Path("../shared")
SQUEEZENET = SHARED / "models/squeezenet_v1.0"
HEADS = {"pooled": "deploy_gapfirst.prototxt", "score map": "deploy.prototxt"}
METHODS = ("mwp", "c-mwp", "r-mwp", "layer-cam", "grad-cam", "cam")
LAYER, KANGAROO = "pool4", 104
HALF = 0.5
"""A box that holds less than this of the object is too small, one of which less than this is object too large."""


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/results/real/box_audit.md"))
    given = parser.parse_args()
    rows: list[list[str]] = []
    for head, prototxt in HEADS.items():
        measured = boxes(SQUEEZENET / prototxt, head)
        rows += [[head, method, *row(found)] for method, found in measured.items()]
    write_whole(given.out, table(rows))
    print(given.out.read_text())


Found = dict[int, tuple[list[Box | None], list[Box]]]
"""By the photo's place among all: a box at each threshold, and the objects' boxes. Unreadable photos are absent."""


def boxes(prototxt: Path, head: str) -> dict[str, Found]:
    """By method, what it found on all photos, in their order."""
    loaded = load_caffe(prototxt, SQUEEZENET / "squeezenet_v1.0.caffemodel")
    prepare = squashed(loaded, SIDE)
    data = open_data(f"voc:{SHARED / 'data/kangaroo'}")
    found: dict[str, Found] = {name: {} for name in METHODS}
    for place, item in enumerate(track(data.ids, head)):
        image = data.image(item)
        picture = None if image is None else data.read(image)
        if image is None or picture is None:
            continue  # told of by `excitation bench`, which plays the same photos
        truths = [thing.box for thing in image.of("kangaroo") if not thing.crowd]
        for name in METHODS:
            method = find_method(name)
            layer = LAYER if method.family == "excitation" else None  # the others' own
            attention = method(loaded, prepare(picture)[None], [KANGAROO], layer=layer)[0, 0]
            found[name][place] = boxes_of_map(attention, image.size, ALPHAS, grid=(SIDE, SIDE)), truths
    return found


def row(found: Found) -> list[str]:
    """What became of the judged photos at the threshold the others choose."""
    chosen = alpha([one for place, one in found.items() if place % HELD_OUT == 0])
    judged = [(tried[chosen], truths) for place, (tried, truths) in found.items() if place % HELD_OUT]
    kinds = [kind(box, truths) for box, truths in judged]
    ratios = [size(box) / size(nearest(box, truths)) for box, truths in judged if box is not None]
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    shares = [f"{100 * kinds.count(name) / len(kinds):.0f}" for name in KINDS]
    return [f"{ALPHAS[chosen]:g}", *shares, f"{middle:.2f} [{low:.2f}, {high:.2f}]"]


KINDS = ("right", "too small", "too large", "several as one", "elsewhere")


def kind(box: Box | None, truths: Sequence[Box]) -> str:
    """What is wrong with a box, if anything is."""
    if box is None:
        return "elsewhere"
    best = nearest(box, truths)
    if overlap(box, best) >= OVERLAP:
        return "right"
    inside = common(box, best)
    if len(truths) > 1 and overlap(box, hull(truths)) >= OVERLAP:
        return "several as one"
    if inside / size(box) >= HALF > inside / size(best):
        return "too small"
    if inside / size(best) >= HALF > inside / size(box):
        return "too large"
    return "elsewhere"


def alpha(choosing: Sequence[tuple[list[Box | None], list[Box]]]) -> int:
    """The place of the smallest threshold that is right most often."""
    right = [[kind(box, truths) == "right" for box in tried] for tried, truths in choosing]
    return int(np.argmax(np.sum(right, 0)))


def nearest(box: Box | None, truths: Sequence[Box]) -> Box:
    """The object's box that fits best."""
    return truths[0] if box is None else max(truths, key=lambda truth: overlap(box, truth))


def hull(truths: Sequence[Box]) -> Box:
    """The box around all objects."""
    corners = np.array(truths)
    return (*corners[:, :2].min(0).tolist(), *corners[:, 2:].max(0).tolist())


def common(first: Box, second: Box) -> float:
    """The area of what two boxes share."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0) * max(height, 0)


def size(box: Box) -> float:
    """The area of a box."""
    return (box[2] - box[0]) * (box[3] - box[1])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    heads = ["head", "method", "alpha", *(f"{name}, %" for name in KINDS), "area over the object's, median [quartiles]"]
    lines = [
        "`python -m experiments.box_audit`",
        "",
        f"Kangaroo photos that do not choose the threshold. Right: an overlap of {OVERLAP:g} at least (IoU). Several"
        " as one: so with the box around all animals. Too small: most of the box is animal, but less than half of the"
        " animal is in it; too large: the other way round. Elsewhere: neither, or no box.",
        "",
        f"| {' | '.join(heads)} |",
        "| --- | --- |" + " ---: |" * (len(heads) - 2),
    ]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in rows), ""])


if __name__ == "__main__":
    main()
