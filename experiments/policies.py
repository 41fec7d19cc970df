"""Which residual and batch-norm policy should be the default? `python -m experiments.policies`."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Annotated

import numpy as np
import safetensors.torch
import torch
import typer
from PIL import Image
from rich.progress import track
from torch import nn

from excitation import Policies, explain
from excitation._files import write_whole
from excitation.data.symbols import make_scene
from excitation.evaluation import TOLERANCE, is_hit
from excitation.models import load_model
from excitation.views import find_peak

LAYER = "layer2"
AS_TRAINED, TURNED = "as trained", "half its scales turned negative"
CHOICES = [
    *((AS_TRAINED, residual, norm) for residual in ("proportional", "branch", "original") for norm in ("fold", "copy")),
    *((TURNED, "proportional", norm) for norm in ("fold", "copy")),
]
"""Network, residual policy, batch-norm policy."""

Choice = tuple[str, str, str]


def main(
    weights: Annotated[
        Path | None, typer.Option(help="Of the residual network; those that come along if not given.")
    ] = None,
    scenes: Annotated[int, typer.Option(help="Of the test split.")] = 1000,
    out: Annotated[Path, typer.Option(help="The table.")] = Path("docs/results/policies.md"),
) -> None:
    """Point at every object the network is confident of, under each pair of policies."""
    loaded = load_model("symbols:resnet")
    model, prepare = loaded.model, loaded.preprocessing
    if weights is not None:
        safetensors.torch.load_model(model, weights)
    networks = {AS_TRAINED: model, TURNED: turned(model)}
    hits: dict[tuple[Choice, str], list[bool]] = {}
    masses: dict[Choice, list[float]] = {}
    negatives: dict[Choice, list[float]] = {}
    for index in track(range(scenes), "pointing"):
        scene = make_scene(index, 0, "test")
        images = prepare(Image.fromarray(scene.image))[None]
        with torch.no_grad():
            sure = (torch.sigmoid(model(images))[0] >= 0.5).tolist()
        targets = sorted({item.symbol for item in scene.instances if sure[item.symbol]})
        if not targets:
            continue
        for choice in CHOICES:
            network, residual, norm = choice
            policies = Policies(residual=residual, batch_norm=norm)
            for kind, contrast in (("MWP", {}), ("c-MWP", {"method": "c-mwp"})):
                maps = explain(
                    networks[network], images, targets, layer=LAYER, **contrast, signed=True, policies=policies
                ).maps[0]
                if not contrast:
                    masses.setdefault(choice, []).extend(maps.sum((1, 2)).tolist())
                    negatives.setdefault(choice, []).extend((-maps.clamp(max=0)).sum((1, 2)).tolist())
                for target, attention in zip(targets, maps.clamp(min=0), strict=True):
                    there = np.any([item.mask for item in scene.instances if item.symbol == target], axis=0)
                    peak = find_peak(attention, scene.image.shape[:2])
                    hits.setdefault((choice, kind), []).append(peak is not None and is_hit(peak, there))
    count = len(next(iter(hits.values())))
    given = ("" if weights is None else f" --weights {weights}") + ("" if scenes == 1000 else f" --scenes {scenes}")
    lines = [
        "# Residual and batch-norm policies, by evidence",
        "",
        f"`python -m experiments.policies{given}`: {count} objects of the test split that the symbol world's"
        f" residual network gives a probability of at least one half; maps at `{LAYER}`, tolerance {TOLERANCE} pixels.",
        "Intervals: 95 %, bootstrap over objects. Mass should be 1; negative mass should not exist.",
        "",
        f"{TURNED[0].upper()}{TURNED[1:]}: the same function of the picture, with the signs of every other channel of a"
        " convolution turned, and those of its normalisation's mean and scale.",
        "",
        "| network | residual | batch norm | MWP hits, % | c-MWP hits, % | mass, least to most | most negative mass |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for choice in CHOICES:
        shown = [_rate(hits[choice, kind]) for kind in ("MWP", "c-MWP")]
        mass, negative = masses[choice], negatives[choice]
        spread = f"{min(mass):.3g} to {max(mass):.3g}"
        lines.append(f"| {' | '.join(choice)} | {shown[0]} | {shown[1]} | {spread} | {max(negative):.3g} |")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, "\n".join(lines) + "\n")
    print(out.read_text())


def turned(model: nn.Module) -> nn.Module:
    """The same function, with every other batch-norm scale negative: so is the channel that it scales."""
    found = copy.deepcopy(model)
    layers = [layer for layer in found.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    with torch.no_grad():
        for conv, norm in itertools.pairwise(layers):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                for tensor in (conv.weight, norm.weight, norm.running_mean):
                    assert tensor is not None
                    tensor[::2] *= -1
    return found


def _rate(hits: list[bool]) -> str:
    values = np.array(hits, dtype=float)
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{100 * values.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    typer.run(main)
