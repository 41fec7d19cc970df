"""What is asked of a network: settings, which hold for any images, and requests, which name images and targets."""

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
    """All that a map depends on besides the network, the images and the targets.

    Attributes:
        layer: where to take the maps; a tuple of several; `None` for the default of the loaded model or the method.
        method: a name out of `list_methods()`.
        spatial: how a class's signal is spread over a score map, for networks that return one.
        class_names: for targets by name; the loaded model's if not given.
        output: which part of the network's output holds the class scores: key, index or function.
        constants: dotted names of constant tensors the network keeps outside parameters and buffers.
        options: the method's own, by name.

    Raises:
        ExcitationError: a value that makes no sense for any network.
    """

    layer: Layer | Sequence[Layer] | None = None
    method: str = "mwp"
    spatial: SpatialWeighting = "response"
    class_names: Sequence[str] | None = None
    output: OutputChoice = None
    constants: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check each setting."""
        if isinstance(self.layer, (list, tuple)):
            if not self.layer:
                raise ExcitationError("an empty list of layers was given; name at least one, or leave `layer` out.")
            object.__setattr__(self, "layer", tuple(self.layer))
        check_text("method", self.method, "the name of a method")
        check_choice("spatial", self.spatial, get_args(SpatialWeighting))
        object.__setattr__(self, "constants", check_names("constants", self.constants))

    @property
    def layers(self) -> tuple[Layer, ...] | None:
        """The layers as a tuple; `None` where the choice is left to the method."""
        if self.layer is None or isinstance(self.layer, tuple):
            return self.layer
        assert not isinstance(self.layer, Sequence) or isinstance(self.layer, str)
        return (self.layer,)


@dataclass
class Seen:
    """What a method notes on its way, which would cost another forward pass afterwards.

    Attributes:
        scores: the class scores of all images.
        layer: the layer that the method chose itself.
    """

    scores: torch.Tensor | None = None
    layer: str | None = None


@dataclass(frozen=True)
class Request:
    """Settings with a network, images and targets: what every method is given.

    Attributes:
        model: the network, in evaluation mode.
        inputs: what the network takes.
        per_image: targets of each image.
        layers: canonical names of the layers, or `None` for the method's own choice.
        preferred: the layer of a loaded model, for methods without a choice of their own.
        spatial: how a class spreads over the positions of a score map.
        class_names: for targets by name.
        output: which part of the network's output holds the class scores.
        constants: names of tensors the network keeps outside its parameters and buffers.
        seen: what the method notes on its way.
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
        """`(image, channel, *space)`; of several inputs the first with floating-point numbers."""
        return self.inputs.images

    @property
    def counts(self) -> tuple[int, ...]:
        """How many targets each image has."""
        return tuple(map(len, self.per_image))

    @property
    def ragged(self) -> tuple[int, ...] | None:
        """The counts, where images have different numbers of targets."""
        counts = self.counts
        return counts if len(set(counts)) > 1 else None

    @property
    def layer(self) -> str | None:
        """The one layer, or `None` for the method's own choice."""
        if self.layers is None:
            return None
        (name,) = self.layers
        return name

    def at(self, layer: str) -> Request:
        """The same request at one layer."""
        return replace(self, layers=(layer,))

    def priors(
        self, scores: Float[torch.Tensor, "image classes *space"]
    ) -> Float[torch.Tensor, "target image classes *space"]:
        """The top-down signal of each target; zeros where an image has fewer targets than another."""
        return priors(self.per_image, scores, self.class_names, self.spatial)

    def class_weights(
        self, scores: Float[torch.Tensor, "image classes *space"]
    ) -> Float[torch.Tensor, "target image classes"]:
        """The weight of each class in each target, whatever the class's response."""
        return weights_over_classes(self.per_image, scores, self.class_names)

    def target_scores(self) -> Float[torch.Tensor, "image target"]:
        """The network's score of each target."""
        return target_scores(self.per_image, working(self.scores()), self.class_names)

    def scores(self) -> Float[torch.Tensor, "image classes *space"]:
        """The class scores of all images; by a forward pass of its own if the method made none."""
        if self.seen.scores is None:
            with torch.no_grad():
                self.record((), rules=False)
        assert self.seen.scores is not None
        return self.seen.scores

    def record(self, roots: Sequence[str] | None, *, check: bool = True, rules: bool = True) -> Record:
        """One recorded forward pass by the engine, of all images."""
        record = forward(self.model, self.inputs, roots, self.output, self.constants, check=check, rules=rules)
        self.seen.scores = record.scores
        return record

    def engine_layer(self) -> str:
        """The requested layer, else the loaded model's, else the engine's default (found with one image)."""
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
        """The requested layer, else the last with space that all evidence passes through (found with one image)."""
        if self.layer is not None:
            return self.layer
        self.seen.layer = last_place(self.first).name
        return self.seen.layer

    @cached_property
    def first(self) -> Record:
        """One recorded forward pass of the first image alone, of all that lies between image and scores.

        Operations need no rules for it: who needs them asks `require_all_rules`.
        """
        return forward(self.model, self.images[:1], None, self.output, self.constants, rules=False)


def make_request(
    model: torch.nn.Module | LoadedModel, images: Images, targets: Any, settings: Settings | None = None
) -> Request:
    """Settings, a network, images and targets as one request.

    Args:
        model: the network in evaluation mode, or one with what is known about it.
        images: as the network takes them.
        targets: as `read_targets` takes them.
        settings: the defaults if not given.

    Raises:
        ExcitationError: one of its kinds, for what can be seen to be wrong before the network runs.
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
    """In the precision of the sweeps: double stays double, everything else is single."""
    return x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)


def last_place(record: Record) -> Place:
    """The last layer with more than one position that all evidence passes through, below some weighted operation.

    Raises:
        LayerError: nothing in the network has space.
    """
    # A module's name reads better than that of the operation inside it, which finishes first.
    found = [place for place, _ in whole_places(record)]
    return found[-1] if found else default_place(record)


def only_at_input(request: Request, method: str) -> None:
    """Refuse inner layers.

    Raises:
        ExcitationError: another layer than the input was asked for.
    """
    if request.layer not in {None, "input"}:
        raise ExcitationError(
            f"{method} is defined at the image, but layer {request.layer!r} was asked for; leave `layer` out."
        )


def swept_layer(record: Record, name: str) -> Value:
    """The value of a layer a signal is swept to.

    Raises:
        LayerError: it did not run or has no space.

    Warns:
        BypassWarning: the layer is only one arm of the network.
    """
    place = find_place(record, name)
    assert place.value is not None
    join = find_bypass(record, place)
    if join is not None:
        warn_of_bypass(name, join, torch.tensor(torch.nan))
    return place.value


def find_bypass(record: Record, place: Place) -> str | None:
    """The address of an operation where mass can turn off to pass the layer by, if there is one."""
    assert record.top is not None
    assert place.value is not None
    inside = record.descendants([place.value])
    mixed = []
    for entry in record.entries:
        if len(entry.carriers) > 1:
            arms = {value.serial in inside for value in entry.carriers if value.kind is not Kind.CONSTANT}
            if len(arms) == 2:
                mixed.append(entry)
    leads = record.ancestors(record.top) if mixed else set()
    return next((entry.address for entry in mixed if any(value.serial in leads for value in entry.outputs)), None)


def single_images(request: Request) -> torch.Tensor:
    """The images of a network with one input.

    Raises:
        ExcitationError: the network takes several.
    """
    if len(request.inputs.tensors) > 1:
        return one_tensor(tuple(request.inputs.tensors.values()))
    return request.images
