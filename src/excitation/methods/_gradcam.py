"""Activations weighted by gradients: Grad-CAM, Grad-CAM++, LayerCAM."""

from __future__ import annotations

import torch
from jaxtyping import Float

from ..core import Maps, Request, working
from ._gradient import derivatives
from ._registry import method

Gradients = Float[torch.Tensor, "target image channel *space"]
Activations = Float[torch.Tensor, "image channel *space"]


def _asked(request: Request) -> tuple[Gradients, Activations]:
    """Derivatives at the asked or last layer, and its activations."""
    return derivatives(request, request.last_layer())


def _over_space(x: torch.Tensor) -> torch.Tensor:
    """The mean over positions, kept as dimensions of one."""
    return x.flatten(3).mean(3).reshape(*x.shape[:3], *(1,) * (x.dim() - 3))


def _map(weighted: Gradients, *, signed: bool) -> Maps:
    maps = weighted.sum(2).transpose(0, 1)
    return maps if signed else maps.clamp(min=0)


def by_mean(g: Gradients, a: Activations, *, signed: bool = False) -> Maps:
    """Grad-CAM from derivatives and activations."""
    return _map(_over_space(working(g)) * working(a)[None], signed=signed)


def by_positive_parts(g: Gradients, a: Activations, *, signed: bool = False) -> Maps:
    """Grad-CAM++ from derivatives and activations."""
    g, a = working(g), working(a)[None]
    below = 2 * g**2 + g**3 * _over_space(a) * a.shape[3:].numel()
    alpha = torch.where(below != 0, g**2 / torch.where(below != 0, below, 1), 0)
    weights = alpha * g.clamp(min=0)
    return _map(_over_space(weights) * a.shape[3:].numel() * a, signed=signed)


def by_place(g: Gradients, a: Activations, *, signed: bool = False) -> Maps:
    """LayerCAM from derivatives and activations."""
    return _map(working(g).clamp(min=0) * working(a)[None], signed=signed)


@method(
    "grad-cam",
    "Feature maps weighted by the mean derivative over each map, cut at zero.",
    family="class activation",
    place="last",
    source="Selvaraju et al., ICCV 2017",
    cost="1 F + T B above the layer, 1 F of one image where no layer is named",
)
def grad_cam(request: Request, *, signed: bool = False) -> Maps:
    """At the last layer with space unless one is asked for.

    The mean over positions is the weight of a feature where the score depends on the mean of each feature map, as at
    the last layer before a global average. Lower down it mixes places that speak for the class with places that speak
    against it, and the map can be worse than the middle of the picture (docs/results/real.md).
    """
    return by_mean(*_asked(request), signed=signed)


@method(
    "grad-cam++",
    "Grad-CAM with weights from the positive derivatives, so that several instances of a class count alike.",
    family="class activation",
    place="last",
    source="Chattopadhay et al., WACV 2018",
    cost="1 F + T B above the layer, 1 F of one image where no layer is named",
)
def grad_cam_plus_plus(request: Request, *, signed: bool = False) -> Maps:
    """Weights `sum alpha max(g, 0)` with `alpha = g^2 / (2 g^2 + g^3 sum A)` (its Eq. 19).

    Its score is the exponential of the network's, whose derivative has a factor `exp s` more, the same for all
    neurons: it is left out, as it overflows and changes a map by a factor only.
    """
    return by_positive_parts(*_asked(request), signed=signed)


@method(
    "layer-cam",
    "Activations times the positive derivative at each place, summed over channels.",
    family="class activation",
    place="last",
    source="Jiang et al., IEEE TIP 2021",
    cost="1 F + T B above the layer, 1 F of one image where no layer is named",
    aliases=("layercam",),
)
def layer_cam(request: Request, *, signed: bool = False) -> Maps:
    """At the last layer with space unless one is asked for; made for lower ones."""
    return by_place(*_asked(request), signed=signed)
