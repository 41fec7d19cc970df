"""Figures of explanations: all maps over their pictures, shown on a display or drawn for a file."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from PIL import Image

from .._checks import check_instance, check_number
from .._errors import ExcitationError
from .._maps import EMPTY, Box
from ._pictures import Picture, list_pictures, read_pictures

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

NO_DISPLAY = "there is no display to show the figure on; write it to a file: result.save('maps.png')."

TITLES = {
    "gradient": "Grad", "deconv": "Deconv", "deconvnet": "DeconvNet", "smoothgrad": "SmoothGrad", "lrp": "LRP",
    "cam": "CAM", "grad-cam": "Grad-CAM", "grad-cam++": "Grad-CAM++", "layer-cam": "LayerCAM",
    "score-cam": "Score-CAM", "rise": "RISE", "mwp": "MWP", "c-mwp": "c-MWP", "r-mwp": "r-MWP", "c-lrp": "c-LRP",
    "clrp": "CLRP", "sglrp": "SGLRP", "c-gradient": "c-Grad", "c-deconv": "c-Deconv",
    "c-cam": "c-CAM", "feedback": "Feedback", "selective-tuning": "Selective Tuning", "centre": "Centre",
}  # fmt: skip
"""Names of methods in the paper and by their authors; other methods are shown by their own names."""


class Drawable:
    """Something that draws itself as one figure: in a notebook, in a window, or as a file."""

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        pictures: Picture | Sequence[Picture] | None = None,
        shared_scale: bool | None = None,
        peaks: bool = True,
        boxes: float | int | None = None,
        columns: int | None = None,
        colour_map: str | None = None,
        title: str | None = None,
        dpi: float | int = 200,
    ) -> None:
        """Write a figure of all maps on their pictures.

        An `Explanation` draws each picture, followed by one panel for each target; with several layers, a line for each
        target, followed by one panel for each layer. A `Comparison` draws one row per method and one column per target.

        Maps are carried back through the preprocessing, so that a panel shows the full picture in its own aspect ratio.
        The caption of a panel has the score and, for methods with mass, the mass of the map. Empty maps leave the
        picture grey, with the word "empty".

        Args:
            path: a file name that ends in .png, .pdf or .svg. The file appears whole or not at all.
            pictures: one picture per image (PIL pictures, paths, or arrays `(height, width, 3)` of integers from 0 to
                255), for images that were given as tensors. A map is stretched over its picture; if a tensor shows a
                crop of the picture, give the crop. If not given: the pictures that were explained; for tensors, the
                maps are drawn alone.
            shared_scale: whether maps have the same colour scale, with a colour bar, so that weak maps look weak.
                Otherwise the strongest colour of each map is its own maximum. If not given: shared for the maps of one
                method at one layer; own for several layers or methods, whose values cannot be compared. In a
                `Comparison`, the maps of each method share a scale.
            peaks: whether to draw a ring around the maximum of each map, at the pixel of `Explanation.peaks`.
            boxes: draw the box around all values above this multiple of the mean of the map, as `Explanation.boxes`.
            columns: the largest number of pictures side by side, at least 1; by default, as many as fit on a page.
            colour_map: a matplotlib name; by default inferno, or RdBu_r for signed maps.
            title: title of the figure; by default, the method and the layer. `""` for none.
            dpi: pixels per inch of a PNG file, and of the pictures in the other formats.

        Raises:
            ExcitationError: another ending; maps that are not two-dimensional; another number of pictures than images,
                or a picture that cannot be read or has changed its size; an invalid option; or too many maps for one
                figure.
            OSError: the file cannot be written.
        """
        from ..views import figure_ending, save_figure

        figure_ending(path)
        check_number("dpi", dpi, "a number of pixels per inch from 1 on", least=1)
        options = Options(shared_scale, peaks, boxes, columns, colour_map, title, dpi)
        save_figure(self._draw(pictures, options), path, dpi=dpi)

    def show(
        self,
        *,
        pictures: Picture | Sequence[Picture] | None = None,
        shared_scale: bool | None = None,
        peaks: bool = True,
        boxes: float | int | None = None,
        columns: int | None = None,
        colour_map: str | None = None,
        title: str | None = None,
    ) -> None:
        """Show the figure of `save` in a notebook, or in a window of matplotlib. The arguments are those of `save`.

        Raises:
            ExcitationError: there is no display, or an error of `save`.
        """
        from ..views import png_of_figure

        drawn = self._draw(pictures, Options(shared_scale, peaks, boxes, columns, colour_map, title, SCREEN))
        show_png(png_of_figure(drawn, SCREEN))

    def _repr_png_(self) -> bytes | None:
        """The figure of `show` for a notebook; `None` if it cannot be drawn or has many maps."""
        from ..views import png_of_figure

        if self._count() > MOST_SHOWN:
            return None
        try:
            drawn = self._draw(None, Options(dpi=SCREEN))
        except ExcitationError:
            return None
        return png_of_figure(drawn, SCREEN)

    def _draw(self, pictures: Any, options: Options) -> Figure:
        """Draw the figure."""
        raise NotImplementedError

    def _count(self) -> int:
        """The number of maps in the figure."""
        raise NotImplementedError


@dataclass(frozen=True)
class Options:
    """Options of a figure, as described at `Drawable.save`.

    Raises:
        ExcitationError: an invalid option.
    """

    shared_scale: bool | None = None
    peaks: bool = True
    boxes: float | int | None = None
    columns: int | None = None
    colour_map: str | None = None
    title: str | None = None
    dpi: float | int = 200

    def __post_init__(self) -> None:
        if self.shared_scale is not None:
            check_instance("shared_scale", self.shared_scale, bool)
        check_instance("peaks", self.peaks, bool)
        if self.title is not None:
            check_instance("title", self.title, str)
        if self.boxes is not None:
            if isinstance(self.boxes, bool):
                raise ExcitationError(f"boxes is {self.boxes}; a multiple of the map's mean is expected, such as 2.0.")
            check_number("boxes", self.boxes, "a multiple of the map's mean")


def draw(explanation: Explanation, pictures: Any, options: Options, *, reduced: Image.Image | None = None) -> Figure:
    """Draw all maps of an explanation.

    Args:
        explanation: an explanation with two-dimensional maps.
        pictures: one picture per image; `None` for the pictures that the explanation keeps.
        options: options of the figure.
        reduced: a copy of the picture of the only image, of any size, which is drawn instead of it.

    Returns:
        A matplotlib figure without a window.

    Raises:
        ExcitationError: other maps, another number of pictures, or too many maps for one figure.
    """
    from ..views import FigureRow, figure

    several = len(explanation.layers) > 1
    for layer in explanation.layers:
        check_maps_are_flat(explanation.at(layer))
    check_count(count_maps(explanation))
    shown = pictures_of(explanation, pictures) if reduced is None else [reduced]
    captions = captions_of(explanation, pictures)
    panels = [_panels(explanation.at(layer), options, several) for layer in explanation.layers]
    rows: list[FigureRow] = []
    for i, (picture, frame, caption) in enumerate(zip(shown, explanation.frames, captions, strict=True)):
        height, width = frame.size
        size = (height, width) if picture is None or reduced is not None else None
        if not several:
            rows.append(FigureRow(picture, panels[0][i], caption, frame.box, size))
            continue
        for k, name in enumerate(explanation.targets[i]):
            score = panel_score(explanation, i, k)
            text = "\n".join(filter(None, (caption, name, score)))
            rows.append(FigureRow(picture, [of[i][k] for of in panels], text, frame.box, size))
    name = title_of(explanation.method)
    where = f"{len(explanation.layers)} layers" if several else explanation.layer
    return figure(
        rows,
        title=f"{name} at {where}" if options.title is None else options.title,
        signed=any(is_signed(explanation.at(layer)) for layer in explanation.layers),
        shared_scale=not several if options.shared_scale is None else options.shared_scale,
        scale_label=_unit(explanation),
        peaks=options.peaks,
        colour_map=options.colour_map,
        columns=COLUMNS if options.columns is None else options.columns,
        dpi=options.dpi,
    )


def count_maps(explanation: Explanation) -> int:
    """The number of maps in the figure of an explanation."""
    return sum(map(len, explanation.targets)) * len(explanation.layers)


def check_count(count: int) -> None:
    """Raise an error if there are too many maps for one figure.

    Raises:
        ExcitationError: there are too many maps.
    """
    if count > MOST_DRAWN:
        raise ExcitationError(f"{count} maps are too many for one figure; explain fewer pictures or targets at a time.")


def title_of(method: str) -> str:
    """The name of a method in figures: as in the paper or by its authors."""
    return TITLES.get(method, method)


def panel_score(explanation: Explanation, i: int, k: int) -> str:
    """The score of a target, for captions."""
    return f"score {float(explanation.scores[i, k]):.4g}".replace("-", "−")


def _unit(explanation: Explanation) -> str:
    """The text at the colour bar."""
    if explanation.top is not None and explanation.origin is None:
        return "mass per position"
    return "value of the map"


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


def _panels(explanation: Explanation, options: Options, by_layer: bool) -> list[list[Panel]]:
    """One panel for each target of each image. In a strip through layers, the title is the layer."""
    from ..views import Panel, panel_caption

    masses, empty = masses_of(explanation), empty_maps(explanation)
    boxes = None if options.boxes is None else explanation.boxes(options.boxes)
    panels: list[list[Panel]] = []
    for i, maps in enumerate(drawable(explanation)):
        row = []
        for k, (one, name) in enumerate(zip(maps, explanation.targets[i], strict=True)):
            mass = masses[i][k]
            caption = panel_caption(None if by_layer else float(explanation.scores[i, k]), mass)
            box = None if boxes is None else box_or_none(boxes[i, k])
            row.append(Panel(one, explanation.layer if by_layer else name, caption, empty[i][k], box))
        panels.append(row)
    return panels


def box_or_none(box: Float[torch.Tensor, " 4"]) -> Box | None:
    """A box of `Explanation.boxes`; `None` if there is none."""
    x0, y0, x1, y1 = box.tolist()
    return None if x0 != x0 else (x0, y0, x1, y1)


def masses_of(explanation: Explanation) -> list[list[float | None]]:
    """The mass of the map of each target of each image; `None` for methods without mass."""
    raw = _raw(explanation)
    if raw.top is None:
        return [[None] * len(names) for names in raw.targets]
    return [maps.double().flatten(1).sum(1).tolist() for maps in raw.per_image()]


def captions_of(explanation: Explanation, pictures: Any) -> list[str]:
    """File names of pictures given by path; numbers of the others, if there are several."""
    count = len(explanation.targets)
    kept = explanation.pictures if pictures is None else pictures
    given = [None] * count if kept is None else list_pictures(kept)
    return [
        Path(item).stem if isinstance(item, (str, os.PathLike)) else f"image {i}" if count > 1 else ""
        for i, item in enumerate(given)
    ]
