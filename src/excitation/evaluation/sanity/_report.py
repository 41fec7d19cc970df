"""Tables and charts of the results of the checks, and one table of all checks of a network."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...methods import list_methods
from ...views import Line, LinePanel, line_chart
from .._tables import EMPTY, Cell, Table
from ._choice import LEFT_OUT
from ._findings import Findings, Summary, summarise
from ._randomisation import MEASURES

PANELS: dict[str, tuple[str, ...]] = {
    "Excitation Backprop": ("excitation",),
    "Relevance": ("relevance",),
    "Gradients": ("gradient",),
    "Class activation, masks, selection, control": ("class activation", "perturbation", "selection", "control"),
}
"""Panels of a chart, with their families of methods."""

MIXED = "Relevance, composites and contrasts"
"""Panel of the relevance methods that are not in `ONE_RULE`."""

ONE_RULE = ("lrp-epsilon", "lrp-alpha1-beta0", "lrp-alpha2-beta1", "lrp-z-plus", "lrp-gamma", "lrp-flat")
"""Relevance methods that use the same rule in all layers."""

EQUAL = 0.005
"""Maximum difference between lines that are drawn as one line with both names."""

FEW = 3
"""Minimum number of images for an interval. In charts, lines with fewer images are dashed."""


def randomisation_chart(findings: Findings, measure: str = "grid") -> Figure:
    """Plot the similarity to the maps of the trained network against the randomised layers, with one line per method.

    Args:
        findings: results of `run_randomisation`.
        measure: one of `MEASURES`, or `"hit"`.
    """
    stages = ["trained", *findings.configuration["stages"]]

    def summary(name: str, stage: int) -> Summary:
        return summarise(measured(findings, name, stage, measure))

    label = "hits" if measure == "hit" else MEASURES[measure]
    return line_chart(
        _panels(list(findings.configuration["methods"]), len(stages), summary),
        stages,
        ylabel=label,
        xlabel=f"randomised {'alone' if _is_independent(findings) else 'from the top down to'}",
        limits=(0.0, 1.02) if measure == "hit" else (-0.45, 1.02),
    )


def convergence_chart(findings: Findings) -> Figure:
    """Plot the absolute cosine of the signals of two classes below each stage, with one line per method."""
    stages = findings.configuration["stages"]

    def summary(name: str, stage: int) -> Summary:
        return summarise(cosines(findings, name, stage, "absolute"), "median")

    return line_chart(
        _panels(list(findings.configuration["methods"]), len(stages), summary),
        stages,
        ylabel="|cosine| of two classes' signals",
        xlabel="below",
        limits=(0.0, 1.02),
    )


def randomisation_table(findings: Findings) -> Table:
    """Return the similarity at the highest, the middle and the lowest stage, with all measures for the lowest one.

    The table contains the share of hits if the locations of the targets are known.
    """
    stages, independent = findings.configuration["stages"], _is_independent(findings)
    last, every = len(stages), findings.configuration["every"]
    half = min({1, last, *range(every, last, every)}, key=lambda stage: (abs(2 * stage - last), -stage))
    shown = sorted({1, half, last})
    end = f"only {stages[-1]}" if independent else "all"
    names = [f"only {stages[stage - 1]}" if independent else f"to {stages[stage - 1]}" for stage in shown[:-1]]
    pointing = any("hit" in item and item["hit"] is not None for item in _entries(findings, 0))
    columns = [
        *(("common grid", name) for name in (*names, end)), (f"common grid, {end}", "HOG"),
        *((f"own size, {end}", measure) for measure in ("absolute", "signed", "SSIM")),
        *((("on target, %", "trained"), ("on target, %", f"{end} random")) if pointing else ()),
        ("", "images"), ("", "constant"),
    ]  # fmt: skip
    rows = []
    for name in findings.configuration["methods"]:
        grid = [summarise(measured(findings, name, stage, "grid")) for stage in shown]
        whole = [summarise(measured(findings, name, last, measure)) for measure in ("hog", "absolute", "rank", "ssim")]
        hits = [summarise(measured(findings, name, stage, "hit")) for stage in (0, last)] if pointing else []
        cells = [as_cell(item, interval=stage == last) for stage, item in zip(shown, grid, strict=True)]
        cells += [as_cell(item) for item in whole]
        cells += [as_cell(item, scale=100.0, digits=0) for item in hits]
        cells += [as_count(grid[-1].count + grid[-1].missing), as_count(grid[-1].missing)]
        rows.append((row_name(findings, name), tuple(cells)))
    notes = (
        "Means over images. In brackets: 95 % intervals, bootstrap over images. Each image has its own random networks."
        " 1: the map does not change. 0: the maps are not correlated. Constant: number of constant maps at the last of"
        " these stages; their similarity is undefined, and they count as misses.",
        _reduced(findings),
        _left_out(findings),
    )
    kind = "Randomisation of one stage at a time" if independent else "Cascading randomisation"
    title = f"{kind} in {network_of(findings)}: similarity to the trained map"
    return Table(title, "Method", tuple(columns), tuple(rows), tuple(filter(None, notes)))


def convergence_table(findings: Findings) -> Table:
    """Return the median absolute cosine of the signals of two classes below several stages.

    For the last stage, the table also contains the cosine with its sign.
    """
    stages = findings.configuration["stages"]
    shown = sorted({0, 1, len(stages) // 2, len(stages) - 2, len(stages) - 1} & set(range(len(stages))))
    rows = []
    for name in findings.configuration["methods"]:
        summaries = [summarise(cosines(findings, name, stage, "absolute"), "median") for stage in shown]
        signed = summarise(cosines(findings, name, shown[-1], "cosine"), "median")
        cells = [
            as_cell(item, interval=stage == shown[-1], digits=3) for stage, item in zip(shown, summaries, strict=True)
        ]
        rows.append((name, (*cells, as_cell(signed), as_count(summaries[-1].count))))
    columns = (*(("below", stages[stage]) for stage in shown), (stages[-1], "with sign"), ("", "images"))
    note = (
        f"Medians over images of the medians over {findings.configuration['pairs']} pairs of random classes. In"
        " brackets: 95 % intervals, bootstrap over images. 1: the direction of the signal does not depend on the class."
        " With sign, −1 means opposite signals. Methods that propagate no signal from layer to layer are not included."
    )
    title = f"Convergence in {network_of(findings)}: absolute cosine of two classes' signals"
    return Table(title, "Method", columns, tuple(rows), (note,))


def _is_independent(findings: Findings) -> bool:
    return bool(findings.configuration["order"] == "independent")


def _entries(findings: Findings, stage: int) -> list[dict[str, Any]]:
    """Return the measures at a stage, of all methods and images."""
    methods = [entry for item in findings.images.values() for entry in item["methods"].values()]
    return [entry[str(stage)] for entry in methods if str(stage) in entry]


def _panels(names: Sequence[str], ticks: int, summary: Callable[[str, int], Summary]) -> list[LinePanel]:
    panels = []
    for title, members in _members().items():
        lines: list[Line] = []
        for style, name in enumerate(members):
            if name not in names:
                continue
            summaries = [summary(name, stage) for stage in range(ticks)]
            values, low, high = (
                np.array(side, dtype=float)
                for side in (
                    [item.value for item in summaries],
                    [item.interval.low for item in summaries],
                    [item.interval.high for item in summaries],
                )
            )
            few = max(item.count for item in summaries) < FEW
            band = {} if few else {"low": low, "high": high}
            line = Line(name, values, **band, style=style, dashed=few)
            same = next((i for i, other in enumerate(lines) if _coincide(line, other)), None)
            if same is None:
                lines.append(line)
            else:
                lines[same] = replace(lines[same], name=f"{lines[same].name}\n= {name}")
        if lines:
            panels.append(LinePanel(title, lines))
    return panels


def _members() -> dict[str, list[str]]:
    """Return the methods of each panel. The index of a method in its panel determines its colour in all charts."""
    by_panel: dict[str, list[str]] = {}
    for title, families in PANELS.items():
        members = [
            method.name for method in list_methods() if method.family in families and method.name not in LEFT_OUT
        ]
        if title == "Relevance":
            by_panel[title] = [name for name in members if name in ONE_RULE]
            by_panel[MIXED] = [name for name in members if name not in ONE_RULE]
        else:
            by_panel[title] = members
    return by_panel


def _coincide(line: Line, other: Line) -> bool:
    return line.dashed == other.dashed and np.allclose(line.values, other.values, rtol=0, atol=EQUAL, equal_nan=True)


def _reduced(findings: Findings) -> str:
    texts = []
    for name, item in findings.configuration["methods"].items():
        options = ", ".join(f"{key} = {value}" for key, value in item["options"].items())
        if item["expensive"]:
            texts.append(f"{name} ({options})" if options else name)
    if not texts:
        return ""
    limit = findings.configuration["expensive"]
    return (
        f"Expensive methods use {limit['images']} image{'s' * (limit['images'] != 1)}, one in {limit['every']} stages"
        f" and the last stage: {'; '.join(texts)}. Intervals require at least {FEW} images."
    )


def _left_out(findings: Findings) -> str:
    reasons = findings.configuration.get("left_out", {})
    return " ".join(f"{name} does not apply: {reason}" for name, reason in reasons.items())


def summary_table(randomisation: Findings, independent: Findings, convergence: Findings) -> Table:
    """Return the results of the three checks of one network, with one row per method.

    Args:
        randomisation: results of `run_randomisation` with the order `"cascading"`.
        independent: results of `run_randomisation` with the order `"independent"`.
        convergence: results of `run_convergence`.
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
        cells += [_one_at_a_time(independent, name), _cosine_cell(convergence, name)]
        rows.append((row_name(randomisation, name), tuple(cells)))
    counts = [len(findings.images) for findings in (randomisation, independent, convergence)]
    note = (
        "Randomisation: rank correlation of absolute values on the common grid (HOG: correlation of gradient"
        " histograms), mean over images; one at a time: mean over stages and images. Cosine: median. In brackets: 95 %"
        f" intervals, bootstrap over images: {counts[0]} from the top down, {counts[1]} one at a time, {counts[2]} for"
        " the cosine; fewer for expensive methods (see the table of each check). 1: the map, or the signal, is the"
        " same. Empty: not computed for an expensive method, or no cosine because the method propagates no signal."
    )
    return Table(f"All checks in {network_of(randomisation)}", "Method", columns, tuple(rows), (note,))


