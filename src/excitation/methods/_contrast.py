"""The contrast of Table 2 for any method: the map of the unit minus the map of the dual, both normalised."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .._errors import LayerError
from ..core import Maps, Request, working
from ..engine import INPUT
from ._calls import topmost_weighted
from ._gradient import Channels, magnitude
from ._gradient_recorder import Rectifier, gradients, record_gradients
from ._guided import guided
from ._registry import method
from ._requirements import require_all_rules, require_rules_and_rectifiers


def normalised(maps: Maps) -> Maps:
    """Divide each map by its absolute sum. Empty maps are not changed."""
    size = maps.flatten(2).abs().sum(2)
    return maps / torch.where(size > 0, size, 1).reshape(*maps.shape[:2], *(1,) * (maps.dim() - 2))


def contrasted(unit: Maps, dual: Maps, *, signed: bool) -> Maps:
    """The map of the unit minus that of the dual, each with absolute sum one. Clamped at zero unless `signed`."""
    difference = normalised(unit) - normalised(dual)
    return difference if signed else difference.clamp(min=0)


def _contrast_of_gradients(
    request: Request, rectifier: Rectifier | None, reduced: Callable[[torch.Tensor], torch.Tensor], *, signed: bool
) -> Maps:
    """Backpropagate the unit and the dual unit to a layer and subtract their maps.

    The weights of the dual unit at the last weighted layer have the opposite sign. Its signal equals that of the unit
    down to the output of this layer. Below the layer it has the opposite sign.
    """
    layer = request.layer or INPUT
    passed = record_gradients(request, None, rectifier=rectifier, rules=True)
    priors = request.priors(working(passed.scores.detach()))
    tensor = passed.tensor(layer)
    starts = [passed.tensors[entry.outputs[0].serial] for entry in topmost_weighted(passed.record)]
    if not starts:
        raise LayerError("the network has no weighted operation where a contrast with the dual could be formed.")
    (unit,) = gradients(passed, priors, {layer: tensor})
    duals = []
    with torch.inference_mode(False):
        for prior in priors.to(passed.scores.dtype).clone():
            at = torch.autograd.grad(passed.scores, starts, prior, retain_graph=True, allow_unused=True)
            pairs = [(start, -g) for start, g in zip(starts, at, strict=True) if g is not None]
            (g,) = torch.autograd.grad(
                [start for start, _ in pairs], tensor, [g for _, g in pairs], retain_graph=True, allow_unused=True
            )
            if g is None:
                raise LayerError(
                    f"layer {layer!r} has no weighted operation between it and the top, where a contrast with the dual"
                    " could be formed; choose a lower layer."
                )
            duals.append(g)
    both = [passed.arranged(layer, g, lead=1) for g in (unit, torch.stack(duals))]
    return contrasted(*map(reduced, both), signed=signed)


@method(
    "c-gradient",
    "The gradient map minus that of the dual unit, each with sum one; zero everywhere, because both are equal.",
    family="gradient",
    source="Table 2 of the paper (c-Grad)",
    cost="1 F + 2 T B",
    needs="a rule for every operation",
    applies=require_all_rules,
    steps=("blur",),
)
def contrastive_gradient(request: Request, *, channels: Channels = "max", signed: bool = False) -> Maps:
    """A control: the gradients of unit and dual differ only in sign."""
    return _contrast_of_gradients(request, None, lambda g: magnitude(g, channels), signed=signed)


@method(
    "c-deconv",
    "The Deconv map minus that of the dual unit, each with sum one.",
    family="gradient",
    source="Table 2 of the paper (c-Deconv)",
    cost="1 F + 2 T B",
    needs="a rule for every operation; rectified linear units",
    applies=require_rules_and_rectifiers,
    steps=("blur",),
)
def contrastive_deconv(request: Request, *, channels: Channels = "max", signed: bool = False) -> Maps:
    """The paper's Deconv of the unit minus that of the dual."""
    return _contrast_of_gradients(request, guided, lambda g: magnitude(g, channels), signed=signed)
