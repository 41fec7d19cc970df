"""`excitation symbols`, `excitation tags`: commands that make or clean data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import ProgressDisplay, print_columns, report_line

tags = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Clean uploads with tags, and report on them.")


def symbols_command(
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Number of scenes.")] = 100,
    seed: Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Seed of the scenes.")] = 0,
    split: Annotated[
        str,
        typer.Option("--split", metavar="NAME", help="train, val or test scenes, or dominant: one large object per"
                     " picture. Pairs of symbols that occur together in train and val are separate in test."),
    ] = "test",
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files.")] = Path("symbols"),
) -> None:  # fmt: skip
    """Write scenes of named symbols with exact ground truth.

    Writes pictures (PNG), objects with masks (COCO JSON) and with boxes (VOC XML), captions with boxes (Flickr30k
    Entities), and tags of simulated users; for dominant also labels with boxes (ImageNet). Use them as --data coco:DIR,
    voc:DIR/voc and, for dominant, imagenet:DIR. The same seed gives the same scenes on every machine. The same command
    continues an interrupted run.
    """
    from ..data.symbols import export_scenes

    with ProgressDisplay("drawing scenes") as display:
        for done in export_scenes(out, count, seed, split):
            display.update(done, count)
    report_line(f"{count} scenes in {out}.")


@tags.command("clean")
def clean_command(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="UPLOADS...", help="JSON lines or Parquet files with image, user and tags; or folders of them."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the result.", show_default=False)],
    threshold: Annotated[
        int,
        typer.Option(
            "--threshold", metavar="N", min=1, help="Minimum number of occurrences of a tag in the dictionary."
        ),
    ] = 1000,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Number of processes.")] = 1,
) -> None:
    """Clean uploads as in the paper (Appendix B), in bounded memory.

    Removes, in this order: uploads with fewer than five tags; uploads with tags in alphabetical order; near-duplicates
    of an earlier upload of the same user, by the first five tags; uploads without any of these tags in the dictionary.
    The same command continues an interrupted run.
    """
    from ..training.tags import clean_uploads

    with ProgressDisplay("tags") as display:
        cleaned = clean_uploads(
            sources, out, threshold=threshold, workers=workers,
            progress=lambda what, done, total: display.update(done, total, phase=what),
        )  # fmt: skip
    rows = [("step", "removed"), *((name, str(count)) for name, count in cleaned.removed.items())]
    print_columns([*rows, ("kept", str(cleaned.kept))])
    for sentence in cleaned.unreadable:
        report_line(sentence)
    report_line(
        f"{cleaned.uploads} uploads read; {cleaned.dictionary} of {cleaned.tags} tags are in the dictionary;"
        f" results in {out}."
    )


@tags.command("report")
def report_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Output folder of `excitation tags clean`.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the report.", show_default=False)],
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Folder of the pictures of the uploads.", show_default=False),
    ] = None,
    words: Annotated[int, typer.Option("--words", metavar="N", min=1, help="Number of tags in the cloud.")] = 200,
) -> None:
    """Draw the most frequent tags (Fig. 9) and examples of kept and removed uploads (Fig. 10), and write the counts."""
    from ..training.tags import read_cleaned
    from ..training.tags._report import write_report

    for file in write_report(read_cleaned(folder), out, images=images, words=words):
        report_line(f"{file} written.")
