"""Figures of explanations: all maps over their pictures, shown on a display or drawn for a file."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from PIL import Image

from .._checks import check_instance
from .._errors import ExcitationError
from .._maps import EMPTY
from ._pictures import list_pictures, read_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..views import FigureRow, Panel
    from ._explanation import Explanation

COLUMNS = 4
"""Pictures side by side: 25 cm at full size, and readable across a page."""

MOST_SHOWN = 48
"""Maps that a notebook draws without being asked."""

SCREEN = 100
"""Pixels per inch of figures in notebooks and windows."""

HIGHEST = 900
"""Pixels of the height of a window."""

WITHOUT_WINDOW = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}
"""Backends of matplotlib that only write files."""

MOST_DRAWN = 1000
"""Maps of one figure."""

LONGEST = 60_000
"""Pixels of a side of a figure; matplotlib draws up to 65536."""

NO_DISPLAY = "there is no display to show the figure on; write it to a file: result.save('maps.png')."

KNOWN = {"mwp": "MWP", "c-mwp": "c-MWP", "r-mwp": "r-MWP"}


def draw(
    explanation: Explanation, pictures: Any, *, shared_scale: bool, mark_peaks: bool, columns: int, dpi: float | int
) -> Figure:
    """Draw all maps of an explanation.

    Args:
        explanation: an explanation of one layer with two-dimensional maps.
        pictures: one picture per image; `None` for the pictures that the explanation keeps.
        shared_scale: whether all maps have one colour scale; else each has its own.
        mark_peaks: whether to draw a ring around each maximum.
        columns: the largest number of pictures side by side.
        dpi: pixels per inch of the result.

    Returns:
        A matplotlib figure without a window.

    Raises:
        ExcitationError: several layers, other maps, another number of pictures, or too many maps for one figure.
    """
    from ..views import FigureRow, figure

    for name, flag in (("shared_scale", shared_scale), ("mark_peaks", mark_peaks)):
        check_instance(name, flag, bool)
    check_maps_are_flat(explanation)
    count = sum(map(len, explanation.targets))
    too_many = f"{count} maps are too many for one figure; explain fewer pictures or targets at a time."
    if count > MOST_DRAWN:
        raise ExcitationError(too_many)
    shown = pictures_of(explanation, pictures)
    panels = _panels(explanation)
    captions = _captions(explanation, pictures)
    rows: list[FigureRow] = []
    for picture, frame, items, caption in zip(shown, explanation.frames, panels, captions, strict=True):
        height, width = frame.size
        rows.append(FigureRow(picture, items, caption, frame.box, (height, width)))
    title = f"{KNOWN.get(explanation.method, explanation.method)} at {explanation.layer}"
    drawn = figure(
        rows,
        title=title,
        signed=is_signed(explanation),
        shared_scale=shared_scale,
        mark_peaks=mark_peaks,
        columns=columns,
    )
    if max(drawn.get_size_inches()) * dpi > LONGEST:
        raise ExcitationError(too_many)
    return drawn


def png_of(drawn: Figure, dpi: float | int) -> bytes:
    """A figure as the bytes of a PNG file."""
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return file.getvalue()


def show_png(png: bytes) -> None:
    """Show a picture in a notebook or in a window.

    Raises:
        ExcitationError: there is neither.
    """
    if _in_notebook():
        shown = importlib.import_module("IPython.display")
        shown.display(shown.Image(data=png))
        return
    with Image.open(io.BytesIO(png)) as stored:
        picture = stored.convert("RGB")
    share = min(1.0, HIGHEST / picture.height)
    window = _window(picture.width * share / SCREEN, picture.height * share / SCREEN)
    axes = window.add_axes((0, 0, 1, 1))
    axes.imshow(picture)
    axes.set_axis_off()
    importlib.import_module("matplotlib.pyplot").show()


def _window(width: float, height: float) -> Figure:
    """An empty window of matplotlib; sizes in inches."""
    import matplotlib.pyplot as plt

    try:
        window = plt.figure(figsize=(width, height), dpi=SCREEN)
    except Exception as error:
        # Each window toolkit has its own errors for a missing display.
        raise ExcitationError(NO_DISPLAY) from error
    if plt.get_backend().lower() in WITHOUT_WINDOW:
        plt.close(window)
        raise ExcitationError(NO_DISPLAY)
    return window


def _in_notebook() -> bool:
    """Whether IPython runs with a front end that shows pictures."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and getattr(shell, "kernel", None) is not None


