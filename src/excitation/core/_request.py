"""Settings, which apply to any batch, and requests, which add the network, the images and the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_args

import torch
from jaxtyping import Float

from .._checks import check_choice, check_model, check_names, check_text
from .._errors import ExcitationError
from ..engine import Images, Inputs, Kind, Place, Record, Value, read_inputs
from ..models._loaded import LoadedModel
from ._forward import OutputChoice, forward, one_tensor
from ._layers import Layer, default_place, find_place, layer_name, whole_places
from ._map_checks import warn_of_bypass
from ._target_lists import priors, read_targets, target_scores, weights_over_classes
from ._targets import SpatialWeighting, Target

Maps = Float[torch.Tensor, "image target *space"]
"""`(image, target, height, width)`."""


@dataclass(frozen=True)
class Settings:
    """Everything that determines a map besides the network, the images and the targets.

    Attributes:
        layer: layer of the maps; a tuple for several; `None` for the default of the loaded model or of the method.
        method: a name from `list_methods()`.
        spatial: how the signal of a class is distributed over a score map, for networks that return one.
        class_names: names for targets given by name; those of the loaded model if not given.
        output: which part of the network output holds the class scores: key, index or function.
        constants: dotted names of constant tensors that are neither parameters nor buffers.
        options: options of the method, by name.

    Raises:
        ExcitationError: a value that is invalid for every network.
    """

    layer: Layer | Sequence[Layer] | None = None
    method: str = "mwp"
    spatial: SpatialWeighting = "response"
    class_names: Sequence[str] | None = None
    output: OutputChoice = None
    constants: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Validate each setting."""
        if isinstance(self.layer, (list, tuple)):
            if not self.layer:
                raise ExcitationError("an empty list of layers was given; name at least one, or leave `layer` out.")
            object.__setattr__(self, "layer", tuple(self.layer))
        check_text("method", self.method, "the name of a method")
        check_choice("spatial", self.spatial, get_args(SpatialWeighting))
        object.__setattr__(self, "constants", check_names("constants", self.constants))

    @property
    def layers(self) -> tuple[Layer, ...] | None:
        """The layers as a tuple; `None` if the method chooses."""
        if self.layer is None or isinstance(self.layer, tuple):
            return self.layer
        assert not isinstance(self.layer, Sequence) or isinstance(self.layer, str)
        return (self.layer,)


@dataclass
class Seen:
    """Intermediate results that a method stores, so that they need no second forward pass.

    Attributes:
        scores: the class scores of all images, `(image, classes, *space)`.
        layer: the layer that the method chose.
    """

    scores: torch.Tensor | None = None
    layer: str | None = None


