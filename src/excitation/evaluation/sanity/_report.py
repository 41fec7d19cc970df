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
"""Panels of a chart, with the families of methods they show."""

MIXED = "Relevance, composites and contrasts"
"""A panel of its own for relevance methods that are not one rule throughout."""

ONE_RULE = ("lrp-epsilon", "lrp-alpha1-beta0", "lrp-alpha2-beta1", "lrp-z-plus", "lrp-gamma", "lrp-flat")

ALIKE = 0.005
"""Lines that are nowhere further apart are drawn as one, under both names."""

FEW = 3
"""Images of which an interval says something; lines of fewer are dashed in charts."""


def randomisation_chart(findings: Findings, measure: str = "grid") -> Figure:
    """Similarity to the trained network's maps against the layers that are randomised, one line per method.

    Args:
        findings: of `run_randomisation`.
        measure: one of `MEASURES`, or `"hit"`.
    """
    stages = ["trained", *findings.configuration["stages"]]

    def at(name: str, stage: int) -> Summary:
        return summarise(measured(findings, name, stage, measure))

    label = "hits" if measure == "hit" else MEASURES[measure]
    return line_chart(
        _panels(list(findings.configuration["methods"]), len(stages), at),
        stages,
        ylabel=label,
        xlabel=f"randomised {'alone' if _alone(findings) else 'from the top down to'}",
        limits=(0.0, 1.02) if measure == "hit" else (-0.45, 1.02),
    )


def convergence_chart(findings: Findings) -> Figure:
    """The absolute cosine of two classes' signals below each stage, one line per method."""
    stages = findings.configuration["stages"]

    def at(name: str, stage: int) -> Summary:
        return summarise(cosines(findings, name, stage, "absolute"), "median")

    return line_chart(
        _panels(list(findings.configuration["methods"]), len(stages), at),
        stages,
        ylabel="|cosine| of two classes' signals",
        xlabel="below",
        limits=(0.0, 1.02),
    )


def randomisation_table(findings: Findings) -> Table:
    """Similarity at the top stage, half-way down and at the lowest, where all measures are shown; pointing if known."""
    stages, alone = findings.configuration["stages"], _alone(findings)
    last, every = len(stages), findings.configuration["every"]
    half = min({1, last, *range(every, last, every)}, key=lambda stage: (abs(2 * stage - last), -stage))
    shown = sorted({1, half, last})
    end = f"only {stages[-1]}" if alone else "all"
    names = [f"only {stages[stage - 1]}" if alone else f"to {stages[stage - 1]}" for stage in shown[:-1]]
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
        rows.append((called(findings, name), tuple(cells)))
    notes = (
        "Means over images; in brackets 95 % intervals, bootstrap over images, each of which has random networks of its"
        " own. 1: the map does not change; 0: nothing of it is left. Constant: maps without any order at the last of"
        " these stages, for which no similarity is defined; they miss the target.",
        _reduced(findings),
        _left_out(findings),
    )
    kind = "Randomisation of one stage at a time" if alone else "Cascading randomisation"
    title = f"{kind} in {network_of(findings)}: similarity to the trained map"
    return Table(title, "Method", tuple(columns), tuple(rows), tuple(filter(None, notes)))


