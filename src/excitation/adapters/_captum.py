"""A method as a Captum attribution object."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float

from .._checks import check_choice, check_names
from .._errors import ExcitationError, TargetError
from ..core import Layer, OutputChoice, SpatialWeighting, Target, pick_scores
from ..explainers import Explainer
from ..methods import STEPS, find_method, post_process
from ..models._loaded import LoadedModel

Function = TypeVar("Function", bound=Callable[..., Any])
Images = Float[torch.Tensor, "image channels *pixels"]


def _unwrappable(attribute: Function) -> Function:
    """Add the `__wrapped__` attribute through which Captum's NoiseTunnel calls the attribution function."""

    @functools.wraps(attribute)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return attribute(*args, **kwargs)

    return cast(Function, wrapper)


class MethodAttribution:
    """One method with the `attribute` interface of Captum's attribution objects.

    `captum.metrics`, `captum.attr.visualization` and `captum.attr.NoiseTunnel` accept it like a Captum attribution.

    Args:
        model: the network in evaluation mode; no call changes it.
        method: a name from `list_methods()`.
        layer: layer of the maps; the default of the method if not given.
        steps: post-processing steps by name (`methods.post_process`). The default only resizes the maps to the images;
            `find_method(method).steps` gives the steps of the paper.
        spatial: how the signal of a class is distributed over a score map.
        class_names: names for targets given by name.
        output: which part of the network output holds the class scores.
        constants: names of constant tensors that are neither parameters nor buffers.

    Attributes:
        forward_func: function from images to class scores, as Captum's metrics take it.

    Raises:
        ExcitationError: an unknown method.
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
        for step in check_names("steps", steps):
            check_choice("a step", step, tuple(STEPS))
        self._steps = tuple(steps)
        # Captum passes the options of a method with each call, so that each call has an explainer of its own.
        self._make_explainer = functools.partial(
            Explainer, model, layer=layer, method=method, spatial=spatial, class_names=class_names, output=output,
            constants=constants,
        )  # fmt: skip
        explainer = self._make_explainer()
        self.method = find_method(explainer.settings.method)
        self._model: torch.nn.Module = model.model if isinstance(model, LoadedModel) else model
        self._output = model.output if isinstance(model, LoadedModel) and output is None else output

    def forward_func(self, images: Images) -> Float[torch.Tensor, "image classes *space"]:
        """Compute the class scores of the network."""
        return pick_scores(self._model(images), len(images), self._output)

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether attributions are contributions to the score rather than derivatives, as Captum distinguishes them."""
        return self.method.family in {"relevance", "excitation"} or self.method.name in {
            "input-x-gradient", "integrated-gradients",
        }  # fmt: skip

    def has_convergence_delta(self) -> bool:
        """Whether `attribute` can also return a convergence delta; always `False`."""
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
        """Compute the attribution of each image for its target.

        Args:
            inputs: images as the network takes them. A tuple of images gives a tuple of attributions.
            target: as in Captum: one class for all images, one class per image (list or integer tensor), or, for a
                network that returns a score map, one output unit `(class, y, x)` or a list of units. Class names are
                also accepted.
            additional_forward_args: not supported; exists because Captum's metrics can pass `None`.
            spread: whether to return attributions shaped like the images. Each channel then holds an equal part of the
                map, so that the sum over channels, which Captum plots, is the map. Otherwise the map with one channel.
            **options: options of the method.

        Returns:
            `(image, channels, height, width)` with `spread`, otherwise `(image, 1, height, width)`; without gradients.

        Raises:
            ExcitationError: an error of the method; or several inputs, additional arguments, or no target.
        """
        if additional_forward_args is not None:
            raise ExcitationError(
                "additional_forward_args are given, but the network is called with images only; wrap the network in a"
                " module that adds the other arguments."
            )
        images, several = (inputs[0], True) if isinstance(inputs, tuple) else (inputs, False)
        if several and len(inputs) != 1:
            raise ExcitationError(f"{len(inputs)} inputs are given; one batch of images is expected.")
        targets = [[one] for one in _per_image(target, len(images))]
        maps = self._make_explainer(**options)(images.detach(), targets).maps
        if self._steps:
            maps = post_process(maps, self._steps, images.shape[2:])
        if spread:
            if maps.shape[2:] != images.shape[2:]:
                raise ExcitationError(
                    f"the maps are {tuple(maps.shape[2:])} and the images {tuple(images.shape[2:])}; add 'bicubic' to"
                    " the steps, or use spread=False."
                )
            maps = (maps / images.shape[1]).expand(images.shape).contiguous()
        return (maps,) if several else maps


def _per_image(target: object, images: int) -> list[Target]:
    """Convert Captum's targets to one target per image."""
    if target is None:
        raise TargetError("no target is given; give one class, or one class for each image.")
    if isinstance(target, torch.Tensor):
        if target.is_floating_point() or target.dim() > 1:
            kind = str(target.dtype).removeprefix("torch.")
            raise TargetError(
                f"target is a {kind} tensor of shape {tuple(target.shape)}; give a tensor of integers, one per image."
            )
        target = target.item() if target.numel() == 1 else target.tolist()
    if not isinstance(target, list):
        return [_one(target)] * images
    if len(target) != images:
        raise TargetError(f"{len(target)} targets are given for {images} images; give one, or one for each image.")
    return [_one(item) for item in target]


def _one(item: object) -> Target:
    if not isinstance(item, tuple):
        return item  # type: ignore[return-value]  # `top_down_signal` validates it later
    if len(item) == 1:
        return int(item[0])

    def unit(scores: torch.Tensor) -> torch.Tensor:
        if len(item) != scores.dim() - 1 or any(
            not 0 <= i < size for i, size in zip(item, scores.shape[1:], strict=True)
        ):
            raise TargetError(
                f"target {item} is no unit of scores of shape {tuple(scores.shape[1:])}; give one index for each"
                " dimension."
            )
        signal = torch.zeros_like(scores[0])
        signal[item] = 1
        return signal

    return unit
