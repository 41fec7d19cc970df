"""How the time of a map grows with classes, images, pixels and threads; each beside the forward pass, in turns."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

import excitation as eb
from experiments.speed.networks import ROOT, Choice, features_of, parts_of, plain_forward, plain_gradient
from experiments.speed.timing import Ratio, take_turns

CLASSES = (1, 2, 5, 10, 50, 100)
ONE_BY_ONE = (1, 10, 100)
"""Numbers of classes for which autograd is asked, too."""
BATCHES = (1, 2, 4, 8, 16, 32)
SIZES = (160, 224, 288, 352, 448)
THREADS = tuple(count for count in (1, 2, 4, 8, 16) if count <= (os.cpu_count() or 1))


def by_classes(choice: Choice, *, turns: int, size: int, device: torch.device) -> dict[str, Ratio]:
    """One call for so many classes of one image; the gradient takes a pass down for each."""
    lower, upper = parts_of(choice, device)
    features = features_of(lower, batch=1, size=size, device=device)
    contenders: dict[str, Callable[[], object]] = {"U": lambda: plain_forward(upper, features)}
    for count in CLASSES:
        targets = list(range(1, 1 + count))
        contenders[f"MWP {count}"] = lambda targets=targets: eb.explain(upper, features, targets, layer=ROOT)
        if count in ONE_BY_ONE:
            contenders[f"gradient {count}"] = lambda some=tuple(targets): plain_gradient(upper, features, some)
    times = take_turns(contenders, turns, device)
    rows = {f"MWP / U, {count} classes": times.ratio(f"MWP {count}", "U") for count in CLASSES}
    return rows | {f"gradient / U, {count} classes": times.ratio(f"gradient {count}", "U") for count in ONE_BY_ONE}


def by_batch(choice: Choice, *, turns: int, size: int, device: torch.device) -> dict[str, Ratio]:
    """One map each for so many images at once."""
    lower, upper = parts_of(choice, device)
    whole = features_of(lower, batch=max(BATCHES), size=size, device=device)
    contenders: dict[str, Callable[[], object]] = {}
    for count in BATCHES:
        some = whole[:count].clone()
        contenders[f"U {count}"] = lambda some=some: plain_forward(upper, some)
        contenders[f"MWP {count}"] = lambda some=some: eb.explain(upper, some, [1], layer=ROOT)
    times = take_turns(contenders, turns, device)
    rows = {f"MWP / U, batch {count}": times.ratio(f"MWP {count}", f"U {count}") for count in BATCHES}
    return rows | {f"U per image, ms, batch {n}": times.milliseconds(f"U {n}", each=n) for n in BATCHES}


def by_size(choice: Choice, *, turns: int, device: torch.device) -> dict[str, Ratio]:
    """One map of one image of so many pixels in height and width."""
    lower, upper = parts_of(choice, device)
    contenders: dict[str, Callable[[], object]] = {}
    for side in SIZES:
        some = features_of(lower, batch=1, size=side, device=device)
        contenders[f"U {side}"] = lambda some=some: plain_forward(upper, some)
        contenders[f"MWP {side}"] = lambda some=some: eb.explain(upper, some, [1], layer=ROOT)
    times = take_turns(contenders, turns, device)
    rows = {f"MWP / U, {side} pixels": times.ratio(f"MWP {side}", f"U {side}") for side in SIZES}
    return rows | {f"U, ms, {side} pixels": times.milliseconds(f"U {side}") for side in SIZES}


def by_threads(choice: Choice, *, batch: int, turns: int, size: int, device: torch.device) -> dict[str, Ratio]:
    """How many times as fast as with one thread; the clock must be the wall's."""
    lower, upper = parts_of(choice, device)
    features = features_of(lower, batch=batch, size=size, device=device)
    work: dict[str, Callable[[], object]] = {
        "U": lambda: plain_forward(upper, features),
        "gradient": lambda: plain_gradient(upper, features),
        "MWP": lambda: eb.explain(upper, features, [1], layer=ROOT),
    }
    before = torch.get_num_threads()

    def with_threads(count: int, run: Callable[[], object]) -> Callable[[], None]:
        def threaded() -> None:
            torch.set_num_threads(count)
            run()

        return threaded

    try:
        contenders = {f"{name} {n}": with_threads(n, run) for n in THREADS for name, run in work.items()}
        times = take_turns(contenders, turns, device)
    finally:
        torch.set_num_threads(before)
    rows = {f"MWP / U, {n} threads": times.ratio(f"MWP {n}", f"U {n}") for n in THREADS}
    return rows | {
        f"{name}, times as fast, {n} threads": times.ratio(f"{name} 1", f"{name} {n}")
        for name in work for n in THREADS if n > 1
    }  # fmt: skip
