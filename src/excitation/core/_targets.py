"""Top-down signals: the prior `P(A0)` over output units (Sec. 3.2), and how it is read off a map of scores."""

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
"""So many names are told when a name is no class."""

Scores = Float[torch.Tensor, "image classes *space"]
Target: TypeAlias = (
    SupportsIndex | str | Mapping[int | str, float | int] | torch.Tensor | Callable[[torch.Tensor], torch.Tensor]
)
"""What to look for: a class by index or name, weights over classes, an explicit signal, or a function of the scores."""

Against: TypeAlias = Target | Sequence[int | str] | None
"""The rival of a contrast: a target, or several classes alike; `None` for no contrast."""

SpatialWeighting: TypeAlias = Literal["response", "softmax", "posterior"]
"""How a class's signal is spread over the positions of a score map."""


def read_positions(scores: Float[torch.Tensor, "image classes *space"], spatial: SpatialWeighting) -> Scores:
    """Where in a score map each class's signal starts: non-negative, and one in sum over positions.

    Args:
        scores: a network's class scores at each position, before they are pooled.
        spatial: `"response"`: `max(s, 0) / sum`, which is Eq. 4 through the network's own ReLU and average pooling
            (a class without positive score anywhere gets no signal); `"softmax"`: `exp(s)` over positions, as the
            paper's demo, which collapses onto few cells where scores are large; `"posterior"`: the class's posterior
            among all classes in each cell.

    Returns:
        Weights of the positions, for each image and class; one where there is only one position.
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
    """The signal of targets with their rivals' subtracted: where r-MWP starts (beyond the paper).

    `P_K - P_notK` with `P_S(j, x) = [j in S] y_j r_j(x) / sum over S and positions`: `K` are a target's classes, `y`
    is the softmax of the scores averaged over positions, `r_j` where the class's signal starts (`read_positions`). On
    pooled scores this is the derivative of `log y(K) / y(not K)`, the log-odds of the target. It does not change when
    all scores rise by the same amount, and each side has mass one unless none of its classes answers anywhere.

    Args:
        own: whether a class is one of the target's; a target without any gets no signal.
        scores: the network's output.
        spatial: how classes spread over a score map's positions.

    Returns:
        Signed mass on each output unit.
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
    """The factor each class's own signal has in `rivals_signal`: positive for a target's classes, negative for others.

    Args:
        own: whether a class is one of the target's.
        scores: class scores, averaged over positions.
        masses: of the classes' own signals: one, or zero where a class answers nowhere.

    Returns:
        Weights over classes.
    """
    both = _shares(own, scores, masses) - _shares(~own, scores, masses)
    return torch.where(own.any(2, keepdim=True), both, 0)


def _shares(side: torch.Tensor, scores: torch.Tensor, masses: torch.Tensor) -> torch.Tensor:
    """The probability of each class given that it is one of a side's, for signals of these masses: mass one in all."""
    chosen = torch.where(side, scores, -math.inf)
    # The softmax within a side, which cannot underflow as a quotient of two probabilities would.
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
        target: class index; class name; weights by class; a tensor over classes `(classes,)`, or over the units of
            one image or of all of them; or a function from the scores to such a tensor.
        scores: the network's output.
        class_names: one per class, needed for targets by name.
        spatial: how classes spread over a score map's positions; ignored where the signal says it all.

    Returns:
        Mass on each output unit, shaped like the scores.

    Raises:
        TargetError: no such class, no names given, or a signal of the wrong shape.
    """
    target = plain(target)
    if callable(target) and not isinstance(target, torch.Tensor):
        target = target(scores)
        if not isinstance(target, torch.Tensor):
            raise TargetError(f"a target function returned {type(target).__name__}; it must return a tensor.")
    if isinstance(target, torch.Tensor):
        return _explicit(target, scores, spatial)
    weights = class_weights(target, scores.shape[1], class_names)
    # Without `non_blocking` the host would wait until a device has done all it was given before.
    return _explicit(weights.to(scores.device, scores.dtype, non_blocking=True), scores, spatial)


def plain(target: Any) -> Any:
    """A class index as an `int`, if it is a whole number of NumPy's or a tensor of one; any other target as it is."""
    if isinstance(target, torch.Tensor):
        kind = target.dtype
        whole = target.dim() == 0 and not (kind.is_floating_point or kind.is_complex or kind == torch.bool)
    else:
        whole = isinstance(target, Integral) and not isinstance(target, bool)
    return int(target) if whole else target


