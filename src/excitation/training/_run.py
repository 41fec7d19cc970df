"""The folder of a training run: its configuration, log and checkpoint."""

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
    """The folder with the files of a run.

    `run.json` contains the configuration, hashes of the data, and package versions. `log.csv` contains one row for each
    evaluation, and `curve.png` is a plot of it. `checkpoint.pt` contains the state that is needed to continue the run.
    All files are written atomically.

    Args:
        folder: path of the folder. It is created if it does not exist.
        configuration: data that identify the run.

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
        """Write a checkpoint and the log, and occasionally the plot.

        Args:
            state: state of the run.
            last: whether this is the end of the run.

        Raises:
            TrainingError: the disk is full. The previous checkpoint is kept.
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
                f"{self.folder}: cannot be written to ({' '.join(str(error).split())[:200]}); files saved before"
                f" are kept, and the same command continues from them."
            ) from error

    def load(self) -> dict[str, Any] | None:
        """Return the last checkpoint, or `None`.

        Raises:
            TrainingError: the checkpoint is damaged.
        """
        place = self.folder / CHECKPOINT
        if not place.exists():
            return None
        try:
            found: dict[str, Any] = torch.load(place, map_location="cpu", weights_only=True)
        except Exception as error:
            raise TrainingError(f"{place}: is damaged; remove it to start again.") from error
        return found


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _curve(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Plot the training loss, the held-out loss and the held-out precision against the number of steps."""
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