def check_maps_are_flat(explanation: Explanation) -> None:
    """Raise an error if an explanation has several layers, or maps with other than two dimensions.

    Raises:
        ExcitationError: the explanation cannot be drawn.
    """
    if len(explanation.layers) > 1:
        names = ", ".join(map(repr, explanation.layers))
        raise ExcitationError(f"this explanation has maps at layers {names}; select one layer: result.at(name).")
    for maps, frame in zip(explanation.per_image(), explanation.frames, strict=True):
        if maps.dim() != 3 or len(frame.size) != 2:
            raise ExcitationError(
                f"maps of one image have shape {tuple(maps.shape)}; maps (target, height, width) of pictures can be"
                " drawn."
            )


def pictures_of(explanation: Explanation, pictures: Any = None) -> Sequence[Image.Image | None]:
    """The picture of each image, read anew; `None` where it is not known.

    Raises:
        ExcitationError: a picture cannot be read, their number differs from that of the images, or the size of one
            differs from the size that the maps belong to.
    """
    count = len(explanation.targets)
    if pictures is None and explanation.pictures is None:
        return [None] * count
    given = list_pictures(explanation.pictures if pictures is None else pictures)
    if len(given) != count:
        raise ExcitationError(
            f"{len(given)} picture{'s' * (len(given) != 1)} given for an explanation of {count}"
            f" image{'s' * (count != 1)}; give one per image."
        )
    read = read_pictures(given)
    for i, picture in enumerate(read):
        check_is_of_image(explanation, i, picture)
    return read


def check_is_of_image(explanation: Explanation, i: int, picture: Image.Image) -> None:
    """Raise an error if an image was made from a picture of another size.

    Raises:
        ExcitationError: the sizes differ. Images given as tensors fit pictures of all sizes.
    """
    size, frame = (picture.height, picture.width), explanation.frames[i]
    if size != frame.size and (explanation.pictures is not None or frame.box is not None):
        raise ExcitationError(
            f"the picture has {size[1]} x {size[0]} pixels, but the one that was explained has {frame.size[1]} x"
            f" {frame.size[0]}; give the same picture."
        )


def is_signed(explanation: Explanation) -> bool:
    """Whether maps have negative values that are no overshoot of a resizing."""
    raw = [one for maps in _raw(explanation).per_image() for one in maps.detach().cpu()]
    return any(bool(one.min() < -1e-6 * one.abs().max()) for one in raw)


def empty_maps(explanation: Explanation) -> list[list[bool]]:
    """For each image and target, whether its map has almost no mass."""
    raw = _raw(explanation)
    tops = None if raw.top is None else raw.top.abs().cpu()
    answers = []
    for i, maps in enumerate(raw.per_image()):
        amounts = maps.double().abs().flatten(1).sum(1).tolist()
        least = [0.0 if tops is None else EMPTY * (float(tops[i, k]) or 1.0) for k in range(len(amounts))]
        answers.append([amount <= limit for amount, limit in zip(amounts, least, strict=True)])
    return answers


def drawable(explanation: Explanation) -> Iterator[list[Float[torch.Tensor, "_ _"]]]:
    """The maps of each image; without negative values unless the explanation is signed."""
    signed = is_signed(explanation)
    for maps in explanation.per_image():
        values = maps.detach().cpu()
        yield list(values if signed else values.clamp(min=0))


def _raw(explanation: Explanation) -> Explanation:
    return explanation if explanation.origin is None else explanation.origin


def _panels(explanation: Explanation) -> list[list[Panel]]:
    from ..views import Panel, panel_caption

    raw = _raw(explanation)
    panels = []
    each = zip(drawable(explanation), empty_maps(explanation), raw.per_image(), strict=True)
    for i, (maps, empty, arrived) in enumerate(each):
        masses = arrived.double().flatten(1).sum(1).tolist() if raw.top is not None else [None] * len(maps)
        scores = explanation.scores[i].tolist()[: len(maps)]
        panels.append(
            [
                Panel(one, name, panel_caption(score, mass), none)
                for one, name, score, mass, none in zip(
                    maps, explanation.targets[i], scores, masses, empty, strict=True
                )
            ]
        )
    return panels


def _captions(explanation: Explanation, pictures: Any) -> list[str]:
    """File names of pictures given by path; numbers of the others, if there are several."""
    count = len(explanation.targets)
    kept = explanation.pictures if pictures is None else pictures
    given = [None] * count if kept is None else list_pictures(kept)
    return [
        Path(item).stem if isinstance(item, (str, os.PathLike)) else f"image {i}" if count > 1 else ""
        for i, item in enumerate(given)
    ]
