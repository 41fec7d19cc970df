"""What every method is asked: a network, images, targets, a layer, and how to read targets off scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float

from .._checks import check_names
from .._errors import ExcitationError
from .._explain import _bypass, _class_weights, _per_image, _priors
from .._forward import OutputChoice, check_images, check_model, forward
from .._layers import Layer, default_place, find_place, layer_name, whole_places
from .._map_checks import warn_of_bypass
from ..networks._loaded import LoadedModel
from ..propagation import Place, Record, Value
from ..signals import Reading, Target

Maps = Float[torch.Tensor, "image target *space"]
"""`(image, target, height, width)`."""


@dataclass(frozen=True)
class Question:
    """The common arguments of all methods, checked.

    Attributes:
        model: the network, in evaluation mode.
        images: `(image, channel, *space)`, as the network takes them.
        per_image: targets of each image.
        counts: how many targets each image has.
        layer: canonical name of the layer, or `None` for the method's own choice.
        preferred: the layer a loaded model brings along, for methods without a choice of their own.
        signal: how a class spreads over the positions of a score map.
        class_names: for targets by name.
        output: which part of the network's output holds the class scores.
        constants: names of tensors the network keeps outside its parameters and buffers.
    """

    model: torch.nn.Module
    images: torch.Tensor
    per_image: list[list[Target]]
    counts: tuple[int, ...]
    layer: str | None
    preferred: Layer | None
    signal: Reading
    class_names: Sequence[str] | None
    output: OutputChoice
    constants: tuple[str, ...]

    def priors(
        self, scores: Float[torch.Tensor, "image classes *space"]
    ) -> Float[torch.Tensor, "target image classes *space"]:
        """The top-down signal of each target; zeros where an image has fewer targets than another."""
        return _priors(self.per_image, scores, self.class_names, self.signal)

    def class_weights(
        self, scores: Float[torch.Tensor, "image classes *space"]
    ) -> Float[torch.Tensor, "target image classes"]:
        """The weight of each class in each target, whatever the class's response."""
        return _class_weights(self.per_image, scores, self.class_names)

    def record(self, roots: Sequence[str] | None) -> Record:
        """One recorded forward pass by the engine."""
        return forward(self.model, self.images, roots, self.output, self.constants)

    def engine_layer(self) -> str:
        """The asked layer, else the loaded model's, else the engine's default (found with one image)."""
        if self.layer is not None:
            return self.layer
        if self.preferred is not None:
            return layer_name(self.model, self.preferred)
        if self.first.top is not None and self.first.top.problem is not None:
            raise self.first.top.problem
        return default_place(self.first).name

    def last_layer(self) -> str:
        """The asked layer, else the last one with space that all evidence passes through (found with one image)."""
        return self.layer if self.layer is not None else last_place(self.first).name

    @cached_property
    def first(self) -> Record:
        """One recorded forward pass of the first image alone, of all that lies between image and scores.

        Operations need no rules for it: who needs them asks `knows_all`.
        """
        return forward(self.model, self.images[:1], None, self.output, self.constants, rules=False)


def ask(
    model: torch.nn.Module | LoadedModel,
    images: torch.Tensor,
    targets: Target | Sequence[Target] | Sequence[Sequence[Target]],
    *,
    layer: Layer | None = None,
    signal: Reading = "response",
    class_names: Sequence[str] | None = None,
    output: OutputChoice = None,
    constants: Sequence[str] = (),
) -> Question:
    """Check the common arguments.

    Raises:
        ExcitationError: one of its kinds, for what can be seen to be wrong before the network runs.
    """
    preferred: Layer | None = None
    if isinstance(model, LoadedModel):
        class_names = model.class_names if class_names is None else class_names
        output = model.output if output is None else output
        preferred = model.default_layer
        model = model.model
    check_model(model)
    check_images(model, images)
    per_image, _ = _per_image(targets, len(images))
    name = None if layer is None else layer_name(model, layer)
    return Question(
        model=model,
        images=images,
        per_image=per_image,
        counts=tuple(map(len, per_image)),
        layer=name,
        preferred=preferred,
        signal=signal,
        class_names=class_names,
        output=output,
        constants=check_names("constants", constants),
    )


def last_place(record: Record) -> Place:
    """The last layer with more than one position that all evidence passes through, below some weighted operation.

    Raises:
        LayerError: nothing in the network has space.
    """
    # A module's name reads better than that of the operation inside it, which finishes first.
    found = [place for place, _ in whole_places(record)]
    return found[-1] if found else default_place(record)


def only_at_input(question: Question, method: str) -> None:
    """Refuse inner layers.

    Raises:
        ExcitationError: another layer than the input was asked for.
    """
    if question.layer not in {None, "input"}:
        raise ExcitationError(
            f"{method} is defined at the image, but layer {question.layer!r} was asked for; leave `layer` out."
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
    join = _bypass(record, place)
    if join is not None:
        warn_of_bypass(name, join, torch.tensor(torch.nan))
    return place.value
