"""`excitation tags`: uploads with tags cleaned, and what was left out and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import print_columns, progress_bar, report_line

tags = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Clean uploads with tags, and report on them.")


@tags.command("clean")
def clean_command(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="UPLOADS...", help="JSON lines or Parquet of image, user and tags; or folders of them."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the result goes.", show_default=False)],
    threshold: Annotated[
        int, typer.Option("--threshold", metavar="N", min=1, help="Occurrences that bring a tag into the dictionary.")
    ] = 1000,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Processes.")] = 1,
) -> None:
    """Clean uploads as the paper does (Appendix B), in bounded memory.

    Left out are, in this order: uploads with fewer than five tags; with tags in alphabetical order; near-duplicates of
    an earlier upload of the same user by their first five tags; and those with none of these in the dictionary. An
    interrupted run goes on.
    """
    from ..training.tags import clean_uploads

    with progress_bar() as progress:
        shown = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in shown:
                shown[what] = progress.add_task(what, total=total)
            progress.update(shown[what], completed=done)

        cleaned = clean_uploads(sources, out, threshold=threshold, workers=workers, progress=show)
    rows = [("step", "left out"), *((name, str(count)) for name, count in cleaned.removed.items())]
    print_columns([*rows, ("kept", str(cleaned.kept))])
    for sentence in cleaned.unreadable:
        report_line(sentence)
    report_line(
        f"{cleaned.uploads} uploads read; {cleaned.dictionary} of {cleaned.tags} tags are in the dictionary;"
        f" all in {out}."
    )


@tags.command("report")
def report_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `excitation tags clean` made.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the report goes.", show_default=False)],
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Where the uploads' pictures lie.", show_default=False),
    ] = None,
    words: Annotated[int, typer.Option("--words", metavar="N", min=1, help="Tags in the cloud.")] = 200,
) -> None:
    """Draw the most frequent tags (Fig. 9) and examples of what was kept and left out (Fig. 10); write the counts."""
    from ..training.tags import read_cleaned
    from ..training.tags._report import write_report

    for file in write_report(read_cleaned(folder), out, images=images, words=words):
        report_line(f"{file} written.")
