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
    """Derivatives and activations at the requested layer, or at the last spatial layer by default."""
    return derivatives(request, request.last_layer())


def _over_space(x: torch.Tensor) -> torch.Tensor:
    """The mean over positions, with singleton spatial dimensions."""
    return x.flatten(3).mean(3).reshape(*x.shape[:3], *(1,) * (x.dim() - 3))


def _map(weighted: Gradients, *, signed: bool) -> Maps:
    maps = weighted.sum(2).transpose(0, 1)
    return maps if signed else maps.clamp(min=0)


def by_mean(g: Gradients, a: Activations, *, signed: bool = False) -> Maps:
    """Grad-CAM from derivatives `g` and activations `a`."""
    return _map(_over_space(working(g)) * working(a)[None], signed=signed)


def by_positive_parts(g: Gradients, a: Activations, *, signed: bool = False) -> Maps:
    """Grad-CAM++ from derivatives `g` and activations `a`."""
    g, a = working(g), working(a)[None]
    below = 2 * g**2 + g**3 * _over_space(a) * a.shape[3:].numel()
    alpha = torch.where(below != 0, g**2 / torch.where(below != 0, below, 1), 0)
    weights = alpha * g.clamp(min=0)
    return _map(_over_space(weights) * a.shape[3:].numel() * a, signed=signed)


def by_place(g: Gradients, a: Activations, *, signed: bool = False) -> Maps:
    """LayerCAM from derivatives `g` and activations `a`."""
    return _map(working(g).clamp(min=0) * working(a)[None], signed=signed)


@method(
    "grad-cam",
    "Feature maps weighted by the mean derivative over each map, clipped at zero.",
    family="class activation",
    place="last",
    source="Selvaraju et al., ICCV 2017",
    cost="1 F + T B above the layer, 1 F of one image where no layer is named",
)
def grad_cam(request: Request, *, signed: bool = False) -> Maps:
    """The default layer is the last spatial layer.

    The mean of the gradient over positions is a suitable weight if the score depends only on the mean of each feature
    map, as at the last layer before global average pooling. At lower layers the mean mixes positions with positive and
    negative influence. The map can then be worse than a fixed peak at the image centre (docs/results/real.md).
    """
    return by_mean(*_asked(request), signed=signed)


@method(
    "grad-cam++",
    "Grad-CAM with weights from the positive derivatives, so that several instances of a class count equally.",
    family="class activation",
    place="last",
    source="Chattopadhay et al., WACV 2018",
    cost="1 F + T B above the layer, 1 F of one image where no layer is named",
)
def grad_cam_plus_plus(request: Request, *, signed: bool = False) -> Maps:
    """Weights `sum alpha max(g, 0)` with `alpha = g^2 / (2 g^2 + g^3 sum A)` (Eq. 19 of its paper).

    The method's score is the exponential of the network's score. Its derivative contains an additional factor `exp s`,
    equal for all neurons. This factor is omitted: it can overflow, and it only scales the map.
    """
    return by_positive_parts(*_asked(request), signed=signed)


@method(
    "layer-cam",
    "Activations times the positive derivative at each position, summed over channels.",
    family="class activation",
    place="last",
    source="Jiang et al., IEEE TIP 2021",
    cost="1 F + T B above the layer, 1 F of one image where no layer is named",
    aliases=("layercam",),
)
def layer_cam(request: Request, *, signed: bool = False) -> Maps:
    """The default layer is the last spatial layer; the method was designed for lower layers."""
    return by_place(*_asked(request), signed=signed)
