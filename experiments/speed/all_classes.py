"""What all classes of one image cost."""

from __future__ import annotations

import torch

import excitation as eb
from experiments.speed.networks import ROOT, Choice, features_of, parts_of, plain_forward
from experiments.speed.timing import Ratio, now, spread, take_turns


def all_classes(choice: Choice, *, size: int, device: torch.device) -> dict[str, Ratio]:
    """Passes of the upper part that all classes of one image cost (once), and milliseconds of a question after that."""
    lower, upper = parts_of(choice, device)
    features = features_of(lower, batch=1, size=size, device=device)

    def forward() -> None:
        plain_forward(upper, features)

    before = take_turns({"U": forward}, 5, device)
    start = now(device)
    maps = eb.precompute(upper, features, ROOT, memory=1 << 28)
    spent = now(device) - start
    after = take_turns({"U": forward, "question": lambda: maps.maps([{1: 0.5, 2: 0.5}], contrast="dual")}, 15, device)
    return {
        f"MWP and c-MWP, by {maps.way} / U": spread(
            [spent / unit for unit in before.seconds["U"] + after.seconds["U"]]
        ),
        "a mixture against its dual after that, ms": after.milliseconds("question"),
    }
