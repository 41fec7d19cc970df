"""Gates that raise a class's score (Cao et al., ICCV 2015), step by step: `python -m experiments.figures.feedback`."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from excitation.methods import FeedbackResult, feedback_full, find_method, post_process
from excitation.models.symbols import load_symbols
from excitation.views import find_peak, overlay, save_figure
from experiments.figures.places import FIGURES, chosen_scene

NAMES = ("keyboard", "snowman")
ITERATIONS = 30
GREY, SCORE, SHUT = "0.35", "#b5367a", "#3b6fb6"


def main() -> None:
    """Draw, for each object, the first map, the best, and how score and gates moved between them."""
    scene = chosen_scene(NAMES)
    loaded = load_symbols()
    picture = Image.fromarray(scene.image)
    images = loaded.preprocessing(picture)[None]
    steps, size = find_method("feedback").steps, images.shape[2:]
    first = post_process(find_method("gradient")(loaded, images, list(NAMES)), steps, size)[0]
    found = feedback_full(loaded, images, list(NAMES), iterations=ITERATIONS)
    best = post_process(found.maps, steps, size)[0]
    place = FIGURES / "feedback.png"
    save_figure(draw(picture, first, best, found), place)
    for k, name in enumerate(NAMES):
        scores, at = found.scores[0, k].tolist(), int(found.best[0, k])
        shut = float(found.closed[0, k])
        print(f"{name}: score {scores[0]:.2f} to {scores[at]:.2f} after {at} updates, {shut:.1%} of the gates shut")
    print(f"{place}: scene {scene.index} of the test split")


def draw(picture: Image.Image, first: torch.Tensor, best: torch.Tensor, found: FeedbackResult) -> Figure:
    """One row per object: the picture, both maps, and the course of the search."""
    shown = picture.resize((picture.width * 3, picture.height * 3), Image.Resampling.BICUBIC)
    drawn = Figure(figsize=(11.2, 2.15 * len(NAMES)), dpi=200, facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    grid = drawn.subplots(len(NAMES), 4, gridspec_kw={"width_ratios": [1, 1, 1, 1.5]})
    for k, (name, row) in enumerate(zip(NAMES, grid, strict=True)):
        at = int(found.best[0, k])
        cells = [
            (shown, f"where is the {name}?"),
            (overlay(shown, first[k]), "all gates open: Grad"),
            (overlay(shown, best[k]), f"best gates, after {at} updates"),
        ]
        for axes, (content, title) in zip(row[:3], cells, strict=True):
            axes.imshow(content)
            axes.set_axis_off()
            axes.set_title(title, fontsize=10)
        for axes, attention in zip(row[1:3], (first[k], best[k]), strict=True):
            peak = find_peak(attention, (shown.height, shown.width))
            for colour, width in (("black", 2.8), ("white", 1.4)) if peak else ():
                axes.plot(
                    *peak, "o", markersize=9, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=width
                )
        _course(row[3], found.scores[0, k], found.shut[0, k], at, last=k == len(NAMES) - 1)
    return drawn


def _course(axes: Axes, scores: torch.Tensor, shut: torch.Tensor, best: int, *, last: bool) -> None:
    """Score and part of closed gates against the number of updates."""
    axes.plot(scores.numpy(), color=SCORE, linewidth=1.8)
    axes.plot([best], [float(scores[best])], "o", color=SCORE, markersize=6)
    axes.set_ylabel("score", color=SCORE, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.tick_params(axis="y", colors=SCORE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    gates = axes.twinx()
    gates.plot(100 * shut.numpy(), color=SHUT, linewidth=1.4, linestyle=(0, (4, 2)))
    gates.set_ylabel("gates shut (%)", color=SHUT, fontsize=9)
    gates.set_ylim(bottom=0)
    gates.tick_params(axis="y", labelsize=8, colors=SHUT)
    for each in (axes, gates):
        each.spines["top"].set_visible(False)
        for side in ("left", "right", "bottom"):
            each.spines[side].set_color("0.7")
    if last:
        axes.set_xlabel("updates of the gates", fontsize=9, color=GREY)


if __name__ == "__main__":
    main()
