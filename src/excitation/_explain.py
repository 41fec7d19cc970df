"""`explain`: what most people call. Images and targets in, attention maps out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float

from ._checks import SIDES, check_choice, check_size
from ._errors import BalanceError, BalanceWarning, ExcitationError, TargetError
from ._forward import OutputChoice, check_model, forward, one_tensor
from ._layers import Layer, default_place, find_place, layer_name
from ._map_checks import MapCheck, check_maps, warn_caller, warn_of_bypass
from .networks._loaded import LoadedModel
from .propagation import (
    Account,
    Images,
    Kind,
    Place,
    Policies,
    Record,
    attention_maps,
    policies_or_default,
    read_inputs,
    total,
)
from .signals import Reading, Target, read_contrast, rivals_signal, top_down_signal

Maps = Float[torch.Tensor, "image target ..."]
"""`(image, target, height, width)`."""

MapList = list[Float[torch.Tensor, "_ ..."]]
"""`(target, height, width)` for each image."""

Contrast = Literal["dual", "rivals"] | Target | Sequence[int | str] | None
"""`None` (MWP), `"dual"` (c-MWP), `"rivals"` (r-MWP), or what to set against the target: another target, or several
classes alike. A class that is called "dual" or "rivals" is meant by its index, or by weights: `{"rivals": 1}`."""


@dataclass(frozen=True)
class Explanation:
    """Attention maps with what is needed to read them.

    Attributes:
        maps: by layer: `(image, target, height, width)`; mass, so the sum over space is the probability that the
            winners' walk passes this layer (unless contrasted, resized or scaled).
        scores: the network's score of each target: weights times class scores (averaged over positions).
        top: mass of the top-down signal.
        share: by layer: its mass over the mass on top, before cutting and scaling. NaN for contrasts, whose mass on
            top is zero.
        strides: by layer: image pixels per map step.
        whole: by layer: whether nothing can pass it by.
        account: filled if asked for.
        targets: number of targets of each image, where the lists differ; else `None`.
    """

    maps: dict[str, Float[torch.Tensor, "image target ..."]]
    scores: Float[torch.Tensor, "image target"]
    top: Float[torch.Tensor, "image target"]
    share: dict[str, Float[torch.Tensor, "image target"]]
    strides: dict[str, tuple[float, ...] | None]
    whole: dict[str, bool]
    account: Account | None
    targets: tuple[int, ...] | None


def explain(
    model: torch.nn.Module | LoadedModel,
    images: Images,
    targets: Target | Sequence[Target] | Sequence[Sequence[Target]],
    *,
    layer: Layer | Sequence[Layer] | None = None,
    method: str | None = None,
    contrast: Contrast = None,
    signed: bool = False,
    signal: Reading = "response",
    policies: Policies | None = None,
    class_names: Sequence[str] | None = None,
    output: OutputChoice = None,
    constants: Sequence[str] = (),
    resize: bool | tuple[int, ...] = False,
    scale: Literal["max", "sum"] | None = None,
    **options: Any,
) -> Maps | MapList | dict[str, Maps] | dict[str, MapList]:
    """Attention maps: where the evidence for each target lies, by Excitation Backprop or another method.

    Args:
        model: the network in evaluation mode, untouched by the call.
        images: preprocessed, as the network takes them. A tuple or a dictionary of tensors for a network with several
            inputs, `model(*images)` or `model(**images)`; `layer="input"` then gives a map of each, by name.
        targets: what to look for (see `signals.Target`): one, a list for all images, or a list of lists, one per
            image. All share one forward pass.
        layer: where to take the maps; several give a dictionary by name from one sweep. None given: the default of
            the loaded model, else the last layer at stride 16 that all evidence passes through.
        method: a name out of `list_methods()`, to compare with; Excitation Backprop if not given. `contrast` and
            `signed` belong to the latter; as methods, c-MWP and others have names of their own.
        contrast: `None` for MWP (Eq. 2); `"dual"` for c-MWP (Sec. 3.3): unit minus dual unit, formed at the last
            weighted layer; `"rivals"` for r-MWP (beyond the paper, `signals.rivals_signal`): all other classes are
            subtracted, each as probable as the network finds it; or another target, or a list of classes, whose MWP
            is subtracted. For a class that is itself called "dual" or "rivals" give its index, or `{"rivals": 1}`.
        signed: keep negative values of a contrast; otherwise they are cut at zero, as Sec. 3.3 defines it.
        signal: how a class's signal is spread over a score map, for networks that return one.
        policies: choices the paper leaves open; `Policies()` if not given.
        class_names: for targets by name; the loaded model's if not given.
        output: which part of the network's output holds the class scores: key, index or function.
        constants: dotted names of constant tensors the network keeps outside parameters and buffers.
        resize: `True` for the size of the images, or a size: bicubic, values then no longer sum to mass, and can be
            negative beside a peak though the map is not (-12 % of its maximum was seen; `.clamp(min=0)` helps).
        scale: `"max"` or `"sum"` divides each map by its largest absolute value or its absolute sum.
        **options: the method's own, as `list_methods()` has them.

    Returns:
        `(image, target, height, width)`, float32 or float64 as the network computes (float32 for half precision); a
        list with one `(target, height, width)` per image if targets came one list per image; a dictionary of these by
        layer if several layers were asked for.

    Raises:
        ExcitationError: one of its kinds, with a sentence on what was wrong and what to do.

    Warns:
        BypassWarning: a layer is only one arm of the network.
        EmptyMapWarning: a map has next to no mass (at most 1e-6 of what its signal put in).
        MassLossWarning: more than half of the mass on top was lost on the way to a layer.

    Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, Sec. 3.
    """
    if method is not None:
        if contrast is not None or signed:
            raise ExcitationError(f"contrast and signed do not go with method {method!r}; name the contrasted method.")
        if policies is not None:
            options["policies"] = policies
        maps, counts = _by_method(
            method, model, images, targets, layer, options,
            signal=signal, class_names=class_names, output=output, constants=constants,
        )  # fmt: skip
        pixels = read_inputs(images).images
        maps = {name: _scaled(_resized(found, pixels, resize), scale) for name, found in maps.items()}
    elif options:
        raise TypeError(f"explain() has no argument {next(iter(options))!r}; options of a method need method=.")
    else:
        result = explain_full(
            model, images, targets, layer=layer, contrast=contrast, signed=signed, signal=signal, policies=policies,
            class_names=class_names, output=output, constants=constants, resize=resize, scale=scale,
        )  # fmt: skip
        maps, counts = result.maps, result.targets
    return shaped(maps, counts, several=_several(layer) or len(maps) > 1)


def shaped(
    maps: dict[str, Maps], counts: tuple[int, ...] | None, *, several: bool
) -> Maps | MapList | dict[str, Maps] | dict[str, MapList]:
    """Maps by layer as they were asked for: of one layer or several, for all images alike or a list for each."""
    if counts is None:
        return maps if several else next(iter(maps.values()))
    lists = {name: [item[:count] for item, count in zip(found, counts, strict=True)] for name, found in maps.items()}
    return lists if several else next(iter(lists.values()))


def _by_method(
    method: str,
    model: torch.nn.Module | LoadedModel,
    images: Images,
    targets: Target | Sequence[Target] | Sequence[Sequence[Target]],
    layer: Layer | Sequence[Layer] | None,
    options: dict[str, Any],
    **question: Any,
) -> tuple[dict[str, Maps], tuple[int, ...] | None]:
    """Maps by layer from another method, and the counts of targets if they differ between images."""
    from .methods import find_method  # methods are built on this module

    network = model.model if isinstance(model, LoadedModel) else model
    check_model(network)
    run = find_method(method)
    one = one_tensor(images)
    found: dict[str, Maps] = {}
    for item in [None] if layer is None else _as_list(layer):
        name = "" if item is None else layer_name(network, item)
        found[name] = run(model, one, targets, layer=item, **question, **options)
    return found, _per_image(targets, len(one))[1]


def explain_full(
    model: torch.nn.Module | LoadedModel,
    images: Images,
    targets: Target | Sequence[Target] | Sequence[Sequence[Target]],
    *,
    layer: Layer | Sequence[Layer] | None = None,
    contrast: Contrast = None,
    signed: bool = False,
    signal: Reading = "response",
    policies: Policies | None = None,
    class_names: Sequence[str] | None = None,
    output: OutputChoice = None,
    constants: Sequence[str] = (),
    resize: bool | tuple[int, ...] = False,
    scale: Literal["max", "sum"] | None = None,
    account: bool = False,
) -> Explanation:
    """`explain` with scores, masses and, if asked for, the account. Takes the same arguments.

    Where lists of targets differ in length between images, all arrays have room for the longest; what lies beyond an
    image's own `targets` count is zero.
    """
    found = sweep_down(
        model, images, targets, layer=layer, contrast=contrast, signed=signed, signal=signal, policies=policies,
        class_names=class_names, output=output, constants=constants, resize=resize, scale=scale, account=account,
    )  # fmt: skip
    result = answered(found)
    if result.account is not None:
        try:
            result.account.check()
        except BalanceError as error:
            warn_caller(str(error), BalanceWarning)
    return result


@dataclass(frozen=True)
class Found:
    """An explanation whose numbers are not validated yet, so that the host need not wait for a device.

    Attributes:
        explanation: it; its numbers may not be finite.
        scores: of all classes.
        checks: what to ask about each layer's maps.
        joins: by layer that is only one arm of the network: where others join.
    """

    explanation: Explanation
    scores: torch.Tensor
    checks: list[MapCheck]
    joins: dict[str, str]


def answered(found: Found) -> Explanation:
    """An explanation whose numbers are finite; of maps that are not to be read as they are the caller is warned."""
    check_maps(found.scores, found.checks)
    for name, join in found.joins.items():
        warn_of_bypass(name, join, found.explanation.share[name])
    return found.explanation


def sweep_down(
    model: torch.nn.Module | LoadedModel,
    images: Images,
    targets: Target | Sequence[Target] | Sequence[Sequence[Target]],
    *,
    layer: Layer | Sequence[Layer] | None = None,
    contrast: Contrast = None,
    signed: bool = False,
    signal: Reading = "response",
    policies: Policies | None = None,
    class_names: Sequence[str] | None = None,
    output: OutputChoice = None,
    constants: Sequence[str] = (),
    resize: bool | tuple[int, ...] = False,
    scale: Literal["max", "sum"] | None = None,
    account: bool = False,
) -> Found:
    """`explain_full`, up to the questions whether all went well. Takes the same arguments."""
    if isinstance(model, LoadedModel):
        class_names = model.class_names if class_names is None else class_names
        output = model.output if output is None else output
        layer = model.default_layer if layer is None else layer
        model = model.model
    check_model(model)
    inputs = read_inputs(images)
    names = None
    if layer is not None:
        names = [name for item in _as_list(layer) for name in inputs.layers(layer_name(model, item))]
    # A function of the scores is not asked about scores that are not finite.
    record = forward(model, inputs, names, output, constants, check=_has_function([targets, contrast]))
    places = [find_place(record, name) for name in names] if names is not None else [default_place(record)]
    scores = record.scores
    assert scores is not None
    working = torch.float64 if scores.dtype == torch.float64 else torch.float32
    scores = scores.to(working)
    per_image, counts = _per_image(targets, len(inputs.images))
    prior = _priors(per_image, scores, class_names, signal)
    if isinstance(contrast, str) and contrast == "rivals":
        start = rivals_signal(_class_weights(per_image, scores, class_names) > 0, scores, signal)
    else:
        against = _against(contrast, scores, class_names, signal)
        start = prior if against is None else prior - against
    policies = policies_or_default(policies)
    plain = contrast is None and policies.conserves
    keep = Account(nonnegative=plain) if account else None
    arrived = attention_maps(
        record,
        start[None],
        [place.value for place in places if place.value is not None],
        policies,
        contrast=isinstance(contrast, str) and contrast == "dual",
        account=keep,
    )
    assert record.top is not None
    top = total(prior[None], record.top.layout)
    positive = (prior >= 0).flatten(2).all(2).transpose(0, 1)
    maps, share, checks, joins = {}, {}, [], {}
    against_what = (
        ""
        if contrast is None
        else contrast
        if isinstance(contrast, str) and contrast in {"dual", "rivals"}
        else "target"
    )
    cut = contrast is not None and not signed
    for place, mass in zip(places, arrived, strict=True):
        name = place.name
        share[name] = top * torch.nan
        if contrast is None:
            share[name] = torch.where(top == 0, torch.nan, mass.double().flatten(2).sum(2) / top)
        join = None if place.kind == "input" else _bypass(record, place)
        if join is not None:
            joins[name] = join
        whole = join is None and len(record.inputs) == 1
        checks.append(MapCheck(name, mass, top, positive, against_what, cut, whole, policies.conserves, counts))
        attention = mass.clamp(min=0) if cut else mass
        pixels = inputs.tensors.get(name, inputs.images)
        maps[name] = _scaled(_resized(attention, pixels, resize, views=_views(place)), scale)
    explanation = Explanation(
        maps=maps,
        scores=_target_scores(per_image, scores, class_names),
        top=top,
        share=share,
        strides={place.name: place.value.stride for place in places if place.value is not None},
        whole={place.name: place.name not in joins and len(record.inputs) == 1 for place in places},
        account=keep,
        targets=counts,
    )
    return Found(explanation, scores, checks, joins)


def _has_function(item: object) -> bool:
    if isinstance(item, (list, tuple)):
        return any(_has_function(part) for part in item)
    return callable(item) and not isinstance(item, torch.Tensor)


def _several(layer: Layer | Sequence[Layer] | None) -> bool:
    return isinstance(layer, Sequence) and not isinstance(layer, str)


def _as_list(layer: Layer | Sequence[Layer]) -> list[Layer]:
    items = list(layer) if isinstance(layer, Sequence) and not isinstance(layer, str) else [layer]
    if not items:
        raise ExcitationError("an empty list of layers was given; name at least one, or leave `layer` out.")
    return items


def _per_image(targets: object, images: int) -> tuple[list[list[Target]], tuple[int, ...] | None]:
    """Targets for each image, and their counts if they were given for each image."""
    if isinstance(targets, (str, Integral, Mapping, torch.Tensor)) or callable(targets):
        targets = [targets]
    targets = list(targets) if isinstance(targets, range) else targets
    if not isinstance(targets, (list, tuple)) or not targets:
        raise TargetError(f"targets are {targets!r}; give a list of at least one class, name, weights or signal.")
    nested = [isinstance(item, (list, tuple)) for item in targets]
    if not any(nested):
        return [list(targets)] * images, None
    if not all(nested) or len(targets) != images:
        raise TargetError(
            f"targets are given one list per image, but there are {len(targets)} entries, {sum(nested)} of them lists,"
            f" for {images} images."
        )
    if not all(targets):
        empty = [i for i, item in enumerate(targets) if not item]
        raise TargetError(f"image {empty[0]} has an empty list of targets; leave the image out or name a target.")
    return [list(item) for item in targets], tuple(len(item) for item in targets)


def _priors(
    per_image: list[list[Target]], scores: torch.Tensor, class_names: Sequence[str] | None, reading: Reading
) -> torch.Tensor:
    """Signals `(target, *scores)`; images with fewer targets have zeros at the end."""
    if all(item is per_image[0] for item in per_image):
        each = [top_down_signal(t, scores, class_names=class_names, reading=reading) for t in per_image[0]]
        return torch.stack(each)
    whole = scores.new_zeros((max(map(len, per_image)), *scores.shape))
    for i, items in enumerate(per_image):
        for k, item in enumerate(items):
            one = top_down_signal(item, scores[i : i + 1], class_names=class_names, reading=reading)
            whole[k, i] = one[0]
    return whole


def _class_weights(
    per_image: list[list[Target]], scores: torch.Tensor, class_names: Sequence[str] | None
) -> Float[torch.Tensor, "target image classes"]:
    """The weight of each class in each target, whatever the class's response."""
    # Read as a softmax over positions, a class's weights sum to its own.
    weights = _priors(per_image, scores, class_names, "softmax")
    return weights.flatten(3).sum(3) if weights.dim() > 3 else weights


