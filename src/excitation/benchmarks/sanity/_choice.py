"""Which methods are checked, where, with which options, and which are left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..._errors import ExcitationError
from ...methods import Method, find_method, list_methods

LEFT_OUT = {
    "lrp": "is lrp-epsilon-plus-flat under a name that takes options",
    "lrp-z-plus": "is MWP down to the pixels, but for the images' negative values",
    "c-gradient": "is zero everywhere",
    "c-cam": "is CAM up to a factor",
    "sampled-winners": "estimates MWP",
}
"""Methods that `all` leaves out: their maps are another method's, or nothing."""

REDUCED: dict[str, dict[str, Any]] = {
    "integrated-gradients": {"samples": 10},
    "smoothgrad": {"samples": 8},
    "rise": {"samples": 200},
    "feedback": {"iterations": 5},
    "score-cam": {},
}
"""Expensive methods, with the options that make them cheaper. They see fewer images and fewer stages."""

EVERY = 3
"""Expensive methods are asked at every so many of the stages where others are, and at the last."""


@dataclass(frozen=True)
class Checked:
    """A method as it is checked.

    Attributes:
        method: the method.
        layer: where its maps are taken; `None` for its or the model's own choice.
        options: its own, where they are not the defaults.
        expensive: whether it sees fewer images and stages.
    """

    method: Method
    layer: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    expensive: bool = False

    def configuration(self) -> dict[str, object]:
        """What results of it depend on, for JSON."""
        return {"layer": self.layer, "options": dict(self.options), "expensive": self.expensive}


def choose_methods(names: str = "all", layer: str | None = None) -> dict[str, Checked]:
    """Methods from a text, as `--methods` takes it.

    Args:
        names: with commas between, each `NAME` or `NAME@LAYER`; `all` for all but those in `LEFT_OUT`.
        layer: where Excitation Backprop's maps are taken that have no `@LAYER` of their own.

    Raises:
        ExcitationError: no such method, or none at all.
    """
    words = [word for word in map(str.strip, names.split(",")) if word]
    if words == ["all"]:
        words = [method.name for method in list_methods() if method.name not in LEFT_OUT]
    if not words:
        raise ExcitationError(f"methods are {names!r}; name at least one, or all.")
    chosen = {}
    for word in words:
        name, _, own = word.partition("@")
        method = find_method(name)
        place = own or (layer if method.family == "excitation" else None)
        chosen[method.name] = Checked(method, place, REDUCED.get(method.name, {}), method.name in REDUCED)
    return chosen
