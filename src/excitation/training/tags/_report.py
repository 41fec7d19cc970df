"""The report on cleaning: a page and two figures, as Figs. 9 and 10 of the paper."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ..._files import whole_file, write_whole
from ...data import DataError
from ...data._pictures import PictureError, read_picture, write_picture
from ._clean import Cleaned, read_dictionary
from ._steps import STEPS

EACH = 4
"""Examples of each kind in the figure."""

LONGEST_TAGS = 14
"""Tags that are shown of one."""

CLOUD = (1200, 600)
"""Pixels."""

KEPT = "kept"


def write_report(cleaned: Cleaned, out: Path, *, images: Path | None = None, words: int = 200) -> list[Path]:
    """Write `figure_9.png`, `figure_10.png` and `report.md`.

    Args:
        cleaned: result of `clean_uploads`.
        out: folder of the files. It is created if it does not exist.
        images: root folder of the pictures. For missing pictures, only tags are shown.
        words: number of tags in the word cloud.

    Returns:
        The paths of the files.

    Raises:
        DataError: the dictionary is empty, or wordcloud (extra `tags`) is missing.

    Source: Zhang et al., ECCV 2016, Figs. 9 and 10.
    """
    counts = read_dictionary(cleaned.folder)
    if not counts:
        raise DataError(f"{cleaned.folder}: its dictionary is empty; clean the uploads with a lower threshold.")
    files = [out / "figure_9.png", out / "figure_10.png", out / "report.md"]
    write_picture(files[0], word_cloud(counts, words))
    buffer = io.BytesIO()
    examples_figure(cleaned.examples, images).savefig(buffer, format="png", dpi=150)
    with whole_file(files[1]) as file:
        file.write(buffer.getvalue())
    write_whole(files[2], page(cleaned, counts))
    return files


def word_cloud(counts: Mapping[str, int], words: int) -> Image.Image:
    """Draw the most frequent tags, with sizes that increase with the counts. The result is deterministic.

    Raises:
        DataError: wordcloud is missing.
    """
    try:
        from wordcloud import WordCloud
    except ImportError as error:
        raise DataError("the word cloud needs wordcloud: pip install 'excitation[tags]'.") from error
    cloud = WordCloud(
        width=CLOUD[0], height=CLOUD[1], background_color="white", max_words=words, random_state=0, colormap="viridis",
    )  # fmt: skip
    made: Image.Image = cloud.generate_from_frequencies(dict(list(counts.items())[:words])).to_image()
    return made


def examples_figure(examples: Mapping[str, list[dict[str, Any]]], images: Path | None) -> Figure:
    """Draw one row for kept uploads and one for each reason of removal, with pictures if they can be read."""
    rows = [name for name in (KEPT, *STEPS) if examples.get(name)]
    figure = Figure(figsize=(3 * EACH, 2.9 * max(len(rows), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(max(len(rows), 1), EACH, squeeze=False)
    for axis in grid.flat:
        axis.set_axis_off()
    for name, axes in zip(rows, grid, strict=False):
        axes[0].set_title("kept" if name == KEPT else f"left out: {name}", loc="left", fontsize=10, fontweight="bold")
        for axis, upload in zip(axes, examples[name], strict=False):
            _show(axis, upload, images)
    return figure


def _show(axis: Axes, upload: Mapping[str, Any], images: Path | None) -> None:
    try:
        picture = None if images is None else read_picture(images / upload["image"])
    except PictureError:
        picture = None
    text = ", ".join(upload["tags"][:LONGEST_TAGS]) + (", ..." if len(upload["tags"]) > LONGEST_TAGS else "")
    if "like" in upload:
        text += f"\nlike {upload['like']['image']}: {', '.join(upload['like']['tags'])}"
    wrapped = "\n".join(line for part in text.split("\n") for line in textwrap.wrap(part, 40))
    wrapped = wrapped.replace("$", r"\$")
    if picture is None:
        axis.text(0, 0.95, f"{upload['image']}\n{wrapped}", fontsize=7, va="top", transform=axis.transAxes)
        return
    axis.imshow(picture)
    axis.text(0, -0.03, wrapped, fontsize=7, va="top", transform=axis.transAxes)


def page(cleaned: Cleaned, counts: Mapping[str, int]) -> str:
    """Return the counts as Markdown."""
    left = cleaned.uploads
    lines = [
        "# Uploads and their tags", "",
        f"{cleaned.uploads} uploads could be read, {cleaned.removed['unreadable']} could not. {cleaned.tags} different"
        f" tags; {cleaned.dictionary} occur {cleaned.threshold} times or more and form the dictionary.", "",
        "| step | leaves out | uploads | left |", "| --- | --- | ---: | ---: |",
    ]  # fmt: skip
    for name, what in STEPS.items():
        left -= cleaned.removed[name]
        lines.append(f"| {name} | {what} | {cleaned.removed[name]} | {left} |")
    most = ", ".join(f"{tag} ({count})" for tag, count in list(counts.items())[:40])
    lines += ["", f"Most frequent tags: {most}.", "", "![Most frequent tags](figure_9.png)", "",
              "![Examples kept and left out](figure_10.png)", ""]  # fmt: skip
    return "\n".join(lines)