def _against(
    contrast: Contrast, scores: torch.Tensor, class_names: Sequence[str] | None, reading: Reading
) -> torch.Tensor | None:
    """The signal to subtract, if the contrast is with another target."""
    if contrast is None or (isinstance(contrast, str) and contrast == "dual"):
        return None
    return read_contrast(
        contrast, lambda target: top_down_signal(target, scores, class_names=class_names, reading=reading)
    )


def _target_scores(
    per_image: list[list[Target]], scores: torch.Tensor, class_names: Sequence[str] | None
) -> torch.Tensor:
    """Each target's score: its weights times the class scores, averaged over the positions of a score map."""
    flat = scores.flatten(2).mean(2) if scores.dim() > 2 else scores
    weights = _priors(per_image, flat, class_names, "response") if scores.dim() == 2 else None
    if weights is None:
        weights = _priors(per_image, scores, class_names, "response")
        weights = weights.flatten(3).sum(3)
    return (weights * flat).sum(2).transpose(0, 1)


def _bypass(record: Record, place: Place) -> str | None:
    """The address of an operation where mass can turn off to pass the layer by, if there is one."""
    assert record.top is not None
    assert place.value is not None
    inside = record.descendants([place.value])
    mixed = []
    for entry in record.entries:
        if len(entry.carriers) > 1:
            arms = {value.serial in inside for value in entry.carriers if value.kind is not Kind.CONSTANT}
            if len(arms) == 2:
                mixed.append(entry)
    leads = record.ancestors(record.top) if mixed else set()
    return next((entry.address for entry in mixed if any(value.serial in leads for value in entry.outputs)), None)


