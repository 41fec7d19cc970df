"""The gradient of a class score and derived methods: input times gradient, integrated and smoothed gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from .._errors import ExcitationError
from ..core import Maps, Request, only_at_input, working
from ..engine import INPUT
from ._gradient_recorder import Rectifier, gradients, record_gradients
from ._registry import method

Channels = Literal["max", "mean"]
"""How absolute derivatives are reduced over channels."""

SIMONYAN = "Simonyan et al., ICLR Workshop 2014"


def magnitude(g: Float[torch.Tensor, "target image channel *space"], channels: Channels) -> Maps:
    """Maps `(image, target, *space)` of the largest (or mean) absolute value over channels."""
    size = working(g).abs()
    return (size.amax(2) if channels == "max" else size.mean(2)).transpose(0, 1)


def products(
    g: Float[torch.Tensor, "target image channel *space"], a: Float[torch.Tensor, "image channel *space"]
) -> Maps:
    """Maps `(image, target, *space)` of activation times derivative, summed over channels."""
    return working(g * a).sum(2).transpose(0, 1)


def derivatives(
    request: Request, layer: str, rectifier: Rectifier | None = None
) -> tuple[Float[torch.Tensor, "target image channel *space"], Float[torch.Tensor, "image channel *space"]]:
    """Derivatives of the target scores with respect to the activations of a layer, and these activations."""
    return derivatives_at(request, [layer], rectifier)[layer]


def derivatives_at(
    request: Request, layers: Sequence[str], rectifier: Rectifier | None = None
) -> dict[str, tuple[Float[torch.Tensor, "target image channel *space"], Float[torch.Tensor, "image channel *space"]]]:
    """Like `derivatives` for several layers, with one forward pass and one backward pass per target."""
    passed = record_gradients(request, layers, rectifier=rectifier)
    priors = request.priors(working(passed.scores.detach()))
    tensors = {layer: passed.tensor(layer) for layer in layers}
    slopes = gradients(passed, priors, tensors)
    return {
        layer: (passed.arranged(layer, g, lead=1), passed.arranged(layer, tensors[layer].detach()))
        for layer, g in zip(layers, slopes, strict=True)
    }


@method(
    "gradient",
    "The largest absolute derivative over channels: how strongly the score depends on each position.",
    family="gradient",
    source=f"{SIMONYAN}; Fig. 6 of the paper for inner layers",
    cost="1 F + T B",
    steps=("blur",),
    aliases=("grad", "saliency"),
)
def gradient(request: Request, *, channels: Channels = "max") -> Maps:
    """Absolute derivative, reduced over channels by maximum or mean. The default layer is the image."""
    return magnitude(derivatives(request, request.layer or INPUT)[0], channels)


@method(
    "input-x-gradient",
    "Activation times derivative, summed over channels: the part of the score of each position, to first order.",
    family="gradient",
    source="Shrikumar et al., 2016 (arXiv:1605.01713)",
    cost="1 F + T B",
    steps=("blur",),
)
def input_times_gradient(request: Request) -> Maps:
    """Signed product of input and derivative. The default layer is the image."""
    return products(*derivatives(request, request.layer or INPUT))


@method(
    "integrated-gradients",
    "Input times the derivative averaged along the straight path from a baseline: parts of the score's rise.",
    family="gradient",
    source="Sundararajan, Taly, Yan, ICML 2017",
    cost="(1 + samples) F + samples T B",
    steps=("blur",),
)
def integrated_gradients(
    request: Request, *, samples: int = 50, baseline: float | torch.Tensor = 0.0
) -> Maps:  # fmt: skip
    """Gauss-Legendre quadrature with `samples` nodes. The map sums to the score minus the score of the baseline.

    The signals of the targets are computed for the image itself and held fixed along the path.
    """
    only_at_input(request, "integrated gradients")
    _check_count(samples)
    images = request.images
    if isinstance(baseline, torch.Tensor) and baseline.shape not in (images.shape, images.shape[1:]):
        raise ExcitationError(
            f"the baseline has shape {tuple(baseline.shape)}; give a number or a tensor of shape"
            f" {tuple(images.shape[1:])} or {tuple(images.shape)}."
        )
    start = torch.as_tensor(baseline, dtype=images.dtype, device=images.device).expand(images.shape)
    priors = _own_priors(request)
    mean = priors.new_zeros((len(priors), *images.shape))
    nodes, weights = np.polynomial.legendre.leggauss(samples)  # on -1..1
    for node, weight in zip(((nodes + 1) / 2).tolist(), (weights / 2).tolist(), strict=True):
        mean += weight * _gradient_at(request, start + node * (images - start), priors)
    return (mean * working(images - start)).sum(2).transpose(0, 1)


@method(
    "smoothgrad",
    "The gradient averaged over noisy copies of the image.",
    family="gradient",
    source="Smilkov et al., 2017 (arXiv:1706.03825)",
    cost="(1 + samples) F + samples T B",
    steps=("blur",),
)
def smooth_gradient(
    request: Request,
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
    channels: Channels = "max",
    average: Literal["signed", "absolute"] = "signed",
) -> Maps:
    """The mean derivative under Gaussian noise with standard deviation `noise` times the value range of each image.

    All images of a batch use the same noise, scaled to their ranges, so results do not depend on the batch. `average`
    selects signed derivatives or absolute values.
    """
    only_at_input(request, "SmoothGrad")
    _check_count(samples)
    if noise < 0:
        raise ExcitationError(f"noise is {noise}; zero or more is expected.")
    images = request.images
    priors = _own_priors(request)
    flat = images.flatten(1)
    spread = (noise * (flat.amax(1) - flat.amin(1))).reshape(-1, *(1,) * (images.dim() - 1))
    generator = torch.Generator().manual_seed(seed)
    mean = priors.new_zeros((len(priors), *images.shape))
    for _ in range(samples):
        draw = torch.randn(images.shape[1:], generator=generator, dtype=torch.float64).to(images)
        g = _gradient_at(request, images + spread * draw, priors)
        mean += (g.abs() if average == "absolute" else g) / samples
    return magnitude(mean, channels)


def _own_priors(request: Request) -> torch.Tensor:
    """The signals of the targets for the unmodified images."""
    passed = record_gradients(request, ())
    return request.priors(working(passed.scores.detach()))


def _gradient_at(request: Request, images: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    passed = record_gradients(request, [INPUT], images=images)
    return working(gradients(passed, priors, {INPUT: passed.tensor(INPUT)})[0])


def _check_count(samples: int) -> None:
    if samples < 1:
        raise ExcitationError(f"samples is {samples}; at least one is needed.")
