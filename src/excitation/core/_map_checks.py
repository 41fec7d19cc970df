"""Checks of maps before they are returned: non-finite values, empty maps, and loss of mass."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float

from .._errors import BalanceWarning, BypassWarning, EmptyMapWarning, MassLossWarning
from .._maps import EMPTY
from ._forward import check_finite

_PACKAGE = str(Path(__file__).parent.parent)

MOST = 0.5
"""Threshold for a mass-loss warning, as a fraction of the mass on top."""

TOO_MUCH = 1e-3
"""Tolerance for rounding: the fraction by which the mass at a layer can exceed the mass on top."""

Pairs = Bool[torch.Tensor, "image target"]


@dataclass(frozen=True)
class MapCheck:
    """Data needed to check the maps of one layer.

    Attributes:
        layer: name of the layer.
        arrived: mass at the layer, `(image, target, *space)`; neither clamped nor scaled.
        top: mass of the top-down signals, `(image, target)`.
        positive: whether a signal has no negative mass, `(image, target)`.
        contrast: what is subtracted: `""` for nothing, `"dual"`, `"rivals"` or `"target"`.
        cut: whether negative values are set to zero.
        is_cut: whether every path passes through the layer.
        conserves: whether no active rule creates mass.
        counts: number of targets of each image, if images have different numbers of targets.
        tokens: whether the layer has tokens that are no patches of the image. The map leaves out their mass.
    """

    layer: str
    arrived: Float[torch.Tensor, "image target *space"]
    top: Float[torch.Tensor, "image target"]
    positive: Pairs
    contrast: str
    cut: bool
    is_cut: bool
    conserves: bool
    counts: tuple[int, ...] | None
    tokens: bool = False

    def amount(self) -> Float[torch.Tensor, "image target"]:
        """Absolute mass of the returned maps."""
        arrived = self.arrived.clamp(min=0) if self.cut else self.arrived.abs()
        return arrived.double().flatten(2).sum(2)

    def share(self) -> Float[torch.Tensor, "image target"]:
        """Mass at the layer divided by the mass on top."""
        arrived = self.arrived.double().flatten(2).sum(2)
        return arrived / torch.where(self.top == 0, torch.nan, self.top)

    def asked(self) -> Pairs:
        """Which (image, target) pairs exist, if images have different numbers of targets."""
        asked = torch.ones_like(self.top, dtype=torch.bool)
        for row, count in zip(asked, self.counts or (), strict=False):
            row[count:] = False
        return asked

    def empty(self) -> Pairs:
        """Which maps have almost no mass."""
        return self.asked() & (self.amount() <= EMPTY * self.top.abs())

    def lossy(self) -> Pairs:
        """Which maps lost most of their mass, although every path passes through the layer."""
        if self.contrast or not self.is_cut or self.tokens:
            return torch.zeros_like(self.top, dtype=torch.bool)
        return self.positive & ~self.empty() & (self.share() < MOST)

    def unbalanced(self) -> Pairs:
        """Which maps hold more mass than the signal on top."""
        if self.contrast or not self.conserves:
            return torch.zeros_like(self.top, dtype=torch.bool)
        return self.positive & (self.share() > 1 + TOO_MUCH)


def check_maps(scores: torch.Tensor, checks: Sequence[MapCheck]) -> None:
    """Raise an error for non-finite values and issue warnings, with one synchronisation with the device.

    Raises:
        ExcitationError: scores or maps are not finite.

    Warns:
        EmptyMapWarning: a map has almost no mass.
        MassLossWarning: most of the mass was lost above the layer.
        BalanceWarning: a map holds more mass than the signal on top.
    """
    answers = [answer.any() for check in checks for answer in (check.empty(), check.lossy(), check.unbalanced())]
    answered = iter(check_finite(scores, {check.layer: check.arrived for check in checks}, answers))
    for check in checks:
        empty, lossy, unbalanced = next(answered), next(answered), next(answered)
        if empty:
            warn_caller(_of_empty(check), EmptyMapWarning)
        if lossy:
            least = _first(check.lossy())
            warn_caller(
                f"{1 - float(check.share()[least]):.1%} of the mass of {_pair(least)} is lost on the way to layer"
                f" {check.layer!r}{_more(check.lossy())}: it ended at neurons without active excitatory inputs."
                " excitation.balance says where; Policies(normaliser='spread') passes it on.",
                MassLossWarning,
            )
        if unbalanced:
            most = _first(check.unbalanced())
            warn_caller(
                f"the map of {_pair(most)} at layer {check.layer!r} holds {float(check.share()[most]):.4g} times"
                f" the mass at the top, which no rule should cause; excitation.balance says at which operation."
                f" Please report"
                " it.",
                BalanceWarning,
            )


def _of_empty(check: MapCheck) -> str:
    """Explain why the first empty map is empty, as far as this is known, and suggest a remedy."""
    place = _first(check.empty())
    text = f"the map of {_pair(place)} at layer {check.layer!r} is empty{_more(check.empty())}: "
    top = float(check.top[place])
    arrived = float(check.arrived[place].double().abs().sum())
    if top == 0:
        return (
            text + "its top-down signal has no mass: the class has no positive response at any position. Choose"
            " another target or signal."
        )
    if not check.contrast:
        if check.tokens:
            return text + (
                "all its mass is on tokens that are no patches of the image, such as the class token, or is lost."
                " Choose a lower layer; excitation.balance says more."
            )
        if not check.is_cut:
            return (
                text + "all its mass bypasses the layer or is lost. Choose another layer; excitation.balance says more."
            )
        return text + (
            "all its mass is lost above the layer, at neurons without active excitatory inputs. excitation.balance says"
            " where; Policies(normaliser='spread') passes it on."
        )
    if arrived > EMPTY * abs(top):
        return text + "the subtracted map is larger everywhere. signed=True shows it; or choose another contrast."
    if check.contrast == "dual":
        return text + (
            "unit and dual have the same map there, as in a network that classifies positions and pools"
            " afterwards, or both are lost above the layer. Explain excitation.pool_first(model), or use"
            " method='r-mwp'."
        )
    return (
        text + "the subtracted map is the same there, or both are lost above the layer. Choose another contrast"
        " or layer."
    )


def _first(pairs: Pairs) -> tuple[int, int]:
    image, target = pairs.nonzero()[0].tolist()
    return image, target


def _pair(place: tuple[int, int]) -> str:
    return f"target {place[1]} of image {place[0]}"


def _more(pairs: Pairs) -> str:
    count = int(pairs.sum())
    return "" if count == 1 else f" (and {count - 1} more of {pairs.numel()})"


def warn_of_bypass(name: str, join: str, share: torch.Tensor) -> None:
    """Warn that paths bypass a layer.

    Args:
        name: name of the layer.
        join: the operation at which the other branches join.
        share: mass at the layer divided by the mass on top, if known.
    """
    known = bool(torch.isfinite(share).all())
    shares = f" Its share of the mass is {share.min():.1%} to {share.max():.1%}." if known else ""
    warn_caller(
        f"layer {name!r} is in one branch of the network: other branches join it at {join!r}.{shares}", BypassWarning
    )


def warn_caller(text: str, kind: type[Warning]) -> None:
    """Issue a warning that points to the line of user code that called this package."""
    warnings.warn(text, kind, stacklevel=_callers_level())


def _callers_level() -> int:
    """The `stacklevel` of the first frame outside this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
