"""Several methods and layers from one forward pass: Excitation Backprop variants and gradient methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from .._errors import ExcitationError
from ..core import Maps, Request, Settings, SpatialWeighting, Target, make_request, swept_layer, working
from ..engine import INPUT, Policies, Record, Value, attention_maps
from ..models._loaded import LoadedModel
from ._contrast import contrasted
from ._excitation import alone, unnormalised
from ._gradcam import by_mean, by_place, by_positive_parts
from ._gradient import derivatives_at, magnitude, products
from ._rivals import Start, contrasted_start

RIVALS: dict[str, Start] = {"r-mwp": "odds", "r-mwp-rectified": "rivals"}
"""The start of each contrast with rivals."""

SWEPT = ("mwp", "c-mwp", *RIVALS)
"""Methods that differ only in their start."""

TOGETHER = (*SWEPT, "eb-without-norm", "eb-post-norm")
"""Methods that are sweeps over the engine's record and can share it."""

AT_LAST = {"grad-cam": by_mean, "grad-cam++": by_positive_parts, "layer-cam": by_place}
"""Functions of derivatives and activations; the default layer of their methods is the last spatial layer."""

GRADIENTS: dict[str, Callable[[torch.Tensor, torch.Tensor], Maps]] = {
    "gradient": lambda g, _: magnitude(g, "max"),
    "input-x-gradient": products,
    **AT_LAST,
}
"""Methods that use the plain derivatives at a layer and can share them."""


def maps_from_one_pass(
    model: torch.nn.Module | LoadedModel,
    images: torch.Tensor,
    targets: Sequence[Target],
    methods: Sequence[tuple[str, SpatialWeighting]],
    layers: Sequence[str | None] | Sequence[Sequence[str | None]],
) -> list[list[Maps]]:
    """Compute the maps of several methods at several layers from one forward pass.

    The result equals that of separate calls.

    Args:
        model: the network in evaluation mode.
        images: `(image, channel, height, width)`, as the network takes them.
        targets: the targets of all images.
        methods: names in `TOGETHER`, each with how the signal of a class is distributed over a score map.
        layers: layers of the maps: one list for all methods, or one list per method. `None` is the default layer of the
            model or the engine.

    Returns:
        For each method and layer: `(image, target, height, width)`; non-negative for contrasts.

    Raises:
        ExcitationError: an unsupported method, a wrong number of lists, or an error of a method.
    """
    other = [name for name, _ in methods if name not in TOGETHER]
    if other:
        raise ExcitationError(f"method {other[0]!r} cannot share a forward pass; methods that can: {TOGETHER}.")
    request = make_request(model, images, list(targets))
    every = _for_each(layers, len(methods))
    own = request.engine_layer() if any(None in of_method for of_method in every) else ""
    names = [[own if layer is None else layer for layer in of_method] for of_method in every]
    requests = {
        spatial: make_request(model, images, list(targets), Settings(spatial=spatial)) for _, spatial in methods
    }
    roots = list(dict.fromkeys(name for of_method in names for name in of_method))
    with torch.inference_mode(False), torch.no_grad():
        record = request.record(roots)
        values = {name: swept_layer(record, name) for name in roots}
        found = _swept(methods, requests, record, [[values[name] for name in of_method] for of_method in names])
    for (name, _), of_method in zip(methods, found, strict=True):
        if not all(bool(torch.isfinite(maps).all()) for maps in of_method):
            raise ExcitationError(f"the map of method {name!r} is not finite: an activation is too large.")
    return found


def _for_each(layers: Sequence[str | None] | Sequence[Sequence[str | None]], count: int) -> list[list[str | None]]:
    """Return one list of layers per method."""
    lists = [list(item) for item in layers if item is not None and not isinstance(item, str)]
    if not layers:
        raise ExcitationError(
            "an empty list of layers was given; name at least one, or None for the method's own choice."
        )
    if not lists:
        common = [item for item in layers if item is None or isinstance(item, str)]
        return [common] * count
    if not len(lists) == len(layers) == count:
        raise ExcitationError(f"layers are {list(layers)!r}; give one list for all {count} methods, or one for each.")
    return lists


