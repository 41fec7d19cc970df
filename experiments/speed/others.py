"""Other methods' time beside the engine's, in the same turns: same network, image, target and layer."""

from __future__ import annotations

import importlib.util
import textwrap
from collections.abc import Callable

import torch
from torch import nn

import excitation as eb
from experiments.speed.networks import ROOT, Choice, features_of, parts_of, plain_forward, plain_gradient
from experiments.speed.timing import Ratio, take_turns

TARGET = 1

MISSING = {
    "zennit: excitation composite": ("zennit",),
    "Captum: LRP": ("captum",),
    "Captum: guided backprop": ("captum",),
    "Captum: Grad-CAM": ("captum",),
    "pytorch-grad-cam: Grad-CAM": ("pytorch_grad_cam", "cv2"),
}
"""What each needs to be importable: `make bench` installs it."""


def other_methods(upper: nn.Module, features: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Maps at the root of a network's upper part, one call each, as the packages' documentation has it."""
    several = torch.full((len(features),), TARGET)
    root = upper.get_submodule(ROOT)

    def zennit() -> None:
        from zennit.attribution import Gradient
        from zennit.composites import ExcitationBackprop

        with Gradient(model=upper, composite=ExcitationBackprop()) as attributor:
            attributor(features.clone(), lambda output: torch.eye(output.shape[1])[several].to(output))

    def wanted() -> torch.Tensor:
        return features.clone().requires_grad_(True)

    def lrp() -> None:
        from captum.attr import LRP
        from captum.attr._utils.lrp_rules import IdentityRule

        if isinstance(root, nn.Identity):
            root.rule = IdentityRule()  # type: ignore[assignment]
        LRP(upper).attribute(wanted(), TARGET)

    def guided() -> None:
        from captum.attr import GuidedBackprop

        GuidedBackprop(upper).attribute(wanted(), TARGET)

    def captum_grad_cam() -> None:
        from captum.attr import LayerGradCam

        LayerGradCam(upper, root).attribute(features, TARGET)

    def grad_cam() -> None:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with GradCAM(model=upper, target_layers=[root]) as method:
            method(input_tensor=wanted(), targets=[ClassifierOutputTarget(TARGET)] * len(features))

    return {
        "excitation: MWP": lambda: eb.explain(upper, features, [TARGET], layer=ROOT),
        "excitation: c-MWP": lambda: eb.explain(upper, features, [TARGET], layer=ROOT, method="c-mwp"),
        "gradient (autograd)": lambda: plain_gradient(upper, features, (TARGET,)),
        "zennit: excitation composite": zennit,
        "Captum: LRP": lrp,
        "Captum: guided backprop": guided,
        "Captum: Grad-CAM": captum_grad_cam,
        "pytorch-grad-cam: Grad-CAM": grad_cam,
    }


def side_by_side(
    choice: Choice, *, batch: int, turns: int, size: int, device: torch.device
) -> tuple[dict[str, Ratio], dict[str, str]]:
    """Each method's time over the upper part's forward pass, and why some refused."""
    lower, upper = parts_of(choice, device)
    features = features_of(lower, batch=batch, size=size, device=device)
    contenders: dict[str, Callable[[], object]] = {"U": lambda: plain_forward(upper, features)}
    refused: dict[str, str] = {}
    for name, contender in other_methods(upper, features).items():
        reason = _absent(name) or _refusal(contender)
        if reason:
            refused[name] = reason
        else:
            contenders[name] = contender
    times = take_turns(contenders, turns, device)
    upper.zero_grad(set_to_none=True)  # pytorch-grad-cam leaves the weights' derivatives behind
    return {name: times.ratio(name, "U") for name in contenders if name != "U"}, refused


def _absent(name: str) -> str:
    absent = [module for module in MISSING.get(name, ()) if importlib.util.find_spec(module) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def _refusal(contender: Callable[[], object]) -> str:
    """Why a method does not take a network, or nothing: another package's reason is a result, told in the table."""
    try:
        contender()
    except (RuntimeError, TypeError, ValueError, AssertionError, AttributeError) as error:
        return told(error)
    return ""


def told(error: Exception) -> str:
    """An error's kind and its first line, cut to what a table can hold."""
    first = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {textwrap.shorten(first, 160, placeholder=' …')}"