def _views(place: Place) -> int:
    """How many of a map's axes are views, between targets and space."""
    assert place.value is not None
    grid = place.value.grid()
    return 0 if isinstance(grid, str) else len(grid.views)


def _resized(
    maps: torch.Tensor, images: torch.Tensor, resize: bool | tuple[int, ...], *, views: int = 0
) -> torch.Tensor:
    """Maps at another size; bicubic in two dimensions."""
    if resize is False:
        return maps
    space = maps.dim() - 2 - views
    wanted = images.shape[-space:] if resize is True else resize
    size = check_size("resize", wanted, f"True, False or {SIDES[space]}", dimensions=space)
    mode = {1: "linear", 2: "bicubic", 3: "trilinear"}[space]
    lead = maps.shape[: maps.dim() - space]
    resized = F.interpolate(maps.flatten(0, -space - 1)[:, None], size=size, mode=mode, align_corners=False)
    return resized.reshape(*lead, *size)


def _scaled(maps: torch.Tensor, scale: Literal["max", "sum"] | None) -> torch.Tensor:
    """Maps divided by their largest absolute value or their absolute sum; empty maps stay empty."""
    if scale is None:
        return maps
    check_choice("scale", scale, ("max", "sum", None))
    flat = maps.flatten(2).abs()
    size = flat.amax(2) if scale == "max" else flat.sum(2)
    return maps / torch.where(size > 0, size, 1).reshape(*maps.shape[:2], *(1,) * (maps.dim() - 2))
