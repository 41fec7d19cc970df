"""The rows of the table: what one map costs, a further class, a contrast, the audit, a small operation, memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

import excitation as eb
from experiments.speed.memory import peak_bytes
from experiments.speed.networks import ROOT, Choice, chain, split
from experiments.speed.timing import Ratio, take_turns

MORE = 4
"""Classes that are asked for at once when a further class is timed."""


def network_rows(choice: Choice, *, batch: int, turns: int, size: int, device: torch.device) -> dict[str, Ratio]:
    """Ratios for one network, all from the same turns.

    `U` is the forward pass above the chosen layer, timed by running that part alone. A map's cost is that of explaining
    the upper part at its root: recorded forward pass and sweep.
    """
    lower, upper = split(chain(choice.name), choice.layer, signed=choice.signed)
    lower, upper = lower.to(device), upper.to(device)
    images = torch.randn(batch, 3, size, size, device=device)
    with torch.no_grad():
        features = lower(images)
    few, many = [1], list(range(1, 1 + MORE))

    def forward() -> None:
        with torch.no_grad():
            upper(features)

    def gradient() -> None:
        x = features.clone().requires_grad_(True)
        torch.autograd.grad(upper(x)[:, 1].sum(), x)

    def explained(**options: object) -> Callable[[], object]:
        return lambda: eb.explain_full(upper, features, few, layer=ROOT, **options)  # type: ignore[arg-type]

    times = take_turns(
        {
            "U": forward,
            "gradient": gradient,
            "MWP": explained(),
            "c-MWP": explained(contrast="dual"),
            "audit": explained(account=True),
            "many": lambda: eb.explain(upper, features, many, layer=ROOT),
        },
        turns,
        device,
    )
    return {
        "one MWP map / U": times.ratio("MWP", "U"),
        "gradient / U": times.ratio("gradient", "U"),
        "c-MWP / MWP": times.ratio("c-MWP", "MWP"),
        "further class / U": times.ratio("many", "U", less="MWP", each=MORE - 1),
        "with audit / without": times.ratio("audit", "MWP"),
        "peak memory / activations above": _memory(upper, features),
        "U, ms": _milliseconds(times.seconds["U"]),
    }


def _memory(upper: nn.Module, features: torch.Tensor) -> Ratio:
    """Peak of a call over a plain forward pass, as a multiple of all activations the upper part makes.

    Halves of weights are kept between calls and not counted.
    """
    sizes: list[int] = []

    def note(_module: object, _inputs: object, output: torch.Tensor) -> None:
        sizes.append(output.numel() * output.element_size())

    hooks = [module.register_forward_hook(note) for module in upper.modules() if not list(module.children())]

    def forward() -> None:
        with torch.no_grad():
            upper(features)

    forward()
    for hook in hooks:
        hook.remove()
    eb.explain(upper, features, [1], layer=ROOT)
    over = peak_bytes(lambda: eb.explain(upper, features, [1], layer=ROOT)) - peak_bytes(forward)
    times = over / sum(sizes)
    return Ratio(times, times, times)


def _milliseconds(seconds: list[float]) -> Ratio:
    ordered = sorted(1e3 * s for s in seconds)
    return Ratio(ordered[len(ordered) // 2], ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4])


def small_network() -> tuple[nn.Module, torch.Tensor, int]:
    """Fifty small convolutions and their ReLUs: what they cost is mostly the calls themselves."""
    torch.manual_seed(0)
    steps: list[nn.Module] = [nn.Conv2d(3, 8, 1), nn.ReLU()]
    for _ in range(49):
        steps += [nn.Conv2d(8, 8, 1), nn.ReLU()]
    model = nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    return model, torch.rand(1, 3, 4, 4), len(model)


def fixed_cost(turns: int) -> dict[str, Ratio]:
    """Microseconds over a plain forward pass for each operation of a network of very small ones."""
    model, images, operations = small_network()

    def forward() -> None:
        with torch.no_grad():
            model(images)

    times = take_turns({"plain": forward, "MWP": lambda: eb.explain(model, images, [1], layer="1")}, turns)
    over = sorted(1e6 * (a - b) / operations for a, b in zip(times.seconds["MWP"], times.seconds["plain"], strict=True))
    plain = sorted(1e6 * s / operations for s in times.seconds["plain"])
    return {name: Ratio(r[len(r) // 2], r[len(r) // 4], r[-1 - len(r) // 4]) for name, r in
            {"over a plain forward pass": over, "plain forward pass": plain}.items()}  # fmt: skip
