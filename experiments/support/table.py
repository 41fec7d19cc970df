"""Make the support table: `python -m experiments.support.table` (goes on where it stopped).

Every torchvision classifier, one network of every convolutional family of timm, and networks for segmentation, video,
audio, detection and several inputs, with random weights and calibrated batch norms, are explained at the pixels and in
the middle; `docs/results/support.md` and `.json` say how it went.
"""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import track

from excitation._files import write_whole

from .measure import CLOSED, TARGET, measure
from .networks import CLASSES, Candidate, build, candidates
from .operators import declare_missing_operators

SEED = 0
RESULTS = Path("docs/results/support.json")
MEANING = {
    "exact": "only the paper's rules",
    "extended": "rules beyond the paper, named in the table",
    "refused": "an operation without a rule, with the engine's own sentence",
    "wrong": "the account does not close",
}
MASSES = ("top", "middle", "bottom", "lost", "spread")
REASONS = {
    "multiplies activations with each other": "attention",
    "as attention does": "attention",
}
"""The engine's sentences, in a word."""


def main(
    work: Annotated[Path, typer.Option(help="One file for each network that is done.")] = Path("runs/support"),
    out: Annotated[Path, typer.Option(help="The table as JSON; the readable one is written beside it.")] = RESULTS,
    only: Annotated[str, typer.Option(help="Part of a network's name.")] = "",
) -> None:
    """Measure all networks that are not measured yet, then write the table."""
    torch.set_num_threads(1)
    declare_missing_operators()
    chosen = [candidate for candidate in candidates() if only in candidate.name]
    for candidate in track(chosen, "explaining"):
        place = _place(work, candidate)
        if not place.exists():
            row = {**asdict(candidate), **asdict(measure(*build(candidate, SEED)))}
            write_whole(place, json.dumps(row, indent=1))
    rows = [json.loads(_place(work, candidate).read_text()) for candidate in chosen]
    table = {"configuration": configuration(), "networks": rows}
    write_whole(out, json.dumps(table, indent=1) + "\n")
    write_whole(out.with_suffix(".md"), as_markdown(table))


def _place(work: Path, candidate: Candidate) -> Path:
    return work / f"{candidate.source}-{candidate.name}.json"


def configuration() -> dict[str, Any]:
    """What the numbers depend on."""
    packages = {name: version(name) for name in ("excitation", "torch", "torchvision", "timm")}
    return {"seed": SEED, "classes": CLASSES, "target": TARGET, "dtype": "float32", "policies": "default",
            "closed": CLOSED, "threads": 1, "machine": platform.machine(), **packages}  # fmt: skip


def as_markdown(table: Mapping[str, Any]) -> str:
    """The readable table."""
    about, rows = table["configuration"], table["networks"]
    lines = [
        "# Which networks can be explained",
        "",
        f"Every classifier of torchvision {about['torchvision']}, one network of every convolutional family of timm"
        f" {about['timm']} (more where its operations change), and networks for segmentation (the mean score of a class"
        " over all pixels), video, audio, detection and several inputs, with random weights and batch norms calibrated"
        " on random pictures, a seventh of their scales negative. One class, `Policies()`, with `product='halves'`"
        " where a row says so (by itself the engine refuses products of two activations, and says this remedy);"
        f" float32, torch {about['torch']}, one thread beside other work: the seconds (one map at the pixels with its"
        " account) are an order of size.",
        "",
        "`make support` makes this page; `tests/engine/test_support.py` holds it against the engine.",
        "",
        "| status | meaning | torchvision's classifiers | timm's classifiers | other kinds |",
        "| --- | --- | --- | --- | --- |",
    ]
    groups = _groups(rows)
    counts = {
        title: Counter(row["status"] for row in group) for title, group in groups.items() if "classifier" in title
    }
    counts["others"] = Counter(row["status"] for row in rows if row["kind"] != "classifier")
    for status, meaning in MEANING.items():
        cells = " | ".join(str(count[status]) for count in counts.values())
        lines.append(f"| {status} | {meaning} | {cells} |")
    lines += [
        "",
        "*Mass* is that of the top-down signal (1), of the map in the middle (the layer named, which all evidence"
        " passes), and of the map at the pixels; *lost* ended on the way at winners whose excitatory inputs are all"
        ' silent (`Z = 0` in Eq. 4); *spread* is the mass at the pixels under `Policies(normaliser="spread")`, which'
        " passes that on, but for neurons that see nothing but padding (NASNet and PNASNet have some) and what ends at"
        " a vision transformer's class token, which is a parameter. In each row"
        f" pixels and lost add up to the top within {about['closed']:g}, no mass is negative, and none goes round the"
        " layer. Where much is lost, it is at depthwise convolutions, whose neurons have nine inputs and often no"
        " excitatory one that is active (looked up for MobileNetV2, MobileOne, ShuffleNetV2, Xception). ConvMixer and"
        " RepGhostNet kept 1.000 and 0.827 in an older state, where the shift of a batch norm behind a ReLU counted as"
        " evidence; folded into the next convolution it is a bias, and the neurons it alone makes active have no"
        " excitatory input (docs/rules.md, *Silent sums below a shift*). With timm's own folding of parallel branches"
        " into one convolution RepGhostNet keeps 0.794, MobileOne-S0 0.689, RepVGG-A0 1.000."
        " `mvit_v1_b` and `mvit_v2_s` were not run: a"
        " record of theirs takes over 13 GB.",
        "",
        *_older(about),
        "*Replay*: the record of each network was replayed on other pictures (`eb.verify`); it agrees where scores and"
        " the outputs of all modules equal the network's own.",
    ]
    for title, group in groups.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| network | status | beyond the paper, or why not | in the middle | top | middle | pixels | lost | spread"
            " | s | replay |",
            "| --- | --- | --- | --- | --: | --: | --: | --: | --: | --: | --- |",
        ]
        lines += [_line(row) for row in group]
    return "\n".join(lines) + "\n"


def _older(about: Mapping[str, Any]) -> list[str]:
    """Says of which rows the numbers are those of an earlier state."""
    names = about.get("older", [])
    if not names:
        return []
    return [f"Not measured again since the rules for silent sums changed: {', '.join(names)}.", ""]


def _groups(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows by title, in the order of the table."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        title = f"{row['source']}: classifiers" if row["kind"] == "classifier" else row["kind"].capitalize()
        groups.setdefault(title, []).append(row)
    return groups


def _line(row: Mapping[str, Any]) -> str:
    refused = row["status"] == "refused"
    note = reason(row["notes"][0]) if refused else ", ".join(row["notes"])
    masses = ("" if row[key] is None else f"{row[key]:.4f}".replace("-0.0000", "0.0000") for key in MASSES)
    seconds = "" if refused else f"{row['seconds']:.1f}"
    middle = f"`{row['middle_layer']}`" if row["middle_layer"] else ""
    cells = (row["name"], row["status"], note, middle, *masses, seconds, row["replay"])
    return f"| {' | '.join(cells)} |"


def reason(sentence: str) -> str:
    """Why a network is refused: a word, and the operation and its place."""
    where = sentence.partition(":")[0]
    for part, word in REASONS.items():
        if part in sentence:
            return f"{word}: {where}"
    return sentence


if __name__ == "__main__":
    typer.run(main)
