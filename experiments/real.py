"""The games on real photos: COCO-128, mosaics of ImageNet photos, kangaroos, all with SqueezeNet v1.0.

`python -m experiments.real` (`make real`): every run is one `excitation bench` command over data beside the project,
printed by `excitation report`; of the pointing games of all methods also pair by pair, and by category. Stopped at any
moment, the same command goes on; `--only NAME` plays some runs.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from excitation._files import write_whole

EXCITATION = [sys.executable, "-c", "from excitation.cli import main; main()"]

SHARED = Path("../shared")
WEIGHTS = SHARED / "models/squeezenet_v1.0/squeezenet_v1.0.caffemodel"
SCORE_MAP = ["--model", f"caffe:{SHARED}/models/squeezenet_v1.0/deploy.prototxt,{WEIGHTS}", "--network", "score-map"]
POOLED = ["--model", f"caffe:{SHARED}/models/squeezenet_v1.0/deploy_gapfirst.prototxt,{WEIGHTS}", "--network", "pooled"]
BEFORE_POOLING = ["--model", "experiments.real_networks:score_map", "--network", "score-map"]

LAYERS = ("pool4", "fire6/concat", "fire8/concat", "pool8", "fire9/concat")
PLUS = "+".join(LAYERS)
COCO = [
    "pointing", "--data", f"coco:{SHARED}/data/coco128", "--mapping", f"{SHARED}/data/coco128/coco_to_imagenet.json",
    "--layer", ",".join(LAYERS),
]  # fmt: skip
AT_LAYERS = ["--methods", f"mwp,c-mwp,r-mwp,r-mwp-rectified,grad-cam@{PLUS},layer-cam@{PLUS},centre"]
PEERS = ["--layer", "pool4", "--methods", "mwp,c-mwp,r-mwp,c-lrp@pool4,clrp@pool4,sglrp@pool4"]
"""LRP with the same contrasts, where Excitation Backprop's maps are taken."""
BACKPROPAGATED = ["--methods", f"gradient@input+{PLUS},deconv@input,lrp-epsilon-plus@input+pool4,cam,centre"]
READ_AS_SOFTMAX = ["--methods", "mwp,c-mwp,r-mwp", "--spatial", "softmax"]
SAMPLING = ["--methods", "rise:samples=500,mwp,centre", "--limit", "30"]
LOCALIZATION = [
    "localization", "--data", f"voc:{SHARED}/data/kangaroo", "--mapping", "experiments/kangaroo.json",
    "--layer", "pool4", "--methods", "mwp,c-mwp,r-mwp,grad-cam,layer-cam,cam",
]  # fmt: skip
GRID = [
    "grid", "--data", f"imagenet:{SHARED}/data/imagenet_sample", "--layer", "pool4",
    "--methods", "mwp,c-mwp,r-mwp,grad-cam,layer-cam,cam", "--side", "2", "--mosaics", "30",
]  # fmt: skip
DELETION = [
    "deletion", "--data", f"imagenet:{SHARED}/data/imagenet_sample", "--layer", "pool4", "--methods",
    "mwp,c-mwp,r-mwp,grad-cam,layer-cam,gradient@input", "--limit", "40", "--steps", "20", "--shortest", "224",
]  # fmt: skip
NINE = [*GRID[:-4], "--side", "3", "--mosaics", "14"]
HELD_OUT = "4"
"""Every fourth photo chooses a layer for each method, the others judge it."""

ONE_LAYER = [
    "--layer", "pool4", "--methods",
    "mwp,c-mwp,r-mwp,r-mwp-rectified,grad-cam@fire9/concat,layer-cam@fire9/concat,centre",
]  # fmt: skip
"""Each method once, where the tables of docs/results/real.md take it: the CAMs at the last layer."""

REFERENCES = ("mwp @ pool4", "r-mwp @ pool4", "grad-cam @ fire9/concat")

SURE, UNSURE = ["--low", "0.9"], ["--low", "0.3", "--high", "0.9"]

