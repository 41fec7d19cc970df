"""`excitation symbols`: scenes of the symbol world as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import progress_bar, report_line


def symbols_command(
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Number of scenes.")] = 100,
    seed: Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Of the world.")] = 0,
    split: Annotated[
        str,
        typer.Option("--split", metavar="NAME", help="train and val keep pairs of symbols together, test breaks them,"
                     " dominant has one large object per picture."),
    ] = "test",
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")] = Path("symbols"),
) -> None:  # fmt: skip
    """Write scenes of named symbols with exact ground truth.

    Pictures (PNG), objects with masks (COCO JSON) and with boxes (VOC XML), captions with boxes (Flickr30k Entities),
    tags of imaginary users; for dominant also labels with boxes (ImageNet). They open as --data coco:DIR, voc:DIR/voc
    and, dominant ones, imagenet:DIR. The same seed gives the same scenes everywhere; an interrupted run goes on.
    """
    from ..data.symbols import export_scenes

    with progress_bar() as progress:
        task = progress.add_task("drawing scenes", total=count)
        for done in export_scenes(out, count, seed, split):
            progress.update(task, completed=done)
    report_line(f"{count} scenes in {out}.")
