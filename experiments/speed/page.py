"""The page of all speed figures, written from the committed ones: `python -m experiments.speed.page`.

It writes `docs/results/speed.md` whole, and the table of targets in `docs/explanation/performance.md`, which stands
there between two comments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from excitation._files import write_whole
from experiments.speed.gpu_tables import gpu_rates
from experiments.speed.short_tables import compiled, others, precision, reached, scaling
from experiments.speed.table import as_markdown

DOCS = Path(__file__).resolve().parents[2] / "docs"
FIGURES = DOCS / "results" / "speed.json"
ON_GPU = DOCS / "results" / "speed_cuda.json"
PAGE = DOCS / "results" / "speed.md"
SUMMARY = DOCS / "explanation" / "performance.md"

Make = Callable[[dict[str, Any]], str]

SECTIONS: tuple[tuple[str, str, Make, bool], ...] = (
    ("Targets", "", reached, False),
    (
        "Beside other packages",
        "The part above the layer, its features as input, one target, batch 8; each called as its documentation "
        "says, in the same turns. What a package needs to be told (hooks, composites) is told within the call. MWP "
        "runs first in each turn. Captum's LRP writes to the weights, so that MWP must make their halves anew: on "
        "VGG16 that takes a fifth to two fifths of a second, and c-MWP, which follows, is faster.",
        others,
        False,
    ),
    (
        "By classes, images and pixels",
        "![Time of maps against classes, images, pixels and threads](../figures/speed_scaling.png)\n\n"
        "*Medians over turns, bars for the middle half. (a) to (c): one thread, processor time; (d): wall time."
        " `python -m experiments.figures.speed_scaling` draws it.*",
        scaling,
        False,
    ),
    (
        "Half precision and autocast",
        'Against the same network in float64, the worst map of each network. Where "trained" is not said, weights are'
        " random and pictures are noise.",
        precision,
        False,
    ),
    ("torch.compile", "ResNet-50, batch 8, `layer3`, one thread.", compiled, False),
    (
        "On a GPU: images and maps a second",
        "Measured on one H100, whose time was up before ResNet-50's rates were in.",
        gpu_rates,
        True,
    ),
    (
        "On a GPU: targets",
        "The parts above the layer, eager calls, batch 8, before the fixed cost was lowered by a third. `further"
        " class`, the difference of two nearly equal times, is mostly noise.",
        reached,
        True,
    ),
    ("On a GPU: beside other packages", "Eager calls.", others, True),
    ("All figures", "", as_markdown, False),
)
"""Heading, what a reader must know, the table, and whether it is of the CUDA device."""

HEAD = """# Speed: all figures

Written by `python -m experiments.speed.page` from `speed.json` (`make bench`) and `speed_cuda.json` (`make bench-gpu`).
[Performance](../explanation/performance.md) is the summary. `U` is the forward pass above the layer.
"""


def page_of(found: dict[str, Any], on_gpu: dict[str, Any]) -> str:
    """The page.

    Args:
        found: what `make bench` measured.
        on_gpu: what `make bench-gpu` did.
    """
    parts = [HEAD]
    for title, words, make, cuda in SECTIONS:
        table = make(on_gpu if cuda else found).strip("\n")
        parts.append("\n\n".join(item for item in (f"## {title}", words, table) if item) + "\n")
    return "\n".join(parts)


def summary_of(page: str, found: dict[str, Any]) -> str:
    """The summary with its table written anew; what stands around it is left as it is."""
    pattern = re.compile("(<!-- reached -->\n).*?(<!-- /reached -->)", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError("the page has no place for the table of targets, or several; one pair of comments is due.")
    made = reached(found).rstrip("\n") + "\n"
    return pattern.sub(lambda match: match[1] + made + match[2], page)


def main(
    figures: Annotated[Path, typer.Option(help="What was measured.")] = FIGURES,
    on_gpu: Annotated[Path, typer.Option(help="The same on a CUDA device.")] = ON_GPU,
    page: Annotated[Path, typer.Option(help="The page of all figures.")] = PAGE,
    summary: Annotated[Path, typer.Option(help="The page with the table of targets.")] = SUMMARY,
) -> None:
    """Write the page, and the summary's table."""
    found = json.loads(figures.read_text())
    write_whole(page, page_of(found, json.loads(on_gpu.read_text())))
    write_whole(summary, summary_of(summary.read_text(), found))


if __name__ == "__main__":
    typer.run(main)
