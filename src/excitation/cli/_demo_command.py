"""`excitation demo`: a crowded picture, explained by the classifier that comes along."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import answer


def demo_command(
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Another number, another picture.")] = 0,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where all files go.")] = Path("demo"),
) -> None:
    """Explain a crowded picture of the symbol world, object by object: MWP beside c-MWP.

    Needs no download. Writes the picture, a figure with all maps over it (PNG) and the raw maps (NPZ), and prints for
    each object the network's score, where each map points and whether it hits, and the account of probability mass.
    """
    from ._demo import run_demo

    answer(run_demo(seed, out))
