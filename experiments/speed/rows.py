"""The rows of the table: what one map costs, a further class, a contrast, the audit, a small operation, memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

import excitation as eb
from experiments.speed.memory import peak_bytes
from experiments.speed.networks import ROOT, Choice, features_of, parts_of, plain_forward, plain_gradient
from experiments.speed.timing import Ratio, spread, take_turns

MORE = 4
"""Classes that are asked for at once when a further class is timed."""


def network_rows(choice: Choice, *, batch: int, turns: int, size: int, device: torch.device) -> dict[str, Ratio]:
    """Ratios for one network, all from the same turns.

    `U` is the forward pass above the chosen layer, timed by running that part alone. A map's cost is that of explaining
    the upper part at its root: recorded forward pass and sweep.
    """
    lower, upper = parts_of(choice, device)
    features = features_of(lower, batch=batch, size=size, device=device)
    few, many = [1], list(range(1, 1 + MORE))

    def explained(**options: object) -> Callable[[], object]:
        return lambda: eb.explain(upper, features, few, layer=ROOT, **options)  # type: ignore[arg-type]

    times = take_turns(
        {
            "U": lambda: plain_forward(upper, features),
            "gradient": lambda: plain_gradient(upper, features),
            "MWP": explained(),
            "c-MWP": explained(method="c-mwp"),
            "balance": lambda: eb.balance(upper, features, few, layer=ROOT),
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
        "with balance / without": times.ratio("balance", "MWP"),
        "peak memory / activations above": _memory(upper, features),
        "U, ms": times.milliseconds("U"),
    }


def _memory(upper: nn.Module, features: torch.Tensor) -> Ratio:
    """Peak of a call over a plain forward pass, as a multiple of all activations the upper part makes.

    Halves of weights are kept between calls and not counted.
    """
    sizes: list[int] = []

    def note(_module: object, _inputs: object, output: torch.Tensor) -> None:
        sizes.append(output.numel() * output.element_size())

    hooks = [module.register_forward_hook(note) for module in upper.modules() if not list(module.children())]
    plain_forward(upper, features)
    for hook in hooks:
        hook.remove()
    eb.explain(upper, features, [1], layer=ROOT)
    explained = peak_bytes(lambda: eb.explain(upper, features, [1], layer=ROOT))
    times = (explained - peak_bytes(lambda: plain_forward(upper, features))) / sum(sizes)
    return Ratio(times, times, times)


def small_network() -> tuple[nn.Sequential, torch.Tensor, int]:
    """Fifty small convolutions and their ReLUs: what they cost is mostly the calls themselves."""
    torch.manual_seed(0)
    steps: list[nn.Module] = [nn.Conv2d(3, 8, 1), nn.ReLU()]
    for _ in range(49):
        steps += [nn.Conv2d(8, 8, 1), nn.ReLU()]
    for step in steps[::2]:
        nn.init.uniform_(step.weight, -0.1, 0.35)  # type: ignore[arg-type]  # rather positive, or activity dies out
    model = nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    return model, torch.rand(1, 3, 4, 4), len(model)


class _Idle(TorchFunctionMode):
    """A mode that only passes calls on."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


def idle_forward(model: nn.Module, images: torch.Tensor) -> None:
    """A forward pass under module hooks and a function mode that do nothing: what PyTorch itself takes for them."""
    hooks = [
        register_module_forward_pre_hook(lambda *_: None),
        register_module_forward_hook(lambda *_: None, always_call=True),
    ]
    try:
        with _Idle():
            plain_forward(model, images)
    finally:
        for hook in hooks:
            hook.remove()


def bare_passes(model: nn.Sequential, images: torch.Tensor) -> torch.Tensor:
    """The same map as `explain`'s, written out for `small_network`: its products and divisions, and nothing else.

    Normalisers that are zero are not looked for, so it must have none.
    """
    with torch.no_grad():
        inputs, x = [], images
        for step in model:
            inputs.append(x)
            x = step(x)
        p = torch.zeros_like(x)
        p[:, 1] = 1
        for step, a in zip(reversed(model), reversed(inputs[2:]), strict=False):
            if isinstance(step, nn.Conv2d):
                w = step.weight.relu()
                p = F.conv_transpose2d(p / F.conv2d(a, w), w).mul_(a)
            elif isinstance(step, nn.Linear):
                w = step.weight.relu()
                p = (p / F.linear(a, w) @ w).mul_(a)
            elif isinstance(step, nn.AdaptiveAvgPool2d):
                p = p * a / a.sum((2, 3), keepdim=True)
            elif isinstance(step, nn.Flatten):
                p = p[:, :, None, None]
    return p.sum(1)


def fixed_cost(turns: int, device: torch.device) -> dict[str, Ratio]:
    """Microseconds over a plain forward pass for each operation of a network of very small ones.

    Beside it what no such tool can do without: PyTorch's own hooks and mode, and the arithmetic.
    """
    model, images, operations = small_network()
    model, images = model.to(device), images.to(device)
    contenders: dict[str, Callable[[], object]] = {
        "plain": lambda: plain_forward(model, images),
        "idle": lambda: idle_forward(model, images),
        "bare": lambda: bare_passes(model, images),
        "MWP": lambda: eb.explain(model, images, [1], layer="1"),
    }
    seconds = take_turns(contenders, turns, device).seconds

    def over(name: str) -> Ratio:
        pairs = zip(seconds[name], seconds["plain"], strict=True)
        return spread([1e6 * (a - b) / operations for a, b in pairs])

    return {
        "over a plain forward pass": over("MWP"),
        "of it PyTorch's hooks and function mode, doing nothing": over("idle"),
        "of it products and divisions, written out": over("bare"),
        "plain forward pass": spread([1e6 * s / operations for s in seconds["plain"]]),
    }