def _swept(
    methods: Sequence[tuple[str, SpatialWeighting]],
    requests: dict[SpatialWeighting, Request],
    record: Record,
    values: Sequence[Sequence[Value]],
) -> list[list[Maps]]:
    """Maps of each method at each of its layers. Methods with equal layers and the same kind of start share a sweep."""
    assert record.scores is not None
    scores = working(record.scores)
    arrived: dict[int, list[Maps]] = {}
    # Each sweep ends at the layers of its methods: going further down would cost more than a forward pass.
    groups: dict[tuple[bool, tuple[int, ...]], list[int]] = {}
    for i, (name, _) in enumerate(methods):
        if name in SWEPT:
            groups.setdefault((name == "c-mwp", tuple(value.serial for value in values[i])), []).append(i)
    for (dual, _), members in groups.items():
        starts = [_start(methods[i][0], requests[methods[i][1]], scores) for i in members]
        signals = torch.cat(starts)[None]
        swept = attention_maps(record, signals, list(values[members[0]]), Policies(), contrast=dual)
        each = [torch.split(maps, [len(start) for start in starts], 1) for maps in swept]
        for i, *maps in zip(members, *each, strict=True):
            arrived[i] = [item if methods[i][0] == "mwp" else item.clamp(min=0) for item in maps]
    for i, (name, spatial) in enumerate(methods):
        if name == "eb-without-norm":
            (contrasts,) = unnormalised(requests[spatial], record, values[i], True)
            arrived[i] = [alone(maps, signed=False).to(scores.dtype) for maps in contrasts]
        elif name == "eb-post-norm":
            units, contrasts = unnormalised(requests[spatial], record, values[i], False, True)
            arrived[i] = [
                contrasted(unit, unit - contrast, signed=False).to(scores.dtype)
                for unit, contrast in zip(units, contrasts, strict=True)
            ]
    return [arrived[i] for i in range(len(methods))]


def _start(name: str, request: Request, scores: torch.Tensor) -> torch.Tensor:
    if name in RIVALS:
        return contrasted_start(request, scores, RIVALS[name])
    return request.priors(scores)


def gradient_maps_from_one_pass(
    model: torch.nn.Module | LoadedModel,
    images: torch.Tensor,
    targets: Sequence[Target],
    methods: Sequence[tuple[str, Sequence[str | None]]],
    *,
    spatial: SpatialWeighting = "response",
) -> list[list[Maps]]:
    """Compute the maps of several gradient methods at their layers from one forward pass.

    The result equals that of separate calls.

    Args:
        model: the network in evaluation mode.
        images: `(image, channel, height, width)`, as the network takes them.
        targets: the targets of all images; one backward pass each.
        methods: names in `GRADIENTS`, each with its layers; `None` is the default layer of the method.
        spatial: how the signal of a class is distributed over a score map.

    Returns:
        For each method and layer: `(image, target, height, width)`.

    Raises:
        ExcitationError: an unsupported method, or an error of a method.
    """
    other = [name for name, _ in methods if name not in GRADIENTS]
    if other:
        raise ExcitationError(f"method {other[0]!r} cannot share a forward pass; methods that can: {(*GRADIENTS,)}.")
    request = make_request(model, images, list(targets), Settings(spatial=spatial))
    last = request.last_layer() if any(name in AT_LAST and None in layers for name, layers in methods) else INPUT
    named = [
        [(last if name in AT_LAST else INPUT) if layer is None else layer for layer in layers]
        for name, layers in methods
    ]
    with torch.inference_mode(False), torch.no_grad():
        every = derivatives_at(request, list(dict.fromkeys(layer for layers in named for layer in layers)))
        found = [
            [GRADIENTS[name](*every[layer]) for layer in layers]
            for (name, _), layers in zip(methods, named, strict=True)
        ]
    for (name, _), of_method in zip(methods, found, strict=True):
        if not all(bool(torch.isfinite(maps).all()) for maps in of_method):
            raise ExcitationError(f"the map of method {name!r} is not finite: an activation or gradient is too large.")
    return found
