"""`excitation demo`: a photo explained by a real network, then a crowded picture of the symbol world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import answer, report_line


def demo_command(
    photo: Annotated[
        Path | None,
        typer.Option("--photo", metavar="FILE", help="A photo of your own: its three likeliest classes.",
                     show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Another number, another picture.")] = 0,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where all files go.")] = Path("demo"),
) -> None:  # fmt: skip
    """Explain a photo, class by class, and then a crowded picture of the symbol world: MWP beside c-MWP.

    The photo is explained by EfficientNet-Lite0 (extra `lite`), three classes with MWP, c-MWP and r-MWP. The symbol
    world needs no extra; with --photo it is left out. Writes figures with all maps over the pictures (PNG) and the raw
    maps (NPZ), and prints for each class its probability and where each map points, and for each symbol whether the
    map hits, and the balance of probability mass. Nothing is downloaded.
    """
    from ..models import ModelError, load_model
    from ._demo import run_demo
    from ._demo_photo import run_photo

    try:
        loaded = load_model("lite")
    except ModelError as error:
        if photo is not None:
            raise
        report_line(f"the photo is left out: {error}")
    else:
        answer(run_photo(loaded, photo, out))
    if photo is None:
        answer(run_demo(seed, out))