def read_against(against: Any, read: Callable[[Target], torch.Tensor]) -> torch.Tensor:
    """What `read` makes of the rival of a contrast; several classes count alike.

    Raises:
        TargetError: as `read`, saying that it is about `against`; or there is no class in a list of them.
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
    """Weights over classes of a target given by index, name, or weights; double precision.

    The classes of a group (`ClassNames`) have equal shares of its weight.
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
        raise TargetError(f"target {target!r} has weights that are no finite numbers.")
    return weights


def _weight(weight: Any, target: object) -> float:
    try:
        return float(weight)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TargetError(f"target {target!r} has a weight {weight!r}; a number is expected.") from error


def class_indices(target: SupportsIndex | str, classes: int, class_names: Sequence[str] | None) -> tuple[int, ...]:
    """The output units of a class or a group of classes; a class's name comes before a group's.

    Raises:
        TargetError: with the nearest names, if there is neither.
    """
    target = plain(target)
    if isinstance(target, str) and isinstance(class_names, ClassNames) and len(class_names) == classes:
        group = class_names.groups.get(target.strip().casefold())
        if group is not None and not _named(target, class_names):
            return group
    return (class_index(target, classes, class_names),)


def class_index(target: SupportsIndex | str, classes: int, class_names: Sequence[str] | None) -> int:
    """The output unit of a class given by index or name.

    Names match whole or by one of their comma-separated synonyms, upper or lower case.

    Raises:
        TargetError: with the nearest names, if there is no such class, or with the classes, if there are several.
    """
    target = plain(target)
    if isinstance(target, bool) or not isinstance(target, (int, str)):
        raise TargetError(
            f"target {target!r} is a {type(target).__name__}; give a class index, a class name, weights by class,"
            " a tensor over the outputs, or a function of the scores."
        )
    if isinstance(target, int):
        if not 0 <= target < classes:
            raise TargetError(f"target {target} is no class of this network: it has {classes}, 0 to {classes - 1}.")
        return target
    if class_names is None:
        raise TargetError(f"target {target!r} is a name, but no class_names were given; pass them, or an index.")
    groups = class_names.groups if isinstance(class_names, ClassNames) else {}
    class_names = check_names("class_names", class_names)
    if len(class_names) != classes:
        raise TargetError(f"{len(class_names)} class names were given for a network with {classes} classes.")
    found = _named(target, class_names)
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(map(str, found))
        raise TargetError(f"{target!r} names several classes: {places}; give one of these indices.")
    raise TargetError(f"{target!r} is no class of this network.{_nearest(target, class_names, groups)}")


def _named(target: str, class_names: Sequence[str]) -> list[int]:
    """Classes of exactly this name, else those with this synonym."""
    wanted = target.strip().casefold()
    whole = [i for i, name in enumerate(class_names) if name.strip().casefold() == wanted]
    return whole or [i for i, name in enumerate(class_names) if wanted in _synonyms(name)]


def _synonyms(name: str) -> list[str]:
    return [part.strip().casefold() for part in name.split(",")]


def _nearest(target: str, class_names: Sequence[str], groups: Mapping[str, tuple[int, ...]]) -> str:
    """Names that hold the word, then names and groups spelled alike."""
    wanted = target.strip().casefold()
    every = dict.fromkeys((*(part for name in class_names for part in (name.casefold(), *_synonyms(name))), *groups))
    word = re.compile(rf"\b{re.escape(wanted)}s?\b")
    holding = [name for name in every if wanted and word.search(name)]
    near = list(dict.fromkeys([*holding, *difflib.get_close_matches(wanted, every, n=3)]))
    more = f" and {len(near) - NEAREST} more" if len(near) > NEAREST else ""
    return f" Nearest: {', '.join(repr(name) for name in near[:NEAREST])}{more}." if near else ""


def _explicit(target: torch.Tensor, scores: torch.Tensor, spatial: SpatialWeighting) -> torch.Tensor:
    """A given tensor as a signal on the scores' units."""
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