def convergence_table(findings: Findings) -> Table:
    """The median absolute cosine of two classes' signals below some stages, and the cosine itself at the last."""
    stages = findings.configuration["stages"]
    shown = sorted({0, 1, len(stages) // 2, len(stages) - 2, len(stages) - 1} & set(range(len(stages))))
    rows = []
    for name in findings.configuration["methods"]:
        found = [summarise(cosines(findings, name, stage, "absolute"), "median") for stage in shown]
        signed = summarise(cosines(findings, name, shown[-1], "cosine"), "median")
        cells = [as_cell(item, interval=stage == shown[-1], digits=3) for stage, item in zip(shown, found, strict=True)]
        rows.append((name, (*cells, as_cell(signed), as_count(found[-1].count))))
    columns = (*(("below", stages[stage]) for stage in shown), (stages[-1], "with sign"), ("", "images"))
    note = (
        f"Medians over images of the medians over {findings.configuration['pairs']} pairs of random classes; in"
        " brackets 95 % intervals, bootstrap over images. 1: one direction, whatever the"
        " class. With sign, −1 stands for signals of one direction and opposite sign. Methods that do not send a signal"
        " of their own down through the layers have no direction to compare."
    )
    title = f"Convergence in {network_of(findings)}: absolute cosine of two classes' signals"
    return Table(title, "Method", columns, tuple(rows), (note,))


def _alone(findings: Findings) -> bool:
    return bool(findings.configuration["order"] == "independent")


def _entries(findings: Findings, stage: int) -> list[dict[str, Any]]:
    """Return the measures at a stage, of all methods and images."""
    methods = [entry for item in findings.images.values() for entry in item["methods"].values()]
    return [entry[str(stage)] for entry in methods if str(stage) in entry]


def _panels(names: Sequence[str], ticks: int, at: Callable[[str, int], Summary]) -> list[LinePanel]:
    panels = []
    for title, members in _members().items():
        lines: list[Line] = []
        for style, name in enumerate(members):
            if name not in names:
                continue
            found = [at(name, stage) for stage in range(ticks)]
            values, low, high = (
                np.array(side, dtype=float)
                for side in (
                    [item.value for item in found],
                    [item.interval.low for item in found],
                    [item.interval.high for item in found],
                )
            )
            few = max(item.count for item in found) < FEW
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
    """Methods of each panel; a method's place there is its colour in all charts, whichever others take part."""
    found: dict[str, list[str]] = {}
    for title, families in PANELS.items():
        members = [
            method.name for method in list_methods() if method.family in families and method.name not in LEFT_OUT
        ]
        if title == "Relevance":
            found[title] = [name for name in members if name in ONE_RULE]
            found[MIXED] = [name for name in members if name not in ONE_RULE]
        else:
            found[title] = members
    return found


def _coincide(line: Line, other: Line) -> bool:
    return line.dashed == other.dashed and np.allclose(line.values, other.values, rtol=0, atol=ALIKE, equal_nan=True)


def _reduced(findings: Findings) -> str:
    said = []
    for name, item in findings.configuration["methods"].items():
        options = ", ".join(f"{key} = {value}" for key, value in item["options"].items())
        if item["expensive"]:
            said.append(f"{name} ({options})" if options else name)
    if not said:
        return ""
    limit = findings.configuration["expensive"]
    return (
        f"Expensive methods see {limit['images']} image{'s' * (limit['images'] != 1)}, one in {limit['every']} stages"
        f" and the last: {'; '.join(said)}. No interval of fewer than {FEW} images is given."
    )


def _left_out(findings: Findings) -> str:
    reasons = findings.configuration.get("left_out", {})
    return " ".join(f"{name} does not apply: {reason}" for name, reason in reasons.items())


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
        cells += [_one_at_a_time(independent, name), _meeting(convergence, name)]
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


def _one_at_a_time(findings: Findings, name: str) -> Cell:
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


def network_of(findings: Findings) -> str:
    """The model's spec, without the folders of its files."""
    return re.sub(r"[^:,@]*/", "", findings.configuration["model"]["spec"])


def measured(findings: Findings, name: str, stage: int, measure: str) -> list[float | None]:
    """One number per image that was asked at this stage; `None` where a map was constant or missing."""
    found = (item["methods"][name] for item in findings.images.values() if name in item["methods"])
    asked: list[dict[str, Any]] = [item for item in found if str(stage) in item]
    return [item[str(stage)][measure] for item in asked]


def cosines(findings: Findings, name: str, stage: int, kind: str) -> list[float | None]:
    """One number per image below a stage: the `"cosine"` of two classes' signals, or its `"absolute"` value."""
    return [item["methods"][name][kind][stage] for item in findings.images.values()]


def as_cell(found: Summary, *, interval: bool = False, scale: float = 1.0, digits: int = 2) -> Cell:
    """A mean or median, with its interval in brackets if asked for and if there are `FEW` images; else empty."""
    if math.isnan(found.value):
        return Cell("")
    value, low, high = (
        _number(scale * number, digits) for number in (found.value, found.interval.low, found.interval.high)
    )
    return Cell(f"{value} [{low}, {high}]" if interval and found.count >= FEW else value, value=found.value)


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def as_count(number: int) -> Cell:
    """Return a cell with an integer."""
    return Cell(str(number), value=number)


def called(findings: Findings, name: str) -> str:
    """A method's name, with its layer where that is its own."""
    layer = findings.configuration["methods"][name]["layer"]
    return name if layer is None else f"{name} at {layer}"
