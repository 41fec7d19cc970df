"""Time and memory of a head with 18,157 tags: `python -m experiments.tags.head`.

The paper's GoogLeNet (Sec. 4.3) with random weights and images, once with the 1,000 outputs of ImageNet and once with
one output for each tag: a forward pass, a step of training, a sweep of Excitation Backprop for one tag and for the
words of a caption, and all tags at once. Both networks take turns in one run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer

import excitation as eb
from excitation._files import write_whole
from excitation.models.paper._load import NETWORKS

from ..speed.memory import peak_bytes
from ..speed.timing import take_turns, use_clock

TAGS = 18_157
IMAGENET = 1000
WORDS = 20
"""Words of a long caption."""


def main(
    out: Annotated[Path, typer.Option(help="The figures as JSON.")] = Path("docs/results/tags_head.json"),
    turns: Annotated[int, typer.Option(help="How often each part runs; the figures are medians.")] = 5,
    batch: Annotated[int, typer.Option(help="Images in a step of training (the paper: 64).")] = 64,
    size: Annotated[int, typer.Option(help="Height and width of the images.")] = 224,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch; with one, processor time is measured.")] = 1,
) -> None:
    """Measure both heads and write what was found."""
    torch.set_num_threads(threads)
    use_clock("processor" if threads == 1 else "wall")
    parts: dict[str, dict[int, Callable[[], object]]] = {}
    for classes in (IMAGENET, TAGS):
        for name, part in _parts(classes, batch, size).items():
            parts.setdefault(name, {})[classes] = part
    found = {name: _measured(contenders, turns) for name, contenders in parts.items()}
    about = {"batch of training": batch, "size": size, "threads": threads, "turns": turns, "torch": torch.__version__}
    text = json.dumps({"configuration": about, "parts": found}, indent=1)
    write_whole(out, text + "\n")
    print(text)


def _parts(classes: int, batch: int, size: int) -> dict[str, Callable[[], object]]:
    """The parts to measure, for a head with that many classes."""
    torch.manual_seed(0)
    entry = NETWORKS["googlenet"]
    model = entry.make(classes).eval()
    images = torch.rand(1, 3, size, size)
    several, labels = torch.rand(batch, 3, size, size), (torch.rand(batch, classes) < 5 / classes).float()
    words = list(range(WORDS))

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def step() -> None:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(several), labels)
        loss.backward()
        model.zero_grad()

    return {
        "forward pass of an image": forward,
        f"forward and backward pass of {batch} images": step,
        "c-MWP of one tag": lambda: eb.explain(model, images, [0], layer=entry.attention, method="c-mwp"),
        f"c-MWP of {WORDS} tags": lambda: eb.explain(model, images, words, layer=entry.attention, method="c-mwp"),
        "MWP and c-MWP of all tags": lambda: eb.all_classes(model, images, layer=entry.attention),
    }


def _measured(contenders: dict[int, Callable[[], object]], turns: int) -> dict[str, dict[str, float]]:
    """Milliseconds, and MiB of tensors alive at once, by the number of classes."""
    times = take_turns({str(classes): work for classes, work in contenders.items()}, turns)
    return {
        str(classes): {
            "milliseconds": round(times.milliseconds(str(classes)).median, 1),
            "MiB": round(peak_bytes(work) / 2**20, 1),
        }
        for classes, work in contenders.items()
    }


if __name__ == "__main__":
    typer.run(main)
