"""All checks of one network in one table."""

from __future__ import annotations

import numpy as np

from .._tables import EMPTY, Cell, Table
from ._cells import as_cell, called, cosines, measured, network_of
from ._findings import Findings, summarise


def summary_table(randomisation: Findings, independent: Findings, convergence: Findings) -> Table:
    """What each method does in the three checks, a line for each.

    Args:
        randomisation: of `run_randomisation`, from the top down.
        independent: the same, one stage at a time.
        convergence: of `run_convergence`, of the same network.
    """
    stages = randomisation.configuration["stages"]
    columns = (
        ("from the top down", stages[0]), ("from the top down", "all"), ("from the top down", "all, HOG"),
        ("one at a time", "mean"), (f"two classes below {stages[-1]}", "absolute cosine"),
    )  # fmt: skip
    rows = []
    for name in randomisation.configuration["methods"]:
        cells = [as_cell(summarise(measured(randomisation, name, 1, "grid")))]
        cells += [
            as_cell(summarise(measured(randomisation, name, len(stages), kind)), interval=kind == "grid")
            for kind in ("grid", "hog")
        ]
        cells += [_alone(independent, name), _meeting(convergence, name)]
        rows.append((called(randomisation, name), tuple(cells)))
    counts = [len(findings.images) for findings in (randomisation, independent, convergence)]
    note = (
        "Randomisation: rank correlation of absolute values on the common grid (HOG: correlation of gradient"
        " histograms), mean over images; one at a time: mean over stages and images. Cosine: median. In brackets 95 %"
        f" intervals, bootstrap over images: {counts[0]} from the top down, {counts[1]} one at a time, {counts[2]} for"
        " the cosine; expensive methods fewer, as the table of each check says. 1: the map, or the signal, is the same."
        " Empty: not asked of an expensive method; no cosine of methods that send no signal of their own down."
    )
    return Table(f"All checks in {network_of(randomisation)}", "Method", columns, tuple(rows), (note,))


def _alone(findings: Findings, name: str) -> Cell:
    """The mean over the stages that were randomised alone, with its interval over images."""
    if name not in findings.configuration["methods"]:
        return EMPTY
    means: list[float | None] = []
    for image in findings.images.values():
        found = image["methods"].get(name, {})
        known = [entry["grid"] for stage, entry in found.items() if stage != "0" and entry["grid"] is not None]
        means.append(float(np.mean(known)) if known else None)
    return as_cell(summarise(means), interval=True)


def _meeting(findings: Findings, name: str) -> Cell:
    if name not in findings.configuration["methods"]:
        return EMPTY
    return as_cell(summarise(cosines(findings, name, -1, "absolute"), "median"), interval=True)
