"""What all classes of one image cost."""

from __future__ import annotations

import torch

import excitation as eb
from experiments.speed.networks import ROOT, Choice, chain, split
from experiments.speed.timing import Ratio, now, take_turns


def all_classes(choice: Choice, *, size: int, device: torch.device) -> dict[str, Ratio]:
    """Passes of the upper part that all classes of one image cost (once), and milliseconds of a question after that."""
    lower, upper = split(chain(choice.name), choice.layer, signed=choice.signed)
    lower, upper = lower.to(device), upper.to(device)
    with torch.no_grad():
        features = lower(torch.randn(1, 3, size, size, device=device))

    def forward() -> None:
        with torch.no_grad():
            upper(features)

    before = take_turns({"U": forward}, 5, device)
    start = now()
    maps = eb.precompute(upper, features, ROOT, memory=1 << 28)
    spent = now() - start
    after = take_turns({"U": forward, "question": lambda: maps.maps([{1: 0.5, 2: 0.5}], contrast="dual")}, 15, device)
    units = sorted(before.seconds["U"] + after.seconds["U"])
    counts = sorted(spent / unit for unit in units)
    asked = sorted(1e3 * s for s in after.seconds["question"])
    return {
        f"MWP and c-MWP, by {maps.way} / U": _quartiles(counts),
        "a mixture against its dual after that, ms": _quartiles(asked),
    }


def _quartiles(ordered: list[float]) -> Ratio:
    quarter = len(ordered) // 4
    return Ratio(ordered[len(ordered) // 2], ordered[quarter], ordered[-1 - quarter])
