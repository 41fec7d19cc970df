"""Maps of all classes at once, with the cheapest of three strategies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float

from .._checks import check_choice, check_number
from .._errors import ExcitationError
from .._precision import own_precision
from ..core import (
    Settings,
    check_finite,
    default_place,
    find_bypass,
    find_place,
    layer_name,
    make_request,
    read_positions,
    single_images,
    warn_of_bypass,
    working,
)
from ..engine import ExcitationRules, Grid, Kind, Record, Value, last_layer, policies_or_default
from ..engine.operations import Affine
from ..methods import find_method
from ..models import LoadedModel
from ._class_maps import METHODS, ClassMaps
from ._passes import FeatureMaps, Passes, UnitMaps

Strategy = Literal["classes", "features", "positions"]
"""One pass for each class, for each pooled feature, or for each position of the map."""


def find_all_classes(
    model: torch.nn.Module | LoadedModel,
    images: Float[torch.Tensor, "image channels *pixels"],
    settings: Settings,
    *,
    dual: bool,
    strategy: Strategy | None,
    memory: int,
) -> ClassMaps:
    """Compute the maps of all classes. Any target, mixture or contrast is then a small matrix product.

    Excitation Backprop is linear in the top-down signal, so one matrix holds the maps of all classes. It is computed
    either by one downward sweep per class, or by one transposed sweep per position, which covers all classes. If the
    network ends in a linear layer on pooled features, only the matrix below that layer needs sweeps. Eq. 4 then applies
    the linear layer to this matrix; a contrast is formed in the same step.

    The arguments are those of `Explainer.all_classes`.

    Returns:
        The maps; float32, or float64 if the network computes in float64.

    Raises:
        ExcitationError: an error of `explain`; or the strategy does not apply, or `memory` is too small for one pass.

    Warns:
        BypassWarning: some paths bypass the layer.

    Source: Zhang et al., ECCV 2016, Eq. 4, 8 and 10; the transposed sweep is specific to this package.
    """
    if strategy is not None:
        check_choice("strategy", strategy, get_args(Strategy))
    check_number("memory", memory, "a whole number of bytes", whole=True)
    method = find_method(settings.method).name
    check_choice("method", method, METHODS)
    other = sorted(set(settings.options) - {"policies"})
    if other:
        raise ExcitationError(
            f"{other[0]} is not a setting of all_classes; give it with the targets: all_classes(...).maps(targets,"
            f" {other[0]}=...)."
        )
    request = make_request(model, images, 0, settings)
    images = single_images(request)
    names = request.layers
    if names is None and request.preferred is not None:
        names = (layer_name(request.model, request.preferred),)
    if names is not None and len(names) > 1:
        raise ExcitationError("all_classes makes maps at one layer; call it once for each layer.")
    record = request.record(names, check=False)
    place = default_place(record) if names is None else find_place(record, names[0])
    join = find_bypass(record, place)
    if join is not None:
        warn_of_bypass(place.name, join, torch.full((1, 1), torch.nan))
    value, scores = place.value, record.scores
    assert value is not None
    assert scores is not None
    scores = working(scores)
    rules = ExcitationRules(policies_or_default(settings.options.get("policies")))
    passes = Passes(record, value, rules, memory)
    weights = read_positions(scores, request.spatial)
    features = _pooled_features(record, value)
    if strategy == "features" and features is None:
        raise ExcitationError("the network does not end in a linear layer on pooled features; choose another strategy.")
    grid = value.grid()
    assert isinstance(grid, Grid)
    if not grid.plain and strategy == "positions":
        raise ExcitationError(
            f"layer {place.name!r} has several views of each image, or its axes are in another order than"
            " (image, channel, height, width), so the sweep from its positions upwards is not possible;"
            " choose another strategy."
        )
    strategy = strategy or _cheapest(scores, features, math.prod(grid.space) if grid.plain else None, dual=dual)
    if features is not None and strategy != "classes":
        below = passes.from_below(features)[0] if strategy == "positions" else passes.from_above(features)
        mixed = _mixed(record, features, scores, below, rules, dual=dual)
    elif strategy == "positions":
        mixed = passes.from_below(None, weights, dual=dual)
    else:
        mixed = passes.from_above(None, weights), passes.from_above(None, weights, dual=True) if dual else None
    shape = (len(images), scores.shape[1], *grid.views, *grid.space)
    classes = mixed[0].reshape(shape)
    check_finite(scores, {place.name: classes})
    return ClassMaps(
        layer=place.name,
        classes=classes,
        contrasts=None if mixed[1] is None else mixed[1].reshape(shape),
        scores=scores.flatten(2).mean(2) if scores.dim() > 2 else scores,
        strategy=strategy,
        method=method,
        class_names=_names(request.class_names),
        masses=weights.flatten(2).sum(2) if scores.dim() > 2 else None,
    )


def _names(class_names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Copy the class names, because the caller may change its list later. `ClassNames` keep their groups."""
    return class_names if class_names is None or isinstance(class_names, tuple) else tuple(class_names)


def _cheapest(scores: torch.Tensor, features: Value | None, positions: int | None, *, dual: bool) -> Strategy:
    """The strategy with the fewest passes through the upper part of the network."""
    twice = 2 if dual else 1
    passes: dict[Strategy, int] = {
        "classes": twice * scores.shape[1],
    }
    if positions is not None:
        passes["positions"] = positions
    if features is not None:
        passes["features"] = features.shape[1]
    return min(passes, key=passes.__getitem__)


def _pooled_features(record: Record, layer: Value) -> Value | None:
    """The input of a linear layer that all signals pass through first, if it lies above the layer of the map."""
    assert record.top is not None
    value = record.top
    for entry in reversed(record.entries):
        if value.serial not in {output.serial for output in entry.outputs}:
            continue
        if len(entry.carriers) != 1 or value.serial == layer.serial:
            return None
        value = entry.carriers[0]
        if entry.operation.weighted:
            if not isinstance(entry.operation, Affine) or not entry.operation.apart:
                return None
            takers = sum(value.serial in {item.serial for item in other.carriers} for other in record.entries)
            whole = len(value.shape) == 2 and value.kind is Kind.TRACKED and takers == 1
            return value if whole and value.serial != layer.serial else None
    return None


def _mixed(
    record: Record, features: Value, scores: torch.Tensor, below: FeatureMaps, rules: ExcitationRules, *, dual: bool
) -> tuple[UnitMaps, UnitMaps | None]:
    """Compute the maps of the classes from those of the pooled features, with Eq. 4 at the linear layer."""

    def product(*, contrast: bool) -> UnitMaps:
        p = last_layer(record, features, rules, scores, contrast=contrast)
        # Pooled features are not negative, so maps of their lowered neurons are not needed.
        if p.shape[0] == 2:
            p, maps = torch.cat([p[0], p[1]], 2), below
        else:
            p, maps = p[0], below[:, : features.shape[1]]
        with own_precision(maps):
            return torch.bmm(p.transpose(0, 1), maps)

    return product(contrast=False), product(contrast=True) if dual else None
