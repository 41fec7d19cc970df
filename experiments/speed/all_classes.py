"""What all classes of one image cost."""

from __future__ import annotations

from collections.abc import Callable

import torch

import excitation as eb
from experiments.speed.networks import ROOT, Choice, features_of, parts_of, plain_forward
from experiments.speed.timing import Ratio, now, spread, take_turns


def all_classes(choice: Choice, *, turns: int, size: int, device: torch.device) -> dict[str, Ratio]:
    """Passes of the upper part that all classes of one image cost, and milliseconds of a question after that.

    The first call makes what is kept of the weights, and has a row of its own.
    """
    lower, upper = parts_of(choice, device)
    features = features_of(lower, batch=1, size=size, device=device)

    def forward() -> None:
        plain_forward(upper, features)

    def precomputed() -> eb.ClassMaps:
        return eb.all_classes(upper, features, layer=ROOT, memory=1 << 28)

    before = take_turns({"U": forward}, turns, device)
    start = now(device)
    maps = precomputed()
    first = now(device) - start
    contenders: dict[str, Callable[[], object]] = {
        "settled": forward,  # what ran before has filled the caches with other things
        "U": forward,
        "all": precomputed,
        "question": lambda: maps.maps([{1: 0.5, 2: 0.5}], method="c-mwp"),
    }
    times = take_turns(contenders, turns, device)
    return {
        f"MWP and c-MWP, by {maps.strategy} / U": times.ratio("all", "U"),
        "the first such call / U": spread([first / unit for unit in before.seconds["U"]]),
        "a mixture against its dual after that, ms": times.milliseconds("question"),
    }
