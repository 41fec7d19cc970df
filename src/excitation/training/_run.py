"""The folder of a training run: what it says of itself, its log, its checkpoint."""

from __future__ import annotations

import csv
import io
import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .._files import whole_file, write_whole
from ._options import TrainingError

CHECKPOINT, LOG, CURVE, RUN = "checkpoint.pt", "log.csv", "curve.png", "run.json"
REDRAWN = 60.0
"""Seconds after which the curve is drawn again."""

COLUMNS = ("step", "pass", "rate", "loss", "held_out_loss", "held_out_precision", "seconds")


class RunFolder:
    """Where a run keeps what it needs to go on.

    `run.json` says what the run is: configuration, hashes of the data, releases. `log.csv` has a row for each look at
    the held-out examples, `curve.png` draws it, `checkpoint.pt` holds all that training needs to go on. Each is
    written whole or not at all.

    Args:
        folder: made if it does not exist.
        configuration: what makes this run this one.

    Raises:
        TrainingError: the folder belongs to another run.
    """

    def __init__(self, folder: Path, configuration: Mapping[str, Any], *, write: bool = True) -> None:
        self.folder = folder
        self._drawn = time.monotonic()
        said = json.loads(json.dumps(configuration))
        place = folder / RUN
        if place.exists():
            stored = json.loads(place.read_text())["configuration"]
            if stored != said:
                changed = sorted(key for key in {*stored, *said} if stored.get(key) != said.get(key))
                raise TrainingError(
                    f"{folder}: belongs to a run with another {' and '.join(changed)}; choose another folder."
                )
        elif write:
            from .. import __version__

            versions = {
                "excitation": __version__, "torch": torch.__version__, "numpy": np.__version__,
                "python": platform.python_version(), "machine": platform.machine(),
                "threads": torch.get_num_threads(),
            }  # fmt: skip
            write_whole(place, json.dumps({"configuration": said, "versions": versions}, indent=1) + "\n")

    def save(self, state: Mapping[str, Any], *, last: bool) -> None:
        """Write a checkpoint, its rows as log, and now and then as curve.

        Args:
            state: of the run.
            last: whether the run ends here.

        Raises:
            TrainingError: the disk takes no more; the checkpoint before stays.
        """
        try:
            with whole_file(self.folder / CHECKPOINT) as file:
                torch.save(dict(state), file)
            rows = state["rows"]
            write_whole(self.folder / LOG, _table(rows))
            if last or time.monotonic() - self._drawn > REDRAWN:
                with whole_file(self.folder / CURVE) as file:
                    _curve(rows).savefig(file, format="png", dpi=150)
                self._drawn = time.monotonic()
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f"{self.folder}: cannot be written to ({' '.join(str(error).split())[:200]}); what was saved before"
                " stays, and the same command goes on from there."
            ) from error

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, if there is one.

        Raises:
            TrainingError: it is damaged.
        """
        place = self.folder / CHECKPOINT
        if not place.exists():
            return None
        try:
            found: dict[str, Any] = torch.load(place, map_location="cpu", weights_only=True)
        except Exception as error:
            raise TrainingError(f"{place}: is damaged; remove it to begin again.") from error
        return found


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _curve(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss in training and on held-out examples, and precision on these, against steps."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    steps = [row["step"] for row in rows]
    left.plot(steps, [row["loss"] for row in rows], ".-", color="#c44e52", label="training")
    left.plot(steps, [row["held_out_loss"] for row in rows], ".--", color="#c44e52", label="held out")
    left.set_xlabel("training step")
    left.set_ylabel("multi-label cross-entropy", color="#c44e52")
    left.legend(frameon=False)
    right = left.twinx()
    right.plot(steps, [row["held_out_precision"] for row in rows], ".-", color="#4c72b0")
    right.set_ylim(0, 1)
    right.set_ylabel("mean average precision, held out", color="#4c72b0")
    return figure
