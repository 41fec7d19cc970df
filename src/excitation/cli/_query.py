"""What is asked of every picture in one run of `excitation explain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Query:
    """Targets, layer and method, as typed.

    Attributes:
        targets: class indices or names, or `top1`, `top5` and the like.
        layer: where to take the maps; `None` for the default.
        method: its name.
        against: a class whose MWP is subtracted; `None` for none.
        signed: whether negative values of a contrast are kept.
    """

    targets: tuple[str, ...]
    layer: str | None
    method: str
    against: str | None
    signed: bool

    @property
    def classes(self) -> list[int | str]:
        """The targets as `explain` takes them."""
        return [class_or_index(text) for text in self.targets]

    @property
    def settings(self) -> dict[str, Any]:
        """Layer, method and its options as `explain` takes them."""
        settings: dict[str, Any] = {"layer": self.layer, "method": self.method}
        if self.against is not None:
            settings["against"] = class_or_index(self.against)
        return {**settings, "signed": True} if self.signed else settings

    def kind(self, class_names: Sequence[str] | None) -> str:
        """What the maps are called."""
        known = {"mwp": "MWP", "c-mwp": "c-MWP", "r-mwp": "r-MWP"}
        shown = known.get(self.method, self.method)
        return shown if self.against is None else f"{shown} against {_readable(self.against, class_names)}"


def class_or_index(text: str) -> int | str:
    """A target as typed: a whole number is a class index, anything else a class name."""
    return int(text) if text.strip().isdecimal() else text


def _readable(text: str, class_names: Sequence[str] | None) -> str:
    target = class_or_index(text)
    if isinstance(target, str):
        return target
    known = class_names is not None and target < len(class_names)
    return class_names[target].partition(",")[0] if known and class_names is not None else f"class {target}"
