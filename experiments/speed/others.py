"""Other methods' time beside the engine's, in the same turns: same network, image, target and layer."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from torch import nn

import excitation as eb
from experiments.speed.networks import ROOT, Choice, chain, split
from experiments.speed.timing import Ratio, take_turns

TARGET = 1


def other_methods(upper: nn.Module, features: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Maps at the root of a network's upper part, one call each; those whose package is installed."""
    several = torch.full((len(features),), TARGET)

    def gradient() -> None:
        x = features.clone().requires_grad_(True)
        torch.autograd.grad(upper(x)[:, TARGET].sum(), x)

    found: dict[str, Callable[[], object]] = {
        "excitation: MWP": lambda: eb.explain(upper, features, [TARGET], layer=ROOT),
        "excitation: c-MWP": lambda: eb.explain(upper, features, [TARGET], layer=ROOT, contrast="dual"),
        "gradient (autograd)": gradient,
    }
    if importlib.util.find_spec("zennit") is not None:
        from zennit.attribution import Gradient
        from zennit.composites import ExcitationBackprop

        def zennit() -> None:
            with Gradient(model=upper, composite=ExcitationBackprop()) as attributor:
                attributor(features.clone(), lambda output: torch.eye(output.shape[1])[several])

        found["zennit: excitation composite"] = zennit
    if importlib.util.find_spec("captum") is not None:
        from captum.attr import LRP, GuidedBackprop, LayerGradCam

        found["Captum: guided backprop"] = lambda: GuidedBackprop(upper).attribute(
            features.clone().requires_grad_(True), TARGET
        )
        found["Captum: LRP"] = lambda: LRP(upper).attribute(features.clone().requires_grad_(True), TARGET)
        root = upper.get_submodule(ROOT)
        found["Captum: Grad-CAM"] = lambda: LayerGradCam(upper, root).attribute(features, TARGET)
    return found


def side_by_side(
    choice: Choice, *, batch: int, turns: int, size: int, device: torch.device
) -> tuple[dict[str, Ratio], dict[str, str]]:
    """Each method's time over the upper part's forward pass, and why some refused."""
    lower, upper = split(chain(choice.name), choice.layer, signed=choice.signed)
    lower, upper = lower.to(device), upper.to(device)
    with torch.no_grad():
        features = lower(torch.randn(batch, 3, size, size, device=device))

    def forward() -> None:
        with torch.no_grad():
            upper(features)

    contenders: dict[str, Callable[[], object]] = {"U": forward}
    refused: dict[str, str] = {}
    for name, contender in other_methods(upper, features).items():
        reason = _refusal(contender)
        if reason:
            refused[name] = reason
        else:
            contenders[name] = contender
    times = take_turns(contenders, turns, device)
    return {name: times.ratio(name, "U") for name in contenders if name != "U"}, refused


def _refusal(contender: Callable[[], object]) -> str:
    """Why a method does not take a network, or nothing: another package's reason is a result, told in the table."""
    try:
        contender()
    except (RuntimeError, TypeError, ValueError, AssertionError, AttributeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"
    return ""
