"""Evaluate the bundled classifiers on unseen scenes: `python -m experiments.symbols.evaluate`.

Writes their precision by size, and over 5 % of the picture by kind of class, into `docs/results/symbols_NETWORK.json`,
where the record of their training stays as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn

from excitation._files import write_whole
from excitation.models.symbols import load_symbols
from experiments.symbols.precision import mean_average_precision, precision_by_kind, predict
from experiments.symbols.scenes import render

SIZES = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 1)
SCENES = 1000  # of each split
BUNDLED = {"googlenet": "", "resnet": "resnet"}
"""Networks, and what follows `symbols:` in their specs."""


def evaluate(
    scenes: Annotated[Path, typer.Option(help="Folder of the rendered scenes.")] = Path("runs/symbols/scenes"),
    results: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("docs/results"),
    threads: Annotated[int, typer.Option(help="Of torch, and processes that render.")] = 2,
) -> None:
    """Bring the records of both bundled networks up to date."""
    torch.set_num_threads(threads)
    for network, rest in BUNDLED.items():
        place = results / f"symbols_{network}.json"
        record = json.loads(place.read_text()) | evaluation(load_symbols(rest).model, scenes, threads)
        write_whole(place, json.dumps(record, indent=1) + "\n")
        print(network, json.dumps(record["precision over 5 % by kind"], indent=1))


def evaluation(model: nn.Module, folder: Path, threads: int) -> dict[str, Any]:
    """Precision on unseen scenes, pairs together (`val`) and broken (`test`).

    Args:
        model: gives one logit per class; takes pictures from -1 to 1.
        folder: of the rendered scenes.
        threads: processes that render those not there yet.
    """
    by_size, by_kind = {}, {}
    for split in ("val", "test"):
        found = predict(model, render(split, SCENES, 0, folder, threads))
        by_size[split] = mean_average_precision(*found, SIZES)
        by_kind[split] = precision_by_kind(*found)
    return {
        "precision": by_size,
        "precision over 5 %": by_kind["val"]["all"],
        "precision over 5 % by kind": by_kind,
    }


if __name__ == "__main__":
    typer.run(evaluate)
