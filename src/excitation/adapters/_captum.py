"""A method as one of Captum's attribution objects."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float

from .._checks import check_choice, check_model, check_names
from .._errors import ExcitationError, TargetError
from ..core import Layer, OutputChoice, SpatialWeighting, Target, pick_scores
from ..methods import STEPS, find_method, post_process
from ..models._loaded import LoadedModel

Function = TypeVar("Function", bound=Callable[..., Any])
Images = Float[torch.Tensor, "image channels *pixels"]


def _unwrappable(attribute: Function) -> Function:
    """Give a function the `__wrapped__` by which Captum's NoiseTunnel calls the attributions it averages."""

    @functools.wraps(attribute)
    def called(*args: Any, **kwargs: Any) -> Any:
        return attribute(*args, **kwargs)

    return cast(Function, called)


class MethodAttribution:
    """One method, with the `attribute` of Captum's attribution objects.

    `captum.metrics`, `captum.attr.visualization` and `captum.attr.NoiseTunnel` take it as one of their own.

    Args:
        model: the network in evaluation mode, untouched.
        method: a name out of `list_methods()`.
        layer: where the method takes its maps; its own choice if not given.
        steps: post-processing by name (`methods.post_process`). By default coarse maps are enlarged to the images
            alone; `find_method(method).steps` are the paper's.
        spatial: how a class's signal is spread over a score map.
        class_names: for targets by name.
        output: which part of the network's output holds the class scores.
        constants: names of constant tensors the network keeps outside parameters and buffers.

    Attributes:
        forward_func: from images to class scores, as Captum's metrics take it.

    Raises:
        ExcitationError: there is no such method.
    """

    def __init__(
        self,
        model: torch.nn.Module | LoadedModel,
        method: str,
        *,
        layer: Layer | None = None,
        steps: Sequence[str] = ("bicubic",),
        spatial: SpatialWeighting = "response",
        class_names: Sequence[str] | None = None,
        output: OutputChoice = None,
        constants: Sequence[str] = (),
    ) -> None:
        check_model(model.model if isinstance(model, LoadedModel) else model)
        for step in check_names("steps", steps):
            check_choice("a step", step, tuple(STEPS))
        self.method = find_method(method)
        self._model = model
        self._steps = tuple(steps)
        self._settings: dict[str, Any] = {
            "layer": layer, "spatial": spatial, "class_names": class_names, "output": output, "constants": constants,
        }  # fmt: skip

    def forward_func(self, images: Images) -> Float[torch.Tensor, "image classes *space"]:
        """The network's class scores."""
        output = self._settings["output"]
        if not isinstance(self._model, LoadedModel):
            return pick_scores(self._model(images), len(images), output)
        return pick_scores(self._model.model(images), len(images), self._model.output if output is None else output)

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether attributions are parts of the score rather than slopes, as Captum tells them apart."""
        return self.method.family in {"relevance", "excitation"} or self.method.name in {
            "input-x-gradient", "integrated-gradients",
        }  # fmt: skip

    def has_convergence_delta(self) -> bool:
        """Whether `attribute` can return a difference to the score besides; it cannot."""
        return False

    @_unwrappable
    def attribute(
        self,
        inputs: Images | tuple[Images, ...],
        target: int | str | Sequence[int | str | tuple[int, ...]] | tuple[int, ...] | torch.Tensor | None = None,
        additional_forward_args: object = None,
        *,
        spread: bool = True,
        **options: Any,
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Attributions of each image for its one target.

        Args:
            inputs: images as the network takes them; in a tuple, attributions come in one too.
            target: as in Captum: one class for all images, one for each image (list or tensor of integers), or one
                output unit `(class, y, x)`, or a list of them, of a network that returns a score map. Names too.
            additional_forward_args: not supported; there because Captum's metrics may pass `None`.
            spread: shaped as the images, with equal parts of the map in all channels, so that the sum over channels,
                which Captum's figures show, is the map. Otherwise the map itself, with one channel.
            **options: the method's own.

        Returns:
            `(image, channels, height, width)` or, unless `spread`, `(image, 1, height, width)`; without gradients.

        Raises:
            ExcitationError: as the method; several inputs, additional arguments, or no target.
        """
        if additional_forward_args is not None:
            raise ExcitationError(
                "additional_forward_args are given, but a network takes images alone here; wrap it in a module that"
                " brings the others along."
            )
        images, several = (inputs[0], True) if isinstance(inputs, tuple) else (inputs, False)
        if several and len(inputs) != 1:
            raise ExcitationError(f"{len(inputs)} inputs are given; a network takes one batch of images here.")
        targets = [[one] for one in _per_image(target, len(images))]
        maps = self.method(self._model, images.detach(), targets, **self._settings, **options)
        if self._steps:
            maps = post_process(maps, self._steps, images.shape[2:])
        if spread:
            if maps.shape[2:] != images.shape[2:]:
                raise ExcitationError(
                    f"the maps are {tuple(maps.shape[2:])} and the images {tuple(images.shape[2:])}; put 'bicubic'"
                    " among the steps, or ask with spread=False."
                )
            maps = (maps / images.shape[1]).expand(images.shape).contiguous()
        return (maps,) if several else maps


def _per_image(target: object, images: int) -> list[Target]:
    """Captum's targets as one for each image."""
    if target is None:
        raise TargetError("no target is given; name the class to attribute, or one for each image.")
    if isinstance(target, torch.Tensor):
        if target.is_floating_point() or target.dim() > 1:
            raise TargetError(f"target is a tensor of shape {tuple(target.shape)}; integers, one per image, expected.")
        target = target.item() if target.numel() == 1 else target.tolist()
    if not isinstance(target, list):
        return [_one(target)] * images
    if len(target) != images:
        raise TargetError(f"{len(target)} targets are given for {images} images; give one, or one for each image.")
    return [_one(item) for item in target]


def _one(item: object) -> Target:
    if not isinstance(item, tuple):
        return item  # type: ignore[return-value]  # anything else is refused by the signals, with its sentence
    if len(item) == 1:
        return int(item[0])

    def unit(scores: torch.Tensor) -> torch.Tensor:
        if len(item) != scores.dim() - 1 or any(
            not 0 <= i < size for i, size in zip(item, scores.shape[1:], strict=True)
        ):
            raise TargetError(f"target {item} is no unit of scores of shape {tuple(scores.shape[1:])}.")
        signal = torch.zeros_like(scores[0])
        signal[item] = 1
        return signal

    return unit
