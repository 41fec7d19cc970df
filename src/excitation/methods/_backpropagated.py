"""The signals behind maps: the backpropagated signal of a method for each neuron, at several layers of one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from .._errors import ExcitationError, LayerError
from ..core import Request, Target, make_request, working
from ..engine import ExcitationRules, Policies, Record, Signal, Value, sweep
from ..models._loaded import LoadedModel
from ._excitation import UnnormalisedRules
from ._gradient_recorder import Rectifier, record_gradients
from ._guided import deconvolving, guided
from ._lrp import NAMED
from ._relevance import Relevance, relevance
from ._rivals import contrasted_start

Layers = Sequence[str]
Backpropagation = Callable[[Request, Layers], list[Signal]]


def _values(record: Record, layers: Layers) -> list[Value]:
    values = []
    for name in layers:
        place = record.places.get(name)
        if place is None or place.value is None:
            raise LayerError(f"layer {name!r} is not a single tensor of this forward pass; choose another layer.")
        values.append(place.value)
    return values


def _excitation(*, contrast: bool = False, rivals: bool = False, normalised: bool = True) -> Backpropagation:
    def run(request: Request, layers: Layers) -> list[Signal]:
        record = request.record(None)
        assert record.scores is not None
        scores = working(record.scores)
        start = contrasted_start(request, scores, "odds") if rivals else request.priors(scores)
        rules = ExcitationRules(Policies()) if normalised else UnnormalisedRules(Policies())
        start = start if normalised else start.double()
        return sweep(record, start[None], _values(record, layers), rules, contrast=contrast)

    return run


def _relevance(asked: Relevance) -> Backpropagation:
    def run(request: Request, layers: Layers) -> list[Signal]:
        return relevance(request, None, lambda record: _values(record, layers), asked)

    return run


def _derivative(rectifier: Rectifier | None = None) -> Backpropagation:
    def run(request: Request, layers: Layers) -> list[Signal]:
        passed = record_gradients(request, layers, rectifier=rectifier)
        tensors = [passed.tensors[value.serial] for value in _values(passed.record, layers)]
        priors = request.priors(working(passed.scores.detach())).to(passed.scores.dtype)
        with torch.inference_mode(False):
            parts = [torch.autograd.grad(passed.scores, tensors, prior, retain_graph=True) for prior in priors.clone()]
        return [working(torch.stack(part))[None] for part in zip(*parts, strict=True)]

    return run


BACKPROPAGATED: dict[str, Backpropagation] = {
    "mwp": _excitation(),
    "c-mwp": _excitation(contrast=True),
    "eb-without-norm": _excitation(contrast=True, normalised=False),
    "r-mwp": _excitation(rivals=True),
    "gradient": _derivative(),
    "deconv": _derivative(guided),
    "deconvnet": _derivative(deconvolving),
    **{name: _relevance(Relevance(**options)) for name, options in NAMED.items()},
}
"""Methods that propagate a signal from layer to layer, with their default options, by name."""


def backpropagated(
    method: str, model: torch.nn.Module | LoadedModel, images: torch.Tensor, targets: Sequence[Target], layers: Layers
) -> list[Signal]:
    """The signals of a method at several layers, before the sum over channels and before negative values are removed.

    Args:
        method: a name in `BACKPROPAGATED`.
        model: the network in evaluation mode; no call changes it.
        images: `(image, channel, *space)`, preprocessed.
        targets: the targets of all images.
        layers: names of layers or operations. They may lie on the same path and need no spatial dimensions.

    Returns:
        `(polarity, target, image, *neurons)` at each layer. The polarity axis follows the engine's convention and has
        length one if there is no second polarity. Zero for a class without a response (r-MWP).

    Raises:
        ExcitationError: the method propagates no signal or does not apply, or the network has no such layer.
    """
    if method not in BACKPROPAGATED:
        raise ExcitationError(
            f"method {method!r} does not pass a signal from layer to layer; methods that do:"
            f" {', '.join(BACKPROPAGATED)}."
        )
    with torch.inference_mode(False), torch.no_grad():
        return BACKPROPAGATED[method](make_request(model, images, list(targets)), layers)
