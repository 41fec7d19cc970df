"""Feedback networks: gates on rectifiers, optimised to maximise the class score."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int

from .._checks import check_number
from .._errors import LayerError
from ..core import Maps, Request, Settings, Targets, make_request, working
from ..engine import INPUT
from ..models._loaded import LoadedModel
from ._gradient import Channels, magnitude
from ._gradient_recorder import record_gradients
from ._registry import method
from ._requirements import require_rectifiers


@dataclass(frozen=True)
class FeedbackResult:
    """Result of the feedback method.

    Attributes:
        maps: absolute derivative of the gated score at the layer, for the best gates.
        scores: score of each target after each number of updates, `(image, target, iterate)`; the first entry is the
            score of the network without gates.
        best: number of updates with the highest score, `(image, target)`.
        closed: fraction of gates below 0.5 for the best gates, `(image, target)`.
        shut: the same fraction after each number of updates, `(image, target, iterate)`.
    """

    maps: Maps
    scores: Float[torch.Tensor, "image target iterate"]
    best: Int[torch.Tensor, "image target"]
    closed: Float[torch.Tensor, "image target"]
    shut: Float[torch.Tensor, "image target iterate"]


class _Gates:
    """Multiplies the output of each rectifier, in call order, by one gate per neuron."""

    def __init__(self, values: list[torch.Tensor] | None) -> None:
        self._start = values
        self.values: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        del x
        gate = torch.ones_like(y) if self._start is None else self._start[len(self.values)]
        self.values.append(gate.detach().requires_grad_(True))
        return y * self.values[-1]


def _optimised(
    request: Request, index: int, layer: str, iterations: int, rate: float, sparsity: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Optimise the gates of one target: derivatives at the best gates, all scores, best iterate, closed fractions."""
    values: list[torch.Tensor] | None = None
    prior: torch.Tensor | None = None
    best: torch.Tensor | None = None
    scores, closed = [], []
    at = torch.zeros(request.images.shape[0], dtype=torch.long)
    derivative = torch.zeros(0)
    for step in range(iterations + 1):
        gates = _Gates(values)
        passed = record_gradients(request, [layer], rectifier=gates)
        tensor = passed.tensor(layer)
        with torch.inference_mode(False), torch.enable_grad():
            if prior is None:
                prior = request.priors(working(passed.scores.detach()))[index].clone()
            value = (prior.to(passed.scores.dtype) * passed.scores).flatten(1).sum(1)
            slopes = torch.autograd.grad(value.sum(), [tensor, *gates.values], allow_unused=True)
        g, value = slopes[0], working(value.detach())
        if g is None:
            raise LayerError(f"the class scores do not depend on layer {layer!r}; choose another.")
        scores.append(value)
        better = torch.ones_like(value, dtype=torch.bool) if best is None else value > best
        best = value if best is None else torch.where(better, value, best)
        pick = better.reshape(-1, *(1,) * (g.dim() - 1))
        derivative = g if step == 0 else torch.where(pick, g, derivative)
        shut = torch.stack([(z < 0.5).flatten(1).sum(1) for z in gates.values]).sum(0)
        closed.append(working(shut / sum(z[0].numel() for z in gates.values)))
        at = torch.where(better, step, at.to(better.device))
        values = [_moved(z.detach(), slope, rate, sparsity) for z, slope in zip(gates.values, slopes[1:], strict=True)]
    derivative = passed.arranged(layer, derivative)
    return derivative, torch.stack(scores, 1), at, torch.stack(closed, 1).to(scores[0])


def _moved(gate: torch.Tensor, slope: torch.Tensor | None, rate: float, sparsity: float) -> torch.Tensor:
    """Gates after one ascent step, clamped to [0, 1]; the largest step is `rate`, where the slope is steepest."""
    if slope is None:
        return gate
    largest = slope.flatten(1).abs().amax(1).reshape(-1, *(1,) * (slope.dim() - 1))
    uphill = slope / torch.where(largest > 0, largest, 1) - sparsity
    return (gate + rate * uphill).clamp(0, 1)


def _feedback(request: Request, *, iterations: int, rate: float, sparsity: float, channels: Channels) -> FeedbackResult:
    check_number("iterations", iterations, "a whole number from 1 on", least=1, whole=True)
    check_number("rate", rate, "a positive number", least=sys.float_info.min)
    check_number("sparsity", sparsity, "a number from 0 on", least=0)
    layer = request.layer or INPUT
    each = [
        _optimised(request, index, layer, iterations, rate, sparsity) for index in range(max(request.counts))
    ]  # fmt: skip
    derivatives, scores, best, closed = zip(*each, strict=True)
    at, shut = torch.stack(best, 1), torch.stack(closed, 1)
    return FeedbackResult(
        maps=magnitude(torch.stack(derivatives), channels),
        scores=torch.stack(scores, 1),
        best=at,
        closed=shut.gather(2, at[..., None])[..., 0],
        shut=shut,
    )


@method(
    "feedback",
    "Gates on all rectifiers, opened and closed to increase the class score; then the gradient through them.",
    family="selection",
    source="Cao et al., ICCV 2015 (reference 7 of the paper)",
    cost="T (iterations + 1) (F + B)",
    needs="rectified linear units",
    applies=require_rectifiers,
    steps=("blur",),
)
def feedback(
    request: Request,
    *,
    iterations: int = 20,
    rate: float = 0.5,
    sparsity: float = 0.0,
    channels: Channels = "max",
) -> Maps:
    """Projected gradient ascent on the gates, from all open, each in [0, 1]; the best iterate determines the map.

    The authors of the method use 10 to 50 iterations. `sparsity` is the penalty of an open gate, as a fraction of the
    steepest slope in its layer.
    """
    return _feedback(request, iterations=iterations, rate=rate, sparsity=sparsity, channels=channels).maps


def feedback_full(
    model: torch.nn.Module | LoadedModel,
    images: torch.Tensor,
    targets: Targets,
    *,
    iterations: int = 20,
    rate: float = 0.5,
    sparsity: float = 0.0,
    channels: Channels = "max",
    **settings: Any,
) -> FeedbackResult:
    """The method `feedback` with the scores and gates of all iterations.

    Args:
        model: the network in evaluation mode.
        images: `(image, channel, height, width)`, as the network takes them.
        targets: what to explain.
        iterations: number of updates of the gates.
        rate: largest change of a gate in one update.
        sparsity: penalty of an open gate.
        channels: how absolute derivatives are reduced over channels.
        **settings: other settings, as in `Settings`.

    Returns:
        Maps, and the score of each target after each number of updates. `scores[..., best]` is at least the first
        score.

    Raises:
        ExcitationError: the network has no rectifier (checked on the first image), or an argument is invalid.
    """
    request = make_request(model, images, targets, Settings(**settings))
    if len(images) > 1:
        require_rectifiers(request)
    return _feedback(request, iterations=iterations, rate=rate, sparsity=sparsity, channels=channels)
