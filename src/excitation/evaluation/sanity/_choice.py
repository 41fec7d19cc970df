"""Selects the methods to check, with their layers and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float

from ..._errors import ExcitationError, NotApplicableError, UnsupportedOperationError
from ...core import Settings, make_request
from ...methods import Method, find_method, list_methods
from ...models._loaded import LoadedModel

LEFT_OUT = {
    "lrp": "is lrp-epsilon-plus-flat under a name that takes options",
    "c-gradient": "is zero everywhere",
    "c-cam": "is CAM up to a factor, cut at zero",
    "sampled-winners": "estimates MWP",
}
"""Methods that `all` does not include, with the reason: their maps equal those of another method, or are zero."""

REDUCED: dict[str, dict[str, Any]] = {
    "integrated-gradients": {"samples": 10},
    "smoothgrad": {"samples": 8},
    "rise": {"samples": 200},
    "feedback": {"iterations": 5},
    "score-cam": {},
}
"""Options of expensive methods that reduce their cost. Expensive methods use fewer images and fewer stages."""

EVERY = 3
"""Expensive methods use every third of the stages that other methods use, and the last stage."""


@dataclass(frozen=True)
class Checked:
    """The settings of a checked method.

    Attributes:
        method: the method.
        layer: layer of its maps; `None` for the choice of the method or model.
        options: options of the method that differ from the defaults.
        expensive: whether to use fewer images and stages.
    """

    method: Method
    layer: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    expensive: bool = False

    def configuration(self) -> dict[str, object]:
        """Return the settings that the results depend on, compatible with JSON."""
        return {"layer": self.layer, "options": dict(self.options), "expensive": self.expensive}


def choose_methods(names: str = "all", layer: str | None = None) -> dict[str, Checked]:
    """Parse the methods of the option `--methods`.

    Args:
        names: comma-separated list of `NAME` or `NAME@LAYER`; `all` for all methods except those in `LEFT_OUT`.
        layer: layer of the methods of Excitation Backprop without `@LAYER`.

    Raises:
        ExcitationError: a method is unknown, or the list is empty.
    """
    words = [word for word in map(str.strip, names.split(",")) if word]
    if words == ["all"]:
        words = [method.name for method in list_methods() if method.name not in LEFT_OUT]
    if not words:
        raise ExcitationError(f"methods are {names!r}; give at least one name, or 'all'.")
    chosen = {}
    for word in words:
        name, _, own = word.partition("@")
        method = find_method(name)
        requested = own or (layer if method.family == "excitation" else None)
        chosen[method.name] = Checked(method, requested, REDUCED.get(method.name, {}), method.name in REDUCED)
    return chosen


def applicable(
    chosen: Mapping[str, Checked], model: LoadedModel, image: Float[torch.Tensor, "1 channels height width"]
) -> tuple[dict[str, Checked], dict[str, str]]:
    """Return the methods that apply to a network, and the reason for each other method.

    Each method runs one forward pass.

    Args:
        chosen: methods by name (see `choose_methods`).
        model: the network.
        image: a network input, a batch of one.
    """
    kept: dict[str, Checked] = {}
    reasons: dict[str, str] = {}
    for name, item in chosen.items():
        request = make_request(model, image, [0], Settings(layer=item.layer))
        try:
            with torch.inference_mode(False), torch.no_grad():
                if item.method.applies is not None:
                    item.method.applies(request)
        except (NotApplicableError, UnsupportedOperationError) as error:
            reasons[name] = str(error)
        else:
            kept[name] = item
    return kept, reasons
