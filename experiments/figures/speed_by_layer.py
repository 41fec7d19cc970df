"""Time by the layer at which the pass stops (the paper's Fig. 8): `python -m experiments.figures.speed_by_layer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
import typer
from torch import nn

import excitation as eb
from experiments.figures.places import FIGURES
from experiments.speed.networks import chain
from experiments.speed.timing import Times, take_turns, use_clock

SIZE = (224, 335)
STOPS = ("inception5b", "inception5a", "inception4e", "inception4a", "inception3b", "inception3a", "conv2", "conv1")


def main(
    turns: Annotated[int, typer.Option(help="How often each contender runs.")] = 5,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
    clock: Annotated[str, typer.Option(help="wall; processor on a busy machine, with one thread.")] = "wall",
    out: Annotated[Path, typer.Option(help="The picture.")] = FIGURES / "speed_by_layer.png",
) -> None:
    """Measure both passes of GoogLeNet at every stop, in the same turns, and draw them."""
    torch.set_num_threads(threads)
    use_clock(clock)
    model = chain("googlenet")
    images = torch.randn(1, 3, *SIZE)
    contenders = {"forward": lambda: _forward(model, images)}
    for stop in STOPS:
        contenders[f"EB {stop}"] = lambda stop=stop: eb.explain(model, images, [1], layer=stop)
        contenders[f"gradient {stop}"] = lambda stop=stop: _gradient(model, images, stop)
    times = take_turns(contenders, turns)
    _draw(times, out, f"{clock} time, median of {turns} turns, threads: {threads}")


def _forward(model: nn.Module, images: torch.Tensor) -> None:
    with torch.no_grad():
        model(images)


def _gradient(model: nn.Sequential, images: torch.Tensor, stop: str) -> None:
    x = images
    with torch.no_grad():
        names = [name for name, _ in model.named_children()]
        at = names.index(stop) + 1
        x = model[:at](images)
    x.requires_grad_(True)
    torch.autograd.grad(model[at:](x)[:, 1].sum(), x)


def _draw(times: Times, out: Path, note: str) -> None:
    places = range(len(STOPS))
    forward = 1e3 * times.median("forward")
    with mpl.rc_context({"font.size": 9}):
        picture, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
        for name, colour, mark in (("EB", "#b2182b", "o"), ("gradient", "#2166ac", "s")):
            middle = [1e3 * times.median(f"{name} {stop}") for stop in STOPS]
            label = "Excitation Backprop" if name == "EB" else "error backpropagation"
            axes.plot(places, middle, marker=mark, color=colour, label=label)
        axes.axhline(forward, color="0.45", linestyle="--", linewidth=1, label="forward pass alone")
        axes.set_xticks(list(places), STOPS, rotation=30, ha="right")
        axes.set_xlabel("layer at which the pass stops, from the top down")
        axes.set_ylabel("time for one picture, ms")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        axes.set_title(f"GoogLeNet, {SIZE[0]} x {SIZE[1]} pixels ({note})", fontsize=9)
        picture.savefig(out, dpi=160)
        plt.close(picture)


if __name__ == "__main__":
    typer.run(main)
