"""What is asked of every picture in one run of `excitation explain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """Targets, place and contrast, as typed.

    Attributes:
        targets: class indices or names.
        layer: where to take the maps; `None` for the default.
        contrast: `"none"`, `"dual"`, `"rivals"`, or a class.
        signed: whether negative values are kept.
    """

    targets: tuple[str, ...]
    layer: str | None
    contrast: str
    signed: bool

    @property
    def classes(self) -> list[int | str]:
        """The targets as `explain` takes them."""
        return [class_or_index(text) for text in self.targets]

    @property
    def against(self) -> int | str | None:
        """The contrast as `explain` takes it."""
        return None if self.contrast == "none" else class_or_index(self.contrast)

    def names(self, class_names: Sequence[str] | None) -> list[str]:
        """The targets for people."""
        return [_readable(text, class_names) for text in self.targets]

    def kind(self, class_names: Sequence[str] | None) -> str:
        """What the maps are called."""
        known = {"none": "MWP", "dual": "c-MWP", "rivals": "r-MWP"}
        return known.get(self.contrast) or f"MWP against {_readable(self.contrast, class_names)}"


def class_or_index(text: str) -> int | str:
    """A target as typed: a whole number is a class index, anything else a class name."""
    return int(text) if text.strip().isdecimal() else text


def _readable(text: str, class_names: Sequence[str] | None) -> str:
    target = class_or_index(text)
    if isinstance(target, str):
        return target
    known = class_names is not None and target < len(class_names)
    return class_names[target].partition(",")[0] if known and class_names is not None else f"class {target}"