def _one_at_a_time(findings: Findings, name: str) -> Cell:
    """Return the mean over the stages that were randomised one at a time, with its interval over images."""
    if name not in findings.configuration["methods"]:
        return EMPTY
    means: list[float | None] = []
    for image in findings.images.values():
        entries = image["methods"].get(name, {})
        known = [entry["grid"] for stage, entry in entries.items() if stage != "0" and entry["grid"] is not None]
        means.append(float(np.mean(known)) if known else None)
    return as_cell(summarise(means), interval=True)


def _cosine_cell(findings: Findings, name: str) -> Cell:
    if name not in findings.configuration["methods"]:
        return EMPTY
    return as_cell(summarise(cosines(findings, name, -1, "absolute"), "median"), interval=True)


def network_of(findings: Findings) -> str:
    """Return the spec of the model, without the folders of its files."""
    return re.sub(r"[^:,@]*/", "", findings.configuration["model"]["spec"])


def measured(findings: Findings, name: str, stage: int, measure: str) -> list[float | None]:
    """Return a measure of each image at this stage; `None` if a map was constant. Images without a map are skipped."""
    by_stage: list[dict[str, Any]] = [
        item["methods"][name] for item in findings.images.values() if name in item["methods"]
    ]
    return [item[str(stage)][measure] for item in by_stage if str(stage) in item]


def cosines(findings: Findings, name: str, stage: int, kind: str) -> list[float | None]:
    """Return the `"cosine"` of the signals of two classes below a stage, or its `"absolute"` value, for each image."""
    return [item["methods"][name][kind][stage] for item in findings.images.values()]


def as_cell(summary: Summary, *, interval: bool = False, scale: float = 1.0, digits: int = 2) -> Cell:
    """Return a cell with a mean or median; empty without a value.

    Args:
        summary: the mean or median.
        interval: whether to add the interval in brackets, if there are at least `FEW` images.
        scale: factor of the displayed numbers.
        digits: decimal places.
    """
    if math.isnan(summary.value):
        return Cell("")
    value, low, high = (
        _number(scale * number, digits) for number in (summary.value, summary.interval.low, summary.interval.high)
    )
    return Cell(f"{value} [{low}, {high}]" if interval and summary.count >= FEW else value, value=summary.value)


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def as_count(number: int) -> Cell:
    """Return a cell with an integer."""
    return Cell(str(number), value=number)


def row_name(findings: Findings, name: str) -> str:
    """Return the name of a method in tables, with its layer if a layer was given."""
    layer = findings.configuration["methods"][name]["layer"]
    return name if layer is None else f"{name} at {layer}"
