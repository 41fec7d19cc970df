"""The settings of one run of `excitation explain`, which apply to every picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Query:
    """Targets, layer and method, as typed.

    Attributes:
        targets: class indices or names, or `topN` such as `top1` or `top5`.
        layer: layer of the maps; `None` for the default.
        method: name of the method.
        against: class with the MWP map to subtract; `None` for no contrast.
        signed: whether to keep negative values of a contrast.
    """

    targets: tuple[str, ...]
    layer: str | None
    method: str
    against: str | None
    signed: bool

    @property
    def classes(self) -> list[int | str]:
        """Return the targets in the form of `explain`."""
        return [class_or_index(text) for text in self.targets]

    @property
    def settings(self) -> dict[str, Any]:
        """Return layer, method and options as keyword arguments of `explain`."""
        settings: dict[str, Any] = {"layer": self.layer, "method": self.method}
        if self.against is not None:
            settings["against"] = class_or_index(self.against)
        return {**settings, "signed": True} if self.signed else settings

    def kind(self, class_names: Sequence[str] | None) -> str:
        """Return the name of the maps."""
        known = {"mwp": "MWP", "c-mwp": "c-MWP", "r-mwp": "r-MWP"}
        shown = known.get(self.method, self.method)
        return shown if self.against is None else f"{shown} against {_readable(self.against, class_names)}"


def class_or_index(text: str) -> int | str:
    """Parse a target: an integer is a class index, any other text is a class name."""
    return int(text) if text.strip().isdecimal() else text


def _readable(text: str, class_names: Sequence[str] | None) -> str:
    target = class_or_index(text)
    if isinstance(target, str):
        return target
    known = class_names is not None and target < len(class_names)
    return class_names[target].partition(",")[0] if known and class_names is not None else f"class {target}"
