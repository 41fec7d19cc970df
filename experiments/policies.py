"""Which residual and batch-norm policy should be the default? `python -m experiments.policies`.

Needs the trained residual network (`python -m experiments.symbols.train --network resnet`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import safetensors.torch
import torch
import typer
from PIL import Image
from rich.progress import track

from excitation import Policies, explain_full
from excitation._files import write_whole
from excitation.benchmarks import TOLERANCE, is_hit
from excitation.data.symbols import make_scene
from excitation.networks.symbols import symbol_resnet
from excitation.views import find_peak

LAYER = "layer2"
CHOICES = [(residual, norm) for residual in ("proportional", "branch", "original") for norm in ("fold", "copy")]


def main(
    weights: Annotated[Path, typer.Option(help="Of the residual network.")] = Path("runs/symbols/resnet.safetensors"),
    scenes: Annotated[int, typer.Option(help="Of the test split.")] = 300,
    out: Annotated[Path, typer.Option(help="The table.")] = Path("docs/results/policies.md"),
) -> None:
    """Point at every object the network is confident of, under each pair of policies."""
    loaded = symbol_resnet()
    model, prepare = loaded.model, loaded.preprocessing
    safetensors.torch.load_model(model, weights)
    hits: dict[tuple[str, str, str], list[bool]] = {}
    masses: dict[tuple[str, str], list[float]] = {}
    negatives: dict[tuple[str, str], list[float]] = {}
    for index in track(range(scenes), "pointing"):
        scene = make_scene(index, 0, "test")
        images = prepare(Image.fromarray(scene.image))[None]
        with torch.no_grad():
            sure = (torch.sigmoid(model(images))[0] >= 0.5).tolist()
        targets = sorted({item.symbol for item in scene.instances if sure[item.symbol]})
        if not targets:
            continue
        for residual, norm in CHOICES:
            policies = Policies(residual=residual, batch_norm=norm)
            for kind, contrast in (("MWP", None), ("c-MWP", "dual")):
                maps = explain_full(
                    model, images, targets, layer=LAYER, contrast=contrast, signed=True, policies=policies
                ).maps[LAYER][0]
                if contrast is None:
                    masses.setdefault((residual, norm), []).extend(maps.sum((1, 2)).tolist())
                    negatives.setdefault((residual, norm), []).extend((-maps.clamp(max=0)).sum((1, 2)).tolist())
                for target, attention in zip(targets, maps.clamp(min=0), strict=True):
                    there = np.any([item.mask for item in scene.instances if item.symbol == target], axis=0)
                    peak = find_peak(attention, scene.image.shape[:2])
                    hits.setdefault((residual, norm, kind), []).append(peak is not None and is_hit(peak, there))
    count = len(next(iter(hits.values())))
    lines = [
        "# Residual and batch-norm policies, by evidence",
        "",
        f"`python -m experiments.policies --scenes {scenes}`: {count} objects of the test split that the symbol world's"
        f" residual network gives a probability of at least one half; maps at `{LAYER}`, tolerance {TOLERANCE} pixels.",
        "Intervals: 95 %, bootstrap over objects. Mass should be 1; negative mass should not exist.",
        "",
        "| residual | batch norm | MWP hits, % | c-MWP hits, % | mass, smallest to largest | negative, largest |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for residual, norm in CHOICES:
        shown = [_rate(hits[residual, norm, kind]) for kind in ("MWP", "c-MWP")]
        mass, negative = masses[residual, norm], negatives[residual, norm]
        spread = f"{min(mass):.3g} to {max(mass):.3g}"
        lines.append(f"| {residual} | {norm} | {shown[0]} | {shown[1]} | {spread} | {max(negative):.3g} |")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, "\n".join(lines) + "\n")
    print(out.read_text())


def _rate(hits: list[bool]) -> str:
    values = np.array(hits, dtype=float)
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{100 * values.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    typer.run(main)
