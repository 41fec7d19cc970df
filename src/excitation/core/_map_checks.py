"""Checks of maps before they are returned: whether they are finite, empty, or most of their mass was lost."""

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
"""Part of the mass on top; if less arrives, the caller is told."""

TOO_MUCH = 1e-3
"""Part by which mass on a layer can exceed the mass on top for reasons of rounding."""

Pairs = Bool[torch.Tensor, "image target"]


@dataclass(frozen=True)
class MapCheck:
    """What decides whether the maps of one layer can be read as they are.

    Attributes:
        layer: its name.
        arrived: mass, not cut at zero, not scaled.
        top: mass the signals put in.
        positive: whether a signal has no mass below zero.
        contrast: what was subtracted: nothing, `"dual"`, `"rivals"` or `"target"`.
        cut: whether values below zero are taken out.
        is_cut: whether nothing can pass the layer by.
        conserves: whether no rule in force makes mass.
        counts: number of targets of each image, where they differ.
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

    def amount(self) -> Float[torch.Tensor, "image target"]:
        """Absolute mass of the maps as they are handed out."""
        arrived = self.arrived.clamp(min=0) if self.cut else self.arrived.abs()
        return arrived.double().flatten(2).sum(2)

    def share(self) -> Float[torch.Tensor, "image target"]:
        """Mass that arrived over the mass on top."""
        arrived = self.arrived.double().flatten(2).sum(2)
        return arrived / torch.where(self.top == 0, torch.nan, self.top)

    def asked(self) -> Pairs:
        """Which pairs were asked about, where images have different numbers of targets."""
        asked = torch.ones_like(self.top, dtype=torch.bool)
        for row, count in zip(asked, self.counts or (), strict=False):
            row[count:] = False
        return asked

    def empty(self) -> Pairs:
        """Which maps have next to no mass."""
        return self.asked() & (self.amount() <= EMPTY * self.top.abs())

    def lossy(self) -> Pairs:
        """Which maps most of the mass did not reach, although nothing can pass the layer by."""
        if self.contrast or not self.is_cut:
            return torch.zeros_like(self.top, dtype=torch.bool)
        return self.positive & ~self.empty() & (self.share() < MOST)

    def unbalanced(self) -> Pairs:
        """Which maps hold more mass than was put in."""
        if self.contrast or not self.conserves:
            return torch.zeros_like(self.top, dtype=torch.bool)
        return self.positive & (self.share() > 1 + TOO_MUCH)


def check_maps(scores: torch.Tensor, checks: Sequence[MapCheck]) -> None:
    """Refuse what is not finite, warn of what is not to be read as it is; all in one question to the device.

    Raises:
        ExcitationError: scores or maps are not finite.

    Warns:
        EmptyMapWarning: maps have no mass.
        MassLossWarning: most of the mass was lost on the way.
        BalanceWarning: maps hold more mass than was put in.
    """
    answers = [answer.any() for check in checks for answer in (check.empty(), check.lossy(), check.unbalanced())]
    found = iter(check_finite(scores, {check.layer: check.arrived for check in checks}, answers))
    for check in checks:
        empty, lossy, unbalanced = next(found), next(found), next(found)
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
                f"the map of {_pair(most)} at layer {check.layer!r} holds {float(check.share()[most]):.4g} times the"
                " mass on top, which no rule should make; excitation.balance says at which operation. Please report"
                " it.",
                BalanceWarning,
            )


def _of_empty(check: MapCheck) -> str:
    """Why the first empty map is empty, as far as that can be told, and what to do."""
    place = _first(check.empty())
    text = f"the map of {_pair(place)} at layer {check.layer!r} is empty{_more(check.empty())}: "
    top = float(check.top[place])
    arrived = float(check.arrived[place].double().abs().sum())
    if top == 0:
        return text + "its top-down signal has no mass, the class responds nowhere. Ask for another target or signal."
    if not check.contrast:
        if not check.is_cut:
            return (
                text + "all its mass bypasses the layer or is lost. Choose another layer; excitation.balance says more."
            )
        return text + (
            "all its mass is lost on the way, at neurons without active excitatory inputs. excitation.balance says"
            " where; Policies(normaliser='spread') passes it on."
        )
    if arrived > EMPTY * abs(top):
        return text + "what is subtracted is larger everywhere. signed=True shows it; or take another contrast."
    if check.contrast == "dual":
        return text + (
            "unit and dual have the same map there, as in a network that classifies positions and pools afterwards, or"
            " both are lost on the way. Explain excitation.pool_first(model), or take method='r-mwp'."
        )
    return (
        text + "what is subtracted has the same map there, or both are lost on the way. Take another contrast or layer."
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
    """Say that a layer is only one arm of the network.

    Args:
        name: of the layer.
        join: where other branches join.
        share: of the mass on top, as far as it is known.
    """
    known = bool(torch.isfinite(share).all())
    shares = f" Its share of the mass is {share.min():.1%} to {share.max():.1%}." if known else ""
    warn_caller(
        f"layer {name!r} is only one arm of the network: other branches join at {join!r}.{shares}", BypassWarning
    )


def warn_caller(text: str, kind: type[Warning]) -> None:
    """Warn at the line of the user's code that called this package."""
    warnings.warn(text, kind, stacklevel=_callers_level())


def _callers_level() -> int:
    """How many calls up, from who asks this, the code that called this package is."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