@dataclass(frozen=True)
class Request:
    """Settings combined with a network, images and targets: the input of every method.

    Attributes:
        model: the network, in evaluation mode.
        inputs: the network inputs.
        per_image: the targets of each image.
        layers: canonical names of the layers; `None` if the method chooses.
        preferred: the default layer of a loaded model, for methods that do not choose their own.
        spatial: how the signal of a class is distributed over the positions of a score map.
        class_names: names for targets given by name.
        output: which part of the network output holds the class scores.
        constants: names of constant tensors that are neither parameters nor buffers.
        seen: intermediate results that the method stores.
    """

    model: torch.nn.Module
    inputs: Inputs
    per_image: list[list[Target]]
    layers: tuple[str, ...] | None
    preferred: Layer | None
    spatial: SpatialWeighting
    class_names: Sequence[str] | None
    output: OutputChoice
    constants: tuple[str, ...]
    seen: Seen = field(default_factory=Seen, compare=False)

    @property
    def images(self) -> torch.Tensor:
        """`(image, channel, *space)`; for several inputs, the first floating-point one."""
        return self.inputs.images

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of targets of each image."""
        return tuple(map(len, self.per_image))

    @property
    def ragged(self) -> tuple[int, ...] | None:
        """The number of targets of each image if the numbers differ, otherwise `None`."""
        counts = self.counts
        return counts if len(set(counts)) > 1 else None

    @property
    def layer(self) -> str | None:
        """The only layer; `None` if the method chooses."""
        if self.layers is None:
            return None
        (name,) = self.layers
        return name

    def at(self, layer: str) -> Request:
        """Return the same request for one layer."""
        return replace(self, layers=(layer,))

    def priors(
        self, scores: Float[torch.Tensor, "image classes *space"]
    ) -> Float[torch.Tensor, "target image classes *space"]:
        """The top-down signal of each target; zero if an image has fewer targets than others."""
        return priors(self.per_image, scores, self.class_names, self.spatial)

    def class_weights(
        self, scores: Float[torch.Tensor, "image classes *space"]
    ) -> Float[torch.Tensor, "target image classes"]:
        """The weight of each class in each target, independent of the response of the class."""
        return weights_over_classes(self.per_image, scores, self.class_names)

    def target_scores(self) -> Float[torch.Tensor, "image target"]:
        """The score of each target."""
        return target_scores(self.per_image, working(self.scores()), self.class_names)

    def scores(self) -> Float[torch.Tensor, "image classes *space"]:
        """The class scores of all images. Runs a forward pass if the method did not store them."""
        if self.seen.scores is None:
            with torch.no_grad():
                self.record((), rules=False)
        assert self.seen.scores is not None
        return self.seen.scores

    def record(self, roots: Sequence[str] | None, *, check: bool = True, rules: bool = True) -> Record:
        """Record one forward pass of all images."""
        record = forward(self.model, self.inputs, roots, self.output, self.constants, check=check, rules=rules)
        self.seen.scores = record.scores
        return record

    def engine_layer(self) -> str:
        """The requested layer, else the loaded model's, else the engine's default, determined on one image."""
        if self.layer is not None:
            return self.layer
        if self.preferred is not None:
            self.seen.layer = layer_name(self.model, self.preferred)
        else:
            if self.first.top is not None and self.first.top.problem is not None:
                raise self.first.top.problem
            self.seen.layer = default_place(self.first).name
        return self.seen.layer

    def last_layer(self) -> str:
        """The requested layer, else the last spatial layer that every path passes through, determined on one image."""
        if self.layer is not None:
            return self.layer
        self.seen.layer = last_place(self.first).name
        return self.seen.layer

    @cached_property
    def first(self) -> Record:
        """Record one full forward pass of the first image.

        Operations do not need rules. `require_all_rules` checks for rules where they are needed.
        """
        return forward(self.model, self.images[:1], None, self.output, self.constants, rules=False)


def make_request(
    model: torch.nn.Module | LoadedModel, images: Images, targets: Any, settings: Settings | None = None
) -> Request:
    """Combine settings, a network, images and targets into one request.

    Args:
        model: the network in evaluation mode, or a loaded model.
        images: a batch in the format that the network takes.
        targets: targets as `read_targets` takes them.
        settings: the settings; default values if not given.

    Raises:
        ExcitationError: an argument is invalid, as far as this can be detected before the network runs.
    """
    settings = settings or Settings()
    class_names, output, preferred = settings.class_names, settings.output, None
    if isinstance(model, LoadedModel):
        class_names = model.class_names if class_names is None else class_names
        output = model.output if output is None else output
        preferred = model.default_layer
        model = model.model
    check_model(model)
    inputs = read_inputs(images)
    layers = settings.layers
    names = None
    if layers is not None:
        names = tuple(name for item in layers for name in inputs.layers(layer_name(model, item)))
    return Request(
        model=model,
        inputs=inputs,
        per_image=read_targets(targets, len(inputs.images)),
        layers=names,
        preferred=preferred,
        spatial=settings.spatial,
        class_names=class_names,
        output=output,
        constants=tuple(settings.constants),
    )


def working(x: torch.Tensor) -> torch.Tensor:
    """Convert to the precision of the sweeps: float64 stays float64, all other types become float32."""
    return x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)


def last_place(record: Record) -> Place:
    """The last layer with several positions that every path passes through, below a weighted operation.

    Raises:
        LayerError: no layer of the network has spatial dimensions.
    """
    # Prefer the name of a module to that of the operation inside it, which finishes first.
    candidates = [place for place, _ in whole_places(record)]
    return candidates[-1] if candidates else default_place(record)


def only_at_input(request: Request, method: str) -> None:
    """Raise an error if a layer other than the input is requested.

    Raises:
        ExcitationError: a layer other than the input is requested.
    """
    if request.layer not in {None, "input"}:
        raise ExcitationError(
            f"{method} is defined at the image, but layer {request.layer!r} was given; leave `layer` out."
        )


def swept_layer(record: Record, name: str) -> Value:
    """Find the value of a layer at which a sweep ends.

    Raises:
        LayerError: the layer did not run or has no spatial dimensions.

    Warns:
        BypassWarning: some paths bypass the layer.
    """
    place = find_place(record, name)
    assert place.value is not None
    join = find_bypass(record, place)
    if join is not None:
        warn_of_bypass(name, join, torch.tensor(torch.nan))
    return place.value


def find_bypass(record: Record, place: Place) -> str | None:
    """The address of an operation at which mass can leave towards a path that bypasses the layer, or `None`."""
    assert record.top is not None
    assert place.value is not None
    inside = record.descendants([place.value])
    mixed = []
    for entry in record.entries:
        if len(entry.carriers) > 1:
            branches = {value.serial in inside for value in entry.carriers if value.kind is not Kind.CONSTANT}
            if len(branches) == 2:
                mixed.append(entry)
    leads = record.ancestors(record.top) if mixed else set()
    return next((entry.address for entry in mixed if any(value.serial in leads for value in entry.outputs)), None)


def single_images(request: Request) -> torch.Tensor:
    """Return the images of a network with one input.

    Raises:
        ExcitationError: the network has several inputs.
    """
    if len(request.inputs.tensors) > 1:
        return one_tensor(tuple(request.inputs.tensors.values()))
    return request.images