RUNS: dict[str, list[str]] = {
    "pointing_scoremap_320": [*COCO, *AT_LAYERS, *SCORE_MAP, "--shortest", "320"],
    "kangaroo_pooled": [*LOCALIZATION, *POOLED],
    "grid_pooled_easy": [*GRID, *SURE, *POOLED],
    "pointing_pooled_320": [*COCO, *AT_LAYERS, *POOLED, "--shortest", "320"],
    "kangaroo_scoremap": [*LOCALIZATION, *SCORE_MAP],
    "grid_scoremap_easy": [*GRID, *SURE, *SCORE_MAP],
    "pointing_scoremap_224": [*COCO, *AT_LAYERS, *SCORE_MAP, "--shortest", "224"],
    "pointing_pooled_224": [*COCO, *AT_LAYERS, *POOLED, "--shortest", "224"],
    "peers_scoremap_320": [*COCO[:-2], *PEERS, *SCORE_MAP, "--shortest", "320"],
    "peers_pooled_320": [*COCO[:-2], *PEERS, *POOLED, "--shortest", "320"],
    "grid_scoremap_hard": [*GRID, *UNSURE, *SCORE_MAP],
    "grid_pooled_hard": [*GRID, *UNSURE, *POOLED],
    "softmax_320": [*COCO, *READ_AS_SOFTMAX, *BEFORE_POOLING, "--shortest", "320"],
    "backprop_scoremap_320": [*COCO, *BACKPROPAGATED, *SCORE_MAP, "--shortest", "320"],
    "backprop_pooled_320": [*COCO, *BACKPROPAGATED, *POOLED, "--shortest", "320"],
    "deletion_pooled": [*DELETION, *POOLED],
    "nine_pooled_easy": [*NINE, *SURE, *POOLED],
    "nine_scoremap_easy": [*NINE, *SURE, *SCORE_MAP],
    "softmax_224": [*COCO, *READ_AS_SOFTMAX, *BEFORE_POOLING, "--shortest", "224"],
    "backprop_scoremap_224": [*COCO, *BACKPROPAGATED, *SCORE_MAP, "--shortest", "224"],
    "backprop_pooled_224": [*COCO, *BACKPROPAGATED, *POOLED, "--shortest", "224"],
    "rise_scoremap_224": [*COCO[:-1], "pool4", *SAMPLING, *SCORE_MAP, "--shortest", "224"],
    "deletion_scoremap": [*DELETION, *SCORE_MAP],
    "nine_pooled_hard": [*NINE, *UNSURE, *POOLED],
}
"""What follows `excitation bench`, beside the file of results; the cheapest answers to the largest questions first."""


def main() -> None:
    """Play what is not played yet, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=RUNS, default=list(RUNS), metavar="NAME")
    parser.add_argument("--no-play", action="store_true", help="only write the tables, of unfinished runs too")
    parser.add_argument("--runs", type=Path, default=Path("runs/real"))
    parser.add_argument("--results", type=Path, default=Path("docs/results/real"))
    given = parser.parse_args()
    if not WEIGHTS.exists():
        print(f"Nothing to do: the photos and weights of these runs are read from {SHARED}/, and {WEIGHTS} is absent.")
        return
    given.runs.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        run = given.runs / f"{name}.sqlite"
        if not given.no_play:
            call(["bench", *RUNS[name], "--out", str(run)])
        if run.exists():
            asked = ["--held-out", HELD_OUT] if RUNS[name][: len(COCO)] == COCO else []
            write_report(given.results / f"{name}.md", run, [asked], above=f"`excitation bench {' '.join(RUNS[name])}`")
            if name.startswith("pointing_"):
                write_pairs(given.results, name.removeprefix("pointing_"), run, ONE_LAYER, REFERENCES)


def write_pairs(results: Path, name: str, run: Path, choice: list[str], references: Sequence[str]) -> None:
    """Each method against some of them, and which method wins how many categories: all pairs, then the difficult.

    Args:
        results: where `compared_NAME.md` and `categories_NAME.md` go.
        name: of the run, in theirs.
        run: results of a pointing game.
        choice: options of `excitation report` that choose the rows.
        references: rows that the others are compared with, as tables call them.
    """
    against = [word for row in references for word in ("--against", row)]
    for kind, asked in (("compared", against), ("categories", ["--categories"])):
        words = ["--no-main", *choice, *asked]
        write_report(results / f"{kind}_{name}.md", run, [words, [*words, "--difficult"]])


def write_report(page: Path, run: Path, reports: Sequence[list[str]], above: str = "") -> None:
    """What `excitation report` prints with each of these options, every table under its command.

    Args:
        page: the Markdown file.
        run: the file of results.
        reports: options of each command.
        above: a first line.
    """
    parts = [above] if above else []
    for options in reports:
        words = ["report", str(run), *options, "--form", "markdown"]
        parts += [f"`excitation {shlex.join(words)}`", call(words).rstrip("\n")]
    write_whole(page, "\n\n".join(parts) + "\n")


def call(words: list[str]) -> str:
    """What an `excitation` command prints, on one core."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*EXCITATION, *words], stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"`excitation {' '.join(words)}` failed; the same command goes on.")
    return done.stdout


if __name__ == "__main__":
    main()
