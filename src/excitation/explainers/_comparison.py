"""`compare`: several methods on one picture, in one figure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from .._checks import check_instance
from .._errors import ExcitationError, NotApplicableError, UnsupportedOperationError
from ..core import Drawable, Explanation, FigureOptions, Layer, Targets, blur
from ..core._figures import (
    box_or_none,
    check_count,
    check_maps_are_flat,
    drawable,
    empty_maps,
    masses_of,
    panel_score,
    pictures_of,
    title_of,
)
from ..methods import find_method, list_methods
from ..models import LoadedModel
from ._explainer import Explainer, Given

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..views import Compared

PAPER = ("gradient", "deconv", "lrp", "cam", "grad-cam", "layer-cam", "mwp", "c-mwp")
"""The methods that the paper compares, and two that came later."""


@dataclass(frozen=True, eq=False)
class Comparison(Drawable):
    """Explanations of one picture, one below the other: `show()`, `save("maps.png")`, and in notebooks.

    `compare` returns it. To set any results side by side, for example of two networks, give them by name:
    `Comparison({"before": first, "after": second}).show()`. All explain the same targets in the same picture.

    The maps of Grad, Deconv and LRP are blurred as in the paper (`find_method(name).steps`). Each map has its own
    colour scale, because the units of the methods differ; with `shared_scale=True`, the maps of each method share one.

    Attributes:
        explanations: the explanation of each method by the name in the figure, of one image and one layer.
        reasons: why other methods do not apply, by name.
        seconds: run time of each method, shown below its name.
        network: name of the network, for the title.

    Raises:
        ExcitationError: no explanation; several images or layers; or different targets or pictures.
    """

    explanations: Mapping[str, Explanation]
    reasons: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    network: str = ""

    def __post_init__(self) -> None:
        if not self.explanations:
            raise ExcitationError("there is no explanation to compare; give at least one.")
        first = next(iter(self.explanations.values()))
        for name, item in self.explanations.items():
            check_instance(f"explanation {name!r}", item, Explanation)
            check_maps_are_flat(item)
            if len(item.targets) != 1:
                raise ExcitationError(f"explanation {name!r} has {len(item.targets)} images; take one: .image(0).")
            if len(item.targets[0]) != len(first.targets[0]) or item.frames[0].size != first.frames[0].size:
                raise ExcitationError(
                    f"explanation {name!r} is of {', '.join(item.targets[0])} in a picture of size"
                    f" {item.frames[0].size}, the first one of {', '.join(first.targets[0])} in {first.frames[0].size};"
                    " give results for the same targets and picture."
                )

    def __getitem__(self, name: str) -> Explanation:
        """The explanation of one method.

        Raises:
            ExcitationError: the method is not in this comparison, or it does not apply to the network.
        """
        if name in self.reasons:
            raise ExcitationError(f"{name}: {self.reasons[name]}")
        if name not in self.explanations:
            raise ExcitationError(f"there is no {name!r} in this comparison; it has {', '.join(self.explanations)}.")
        return self.explanations[name]

    def __repr__(self) -> str:
        """The methods and the targets."""
        first = next(iter(self.explanations.values()))
        missing = f"; not applicable: {', '.join(self.reasons)}" if self.reasons else ""
        return f"Comparison({', '.join(self.explanations)} of {', '.join(first.targets[0])}{missing})"

    def _count(self) -> int:
        return sum(len(item.targets[0]) for item in self.explanations.values())

    def _draw(self, pictures: Any, options: FigureOptions) -> Figure:
        from ..views import comparison

        first = next(iter(self.explanations.values()))
        check_count(self._count())
        (picture,) = pictures_of(first, pictures)
        if picture is None:
            raise ExcitationError("the picture is not known, because the image was a tensor; give pictures=.")
        names = first.targets[0]
        return comparison(
            picture,
            list(names),
            [self._row(name, options) for name in [*self.explanations, *self.reasons]],
            notes=[panel_score(first, 0, k) for k in range(len(names))],
            title=self.network if options.title is None else options.title,
            box=first.frames[0].box,
            peaks=options.peaks,
            shared_scale=bool(options.shared_scale),
            colour_map=options.colour_map,
            columns=options.columns,
            dpi=options.dpi,
        )

    def _row(self, name: str, options: FigureOptions) -> Compared:
        from ..views import Compared

        label, _, layer = name.partition("@")
        label = f"{title_of(label)}\n{layer}" if layer else title_of(label)
        if name in self.reasons:
            return Compared(label, reason=self.reasons[name])
        shown = processed(self.explanations[name])
        masses = [None if mass is None else f"mass {short(mass)}" for mass in masses_of(shown)[0]]
        boxes = None if options.boxes is None else shown.boxes(options.boxes)[0]
        return Compared(
            label,
            note=_time(self.seconds[name]) if name in self.seconds else "",
            maps=next(drawable(shown)),
            captions=[mass or "" for mass in masses] if any(masses) else (),
            empty=empty_maps(shown)[0],
            boxes=() if boxes is None else [box_or_none(box) for box in boxes],
        )


def compare(
    model: torch.nn.Module | LoadedModel,
    picture: Given,
    targets: Targets,
    *,
    methods: Sequence[str] = PAPER,
    layer: Layer | None = None,
    **settings: Any,
) -> Comparison:
    """Explain one picture by several methods: `compare(model, "photo.jpg", ["zebra"]).show()`.

    Args:
        model: the network in evaluation mode, or a loaded model.
        picture: one picture, or a batch of one image in the format that the network takes.
        targets: what to explain, as in `explain`.
        methods: names from `list_methods()`; `"NAME@LAYER"` sets the layer of a method.
        layer: layer for the methods of Excitation Backprop without their own layer. Other methods use their defaults.
        **settings: `spatial`, `class_names`, `output` and `constants`, as in `Explainer`, for all methods.

    Returns:
        The explanations by name. Methods that do not apply to the network are listed in `reasons`.

    Raises:
        ExcitationError: several pictures, a method that is unknown or given twice, an invalid target or layer; or none
            of the methods applies.

    Warns:
        The warnings of `Explainer.__call__`.
    """
    if isinstance(methods, str) or not methods:
        raise ExcitationError(f"methods are {methods!r}; give a list of names, such as ['mwp', 'grad-cam'].")
    explanations: dict[str, Explanation] = {}
    reasons: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for text in methods:
        name, _, own = text.partition("@")
        method = find_method(name)
        label = f"{method.name}@{own}" if own else method.name
        if label in explanations or label in reasons:
            raise ExcitationError(f"method {text!r} is given twice; give it once.")
        place = own or (layer if method.family == "excitation" else None)
        started = time.perf_counter()
        try:
            explanations[label] = Explainer(model, layer=place, method=name, **settings)(picture, targets)
        except (NotApplicableError, UnsupportedOperationError) as error:
            reasons[label] = str(error)
        seconds[label] = time.perf_counter() - started
    if not explanations:
        raise none_applies(reasons)
    network = model.label if isinstance(model, LoadedModel) else ""
    return Comparison(explanations, reasons, seconds, network)


def none_applies(reasons: Mapping[str, str]) -> ExcitationError:
    """The error if no method of a comparison applies."""
    name, reason = next(iter(reasons.items()))
    return NotApplicableError(f"none of the methods applies. {name}: {reason}")


def processed(explanation: Explanation) -> Explanation:
    """Blur the maps of methods whose maps are blurred in the paper. Constant maps do not change."""
    if not any(item.name == explanation.method for item in list_methods()):
        return explanation
    if "blur" not in find_method(explanation.method).steps:
        return explanation
    (layer,) = explanation.layers
    maps = torch.stack(explanation.per_image())
    constant = maps.amin((2, 3), keepdim=True) == maps.amax((2, 3), keepdim=True)
    blurred = torch.where(constant, maps, blur(maps))
    return replace(explanation, by_layer={layer: blurred}, origin=explanation.origin or explanation)


def short(number: float) -> str:
    """Format a number with three digits."""
    text = f"{number:,.0f}" if 1000 <= abs(number) < 1e6 else f"{number + 0.0:#.3g}".rstrip(".")
    return text.replace("-", "−")


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:#.2g} s"
