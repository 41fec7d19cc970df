"""What `make bench` measures, part by part, in the order in which networks need not be made twice."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from experiments.speed.all_classes import all_classes
from experiments.speed.compiled import compiled_rows, has_compiler
from experiments.speed.networks import CHOICES
from experiments.speed.others import side_by_side
from experiments.speed.precision import has_reference, random_network, symbol_network, trained_squeezenet
from experiments.speed.rows import fixed_cost, network_rows
from experiments.speed.scaling import by_batch, by_classes, by_size, by_threads
from experiments.speed.throughput import BATCHES, throughput
from experiments.speed.timing import Ratio

Part = Callable[[], dict[str, Any]]

DEEP = frozenset({"googlenet", "resnet50"})
"""Networks that end in pooling and one linear layer: those for which the design set itself a target for all classes."""


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        threads: of torch.
        clock: `"wall"` or `"processor"`.
        turns: how often each contender runs.
        batch: images.
        size: their height and width.
        device: where.
        once: whether to include what need not be measured again with other threads.
        rates: whether to include what a GPU is asked for.
    """

    threads: int
    clock: str
    turns: int
    batch: int
    size: int
    device: torch.device
    once: bool
    rates: bool

    @property
    def name(self) -> str:
        """What the parts are filed under."""
        return f"{self.threads} thread{'s' if self.threads > 1 else ''}, {self.clock} time"


def parts(plan: Plan) -> dict[str, Part]:
    """All parts of a plan by name, each a call that measures it."""
    common: dict[str, Any] = {"turns": plan.turns, "device": plan.device}
    sized = common | {"size": plan.size}
    found: dict[str, Part] = {"fixed": lambda: _plain(fixed_cost(20 * plan.turns, plan.device))}
    for choice in CHOICES:
        bound = functools.partial
        works: dict[str, Callable[[], dict[str, Ratio]]] = {
            "network": bound(network_rows, choice, batch=plan.batch, **sized),
            "one image": bound(network_rows, choice, batch=1, **sized),
        }
        if choice.name in DEEP:
            works["all classes"] = bound(all_classes, choice, **sized)
        if plan.once:
            works["classes"] = bound(by_classes, choice, **sized)
            works["batch"] = bound(by_batch, choice, **sized)
            works["size"] = bound(by_size, choice, **common)
        if plan.clock == "wall" and plan.threads > 1 and plan.device.type == "cpu":
            works["threads"] = bound(by_threads, choice, batch=plan.batch, **sized)
        for kind, work in works.items():
            found[f"{kind} {choice.title}"] = lambda work=work: _plain(work())
        found[f"others {choice.title}"] = lambda c=choice: _plain(*side_by_side(c, batch=plan.batch, **sized))
        if plan.rates and choice.name in DEEP:
            # On a CPU only to see that the way through the code is whole.
            batches = BATCHES if plan.device.type == "cuda" else BATCHES[:1]
            found[f"rates {choice.title}"] = lambda c=choice, b=batches: _plain(*throughput(c, batches=b, **sized))
    if plan.once and plan.device.type == "cpu":
        if has_compiler():
            (resnet,) = (choice for choice in CHOICES if choice.name == "resnet50")
            found["compile ResNet-50"] = lambda: _plain(compiled_rows(resnet, batch=plan.batch, **sized))
        for choice in CHOICES:
            found[f"precision {choice.title}"] = lambda c=choice: _plain(*random_network(c, size=160))
        found["precision symbols, trained"] = lambda: _plain(*symbol_network())
        if has_reference():
            found["precision SqueezeNet v1.0, trained"] = lambda: _plain(*trained_squeezenet())
    return found


def _plain(ratios: dict[str, Ratio], refused: dict[str, str] | None = None) -> dict[str, Any]:
    rows = {name: [_short(number) for number in (r.median, r.low, r.high)] for name, r in ratios.items()}
    return {"rows": rows, "refused": refused or {}}


def _short(number: float) -> float:
    """Four digits, or three behind the point where that is more."""
    return round(number, 3) if abs(number) >= 1 else float(f"{number:.4g}")
