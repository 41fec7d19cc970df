"""Top-down signals: the prior `P(A0)` over output units (Sec. 3.2), and its distribution over a score map."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, SupportsIndex, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float

from .._checks import check_names
from .._errors import TargetError
from ..models._class_names import ClassNames

NEAREST = 5
"""Maximum number of names listed in the error for an unknown class."""

Scores = Float[torch.Tensor, "image classes *space"]
Target: TypeAlias = (
    SupportsIndex | str | Mapping[int | str, float | int] | torch.Tensor | Callable[[torch.Tensor], torch.Tensor]
)
"""A target: a class index or name, weights over classes, an explicit signal, or a function of the scores."""

Against: TypeAlias = Target | Sequence[int | str] | None
"""The rival of a contrast: a target, or several classes with equal weights; `None` for no contrast."""

SpatialWeighting: TypeAlias = Literal["response", "softmax", "posterior"]
"""How the signal of a class is distributed over the positions of a score map."""


def read_positions(scores: Float[torch.Tensor, "image classes *space"], spatial: SpatialWeighting) -> Scores:
    """Distribute the signal of each class over the positions of a score map.

    Args:
        scores: class scores at each position, before pooling.
        spatial: `"response"`: `max(s, 0) / sum`, which equals Eq. 4 through the network's own ReLU and average pooling
            (a class without a positive score gets no signal). `"softmax"`: `exp(s)` normalised over positions, as in
            the paper's demo; large scores concentrate it on few cells. `"posterior"`: the posterior of the class among
            all classes at each position.

    Returns:
        Non-negative weights, shaped like the scores, that sum to one over positions for each image and class. One if
        there is only one position.
    """
    if spatial not in get_args(SpatialWeighting):
        raise TargetError(f"spatial is {spatial!r}; choose one of {', '.join(map(repr, get_args(SpatialWeighting)))}.")
    if scores[0, 0].numel() == 1:
        return torch.ones_like(scores)
    flat = scores.flatten(2)
    if spatial == "softmax":
        weights = flat.softmax(2)
    else:
        parts = flat.clamp(min=0) if spatial == "response" else flat.softmax(1)
        whole = parts.sum(2, keepdim=True)
        weights = torch.where(whole > 0, parts / torch.where(whole > 0, whole, 1), 0)
    return weights.reshape(scores.shape)


def rivals_signal(
    own: Bool[torch.Tensor, "target image classes"],
    scores: Float[torch.Tensor, "image classes *space"],
    spatial: SpatialWeighting = "response",
) -> Float[torch.Tensor, "target image classes *space"]:
    """The signal of each target minus the signal of its rivals: the start of r-MWP (beyond the paper).

    `P_K - P_notK` with `P_S(j, x) = [j in S] y_j r_j(x) / sum over S and positions`. `K` is the set of the target's
    classes, `y` the softmax of the scores averaged over positions, and `r_j` the distribution of class `j` over
    positions (`read_positions`). For pooled scores this is the derivative of `log y(K) / y(not K)`, the log-odds of the
    target. It does not change if the same number is added to all scores. Each side has mass one, unless none of its
    classes has a response.

    Args:
        own: whether a class belongs to the target, `(target, image, classes)`. A target without classes gets no signal.
        scores: the network output, `(image, classes, *space)`.
        spatial: how the signal of a class is distributed over the positions of a score map.

    Returns:
        Signed mass on each output unit, `(target, image, classes, *space)`.
    """
    places = read_positions(scores, spatial)
    means = scores.flatten(2).mean(2) if scores.dim() > 2 else scores
    weights = rivals_weights(own, means, places.flatten(2).sum(2) if scores.dim() > 2 else places)
    return weights.reshape(*weights.shape, *(1,) * (scores.dim() - 2)) * places


def rivals_weights(
    own: Bool[torch.Tensor, "target image classes"],
    scores: Float[torch.Tensor, "image classes"],
    masses: Float[torch.Tensor, "image classes"],
) -> Float[torch.Tensor, "target image classes"]:
    """The factor of each class's own signal in `rivals_signal`: positive for the target's classes, else negative.

    Args:
        own: whether a class belongs to the target, `(target, image, classes)`.
        scores: class scores, averaged over positions, `(image, classes)`.
        masses: mass of each class's own signal, `(image, classes)`: one, or zero for a class without a response.

    Returns:
        Weights over classes, `(target, image, classes)`.
    """
    both = _shares(own, scores, masses) - _shares(~own, scores, masses)
    return torch.where(own.any(2, keepdim=True), both, 0)


def _shares(side: torch.Tensor, scores: torch.Tensor, masses: torch.Tensor) -> torch.Tensor:
    """The probability of each class within one side, for signals of these masses. The total mass is one."""
    chosen = torch.where(side, scores, -math.inf)
    # Softmax within a side. Unlike a quotient of two probabilities, it cannot underflow.
    y = torch.where(chosen.isneginf(), 0, (chosen - chosen.amax(2, keepdim=True).clamp(min=-1e30)).exp())
    mass = (y * masses).sum(2, keepdim=True)
    return y / torch.where(mass > 0, mass, math.inf)


def top_down_signal(
    target: Target,
    scores: Float[torch.Tensor, "image classes *space"],
    *,
    class_names: Sequence[str] | None = None,
    spatial: SpatialWeighting = "response",
) -> Scores:
    """The top-down signal of one target for a batch.

    Args:
        target: class index; class name; weights by class; a tensor over classes `(classes,)`, over the units of one
            image, or over the units of the batch; or a function from the scores to such a tensor.
        scores: the network output, `(image, classes, *space)`.
        class_names: one name per class; required for targets given by name.
        spatial: how the signal of a class is distributed over the positions of a score map. Ignored if the target
            specifies the positions.

    Returns:
        Mass on each output unit, shaped like the scores.

    Raises:
        TargetError: an unknown class, missing class names, or a signal of the wrong shape.
    """
    target = plain(target)
    if callable(target) and not isinstance(target, torch.Tensor):
        target = target(scores)
        if not isinstance(target, torch.Tensor):
            raise TargetError(f"a target function returned {type(target).__name__}; it must return a tensor.")
    if isinstance(target, torch.Tensor):
        return _explicit(target, scores, spatial)
    weights = class_weights(target, scores.shape[1], class_names)
    # `non_blocking` avoids a wait of the host for all pending work of the device.
    return _explicit(weights.to(scores.device, scores.dtype, non_blocking=True), scores, spatial)


def plain(target: Any) -> Any:
    """Convert NumPy integers and integer tensors with one element to `int`. Other targets are returned unchanged."""
    if isinstance(target, torch.Tensor):
        kind = target.dtype
        whole = target.dim() == 0 and not (kind.is_floating_point or kind.is_complex or kind == torch.bool)
    else:
        whole = isinstance(target, Integral) and not isinstance(target, bool)
    return int(target) if whole else target


def read_against(against: Any, read: Callable[[Target], torch.Tensor]) -> torch.Tensor:
    """Apply `read` to the rival of a contrast. Several classes get equal weights.

    Raises:
        TargetError: an error of `read`, with a reference to `against`; or an empty list of classes.
    """
    if isinstance(against, (list, tuple, set, frozenset)):
        if not against:
            raise TargetError("against is an empty list of classes; name at least one.")
        against = [plain(item) for item in against]
        if not all(isinstance(item, (int, str)) for item in against):
            raise TargetError(
                f"against is {against!r}; a list of class indices or names is expected, the same for all images and"
                " targets."
            )
        against = dict.fromkeys(against, 1 / len(set(against)))
    try:
        return read(against)
    except TargetError as error:
        raise TargetError(f"against: {error}") from error


def class_weights(
    target: SupportsIndex | str | Mapping[int | str, float | int], classes: int, class_names: Sequence[str] | None
) -> Float[torch.Tensor, " classes"]:
    """Weights over classes, `(classes,)`, of a target given by index, name, or weights, in double precision.

    The weight of a class group (`ClassNames`) is divided equally among its classes.
    """
    weights = torch.zeros(classes, dtype=torch.float64)
    if isinstance(target, Mapping):
        if not target:
            raise TargetError("a target without any class was given; name at least one class with its weight.")
        for key, weight in target.items():
            places = class_indices(key, classes, class_names)
            weights[list(places)] += _weight(weight, target) / len(places)
    else:
        places = class_indices(target, classes, class_names)
        weights[list(places)] = 1 / len(places)
    if not bool(torch.isfinite(weights).all()):
        raise TargetError(f"target {target!r} has weights that are not finite numbers.")
    return weights


def _weight(weight: Any, target: object) -> float:
    try:
        return float(weight)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TargetError(f"target {target!r} has a weight {weight!r}; a number is expected.") from error


def class_indices(target: SupportsIndex | str, classes: int, class_names: Sequence[str] | None) -> tuple[int, ...]:
    """The output units of a class or class group. The name of a class takes precedence over the name of a group.

    Raises:
        TargetError: no class and no group has this name; the message lists the closest names.
    """
    target = plain(target)
    if isinstance(target, str) and isinstance(class_names, ClassNames) and len(class_names) == classes:
        group = class_names.groups.get(target.strip().casefold())
        if group is not None and not _named(target, class_names):
            return group
    return (class_index(target, classes, class_names),)


def class_index(target: SupportsIndex | str, classes: int, class_names: Sequence[str] | None) -> int:
    """The output unit of a class given by index or name.

    A name matches the full class name or one of its comma-separated synonyms; upper and lower case are equivalent.

    Raises:
        TargetError: no class matches (the message lists the closest names), or several classes match.
    """
    target = plain(target)
    if isinstance(target, bool) or not isinstance(target, (int, str)):
        raise TargetError(
            f"target {target!r} is a {type(target).__name__}; give a class index, a class name, weights by class,"
            " a tensor over the outputs, or a function of the scores."
        )
    if isinstance(target, int):
        if not 0 <= target < classes:
            raise TargetError(f"target {target} is not a class of this network: it has {classes}, 0 to {classes - 1}.")
        return target
    if class_names is None:
        raise TargetError(f"target {target!r} is a name, but no class_names were given; pass them, or an index.")
    groups = class_names.groups if isinstance(class_names, ClassNames) else {}
    class_names = check_names("class_names", class_names)
    if len(class_names) != classes:
        raise TargetError(f"{len(class_names)} class names were given for a network with {classes} classes.")
    matches = _named(target, class_names)
    if len(matches) == 1:
        return matches[0]
    if matches:
        places = ", ".join(map(str, matches))
        raise TargetError(f"{target!r} names several classes: {places}; give one of these indices.")
    raise TargetError(f"{target!r} is not a class of this network.{_nearest(target, class_names, groups)}")


def _named(target: str, class_names: Sequence[str]) -> list[int]:
    """Classes with exactly this name; if there are none, classes with this synonym."""
    folded = target.strip().casefold()
    whole = [i for i, name in enumerate(class_names) if name.strip().casefold() == folded]
    return whole or [i for i, name in enumerate(class_names) if folded in _synonyms(name)]


def _synonyms(name: str) -> list[str]:
    return [part.strip().casefold() for part in name.split(",")]


def _nearest(target: str, class_names: Sequence[str], groups: Mapping[str, tuple[int, ...]]) -> str:
    """Names that contain the word, followed by names and groups with a similar spelling."""
    folded = target.strip().casefold()
    every = dict.fromkeys((*(part for name in class_names for part in (name.casefold(), *_synonyms(name))), *groups))
    word = re.compile(rf"\b{re.escape(folded)}s?\b")
    holding = [name for name in every if folded and word.search(name)]
    near = list(dict.fromkeys([*holding, *difflib.get_close_matches(folded, every, n=3)]))
    more = f" and {len(near) - NEAREST} more" if len(near) > NEAREST else ""
    return f" Nearest: {', '.join(repr(name) for name in near[:NEAREST])}{more}." if near else ""


def _explicit(target: torch.Tensor, scores: torch.Tensor, spatial: SpatialWeighting) -> torch.Tensor:
    """Convert a tensor to a signal on the units of the scores."""
    if target.is_complex():
        raise TargetError(f"a top-down signal of {target.dtype} was given; real numbers are expected.")
    target = target.detach().to(scores)
    if target.shape == scores.shape or target.shape == scores.shape[1:]:
        whole = target.expand(scores.shape)
        if scores.dim() > 2 or target.shape == scores.shape:
            return whole
    if target.shape in (scores.shape[1:2], scores.shape[:2]):
        weights = target.reshape(-1, scores.shape[1], *(1,) * (scores.dim() - 2))
        return weights * read_positions(scores, spatial)
    fitting = dict.fromkeys(map(tuple, (scores.shape[1:], scores.shape, scores.shape[1:2])))
    remedy = f"give one of shape {' or '.join(map(str, fitting))}."
    raise TargetError(
        f"a top-down signal of shape {tuple(target.shape)} does not fit scores of shape {tuple(scores.shape)}; {remedy}"
    )
