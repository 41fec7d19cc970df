"""What `torch.compile` would gain: on the forward pass above the layer, and on the steps between the products."""

from __future__ import annotations

import shutil

import torch
from torch.profiler import ProfilerActivity, profile

import excitation as eb
from excitation.engine.policies import Policies
from experiments.speed.networks import ROOT, Choice, features_of, parts_of, plain_forward
from experiments.speed.timing import Ratio, spread, take_turns

PRODUCTS = ("conv", "mm", "linear", "matmul", "pool", "mv")
"""Parts of the names of kernels that a compiler leaves to the libraries as they are."""


def has_compiler() -> bool:
    """Whether there is what `torch.compile` needs on a CPU."""
    return shutil.which("g++") is not None or shutil.which("clang++") is not None


def compiled_rows(choice: Choice, *, batch: int, turns: int, size: int, device: torch.device) -> dict[str, Ratio]:
    """Compiled over plain, for the forward pass and for two steps of the sweep; and the steps' part of a map."""
    lower, upper = parts_of(choice, device)
    features = features_of(lower, batch=batch, size=size, device=device)
    z, p, a, b = torch.rand((4, *features.shape), device=device)
    limits = z.amax((1, 2, 3), keepdim=True) * Policies().zero_threshold(torch.float32)
    quick_forward, quick_divided, quick_shared = (torch.compile(f) for f in (upper, _divided, _shared))
    assert torch.allclose(quick_divided(p, z, limits), _divided(p, z, limits), rtol=1e-5)
    for quick, plain in zip(quick_shared(p, a, b), _shared(p, a, b), strict=True):
        assert torch.allclose(quick, plain, rtol=1e-5, atol=1e-6)
    times = take_turns(
        {
            "U": lambda: plain_forward(upper, features),
            "forward": lambda: plain_forward(quick_forward, features),
            "divided": lambda: _divided(p, z, limits),
            "quick divided": lambda: quick_divided(p, z, limits),
            "shared": lambda: _shared(p, a, b),
            "quick shared": lambda: quick_shared(p, a, b),
        },
        turns,
        device,
    )
    return {
        "forward: compiled / U": times.ratio("forward", "U"),
        "normalisers and division, ms": times.milliseconds("divided"),
        "normalisers and division: compiled over plain": times.ratio("quick divided", "divided"),
        "residual sum, ms": times.milliseconds("shared"),
        "residual sum: compiled over plain": times.ratio("quick shared", "shared"),
        "steps between the products, % of a map": spread([_between(upper, features) for _ in range(turns)]),
    }


def _divided(p: torch.Tensor, z: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """`p / z` where `z` counts, zero elsewhere: one pass, if the compiler joins it."""
    return torch.where(z > limits, p / z, 0)


def _shared(p: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A signal's shares by the positive parts of two terms, halves where both are silent."""
    a, b = a.clamp(min=0), b.clamp(min=0)
    to_a = p * torch.where(a + b > 0, a / (a + b), 0.5)
    return to_a, p - to_a


def _between(upper: torch.nn.Module, features: torch.Tensor) -> float:
    """The part of a map's time, forward pass included, that no product or pooling takes, in percent."""
    eb.explain(upper, features, [1], layer=ROOT)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        eb.explain(upper, features, [1], layer=ROOT)
    times = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    left = sum(spent for name, spent in times.items() if not any(part in name for part in PRODUCTS))
    return 100 * left / sum(times.values())
