"""The tables of docs/performance.md, written from the committed figures: `python -m experiments.speed.page`.

A table stands between two comments that name it; what is written around them is left as it is.
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
PAGE = DOCS / "performance.md"

TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "reached": reached,
    "others": others,
    "scaling": scaling,
    "precision": precision,
    "compile": compiled,
    "all": as_markdown,
}
GPU_TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "gpu reached": reached,
    "gpu others": others,
    "gpu rates": gpu_rates,
}


def filled(page: str, found: dict[str, Any], on_gpu: dict[str, Any]) -> str:
    """A page with its tables written anew.

    Args:
        page: Markdown with a pair of comments for each table.
        found: what `make bench` measured.
        on_gpu: what `make bench-gpu` did.
    """
    made_of = [*((*item, found) for item in TABLES.items()), *((*item, on_gpu) for item in GPU_TABLES.items())]
    for name, make, figures in made_of:
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if len(pattern.findall(page)) != 1:
            raise ValueError(
                f"the page has no place for the table {name!r}, or several; one pair of comments belongs there."
            )
        made = make(figures).rstrip("\n") + "\n"
        page = pattern.sub(lambda match, made=made: match[1] + made + match[2], page)  # type: ignore[misc]
    return page


def main(
    figures: Annotated[Path, typer.Option(help="What was measured.")] = FIGURES,
    on_gpu: Annotated[Path, typer.Option(help="The same on a CUDA device.")] = ON_GPU,
    page: Annotated[Path, typer.Option(help="The page.")] = PAGE,
) -> None:
    """Write the page's tables."""
    write_whole(page, filled(page.read_text(), json.loads(figures.read_text()), json.loads(on_gpu.read_text())))


if __name__ == "__main__":
    typer.run(main)
