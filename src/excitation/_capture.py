"""The same question about many batches of one size: a call captured once as a CUDA graph, and replayed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float

from ._errors import ExcitationError, TargetError
from ._explain import (
    Contrast,
    Found,
    MapList,
    Maps,
    _against,
    _class_weights,
    _per_image,
    _several,
    explain,
    explain_full,
    shaped,
    sweep_down,
)
from ._forward import check_finite
from ._layers import Layer
from .networks._loaded import LoadedModel
from .signals import Target

WARM_UP = 3
"""Calls before the capture, in which libraries choose their algorithms and make what they keep."""

Targets = Target | Sequence[Target] | Sequence[Sequence[Target]]


def capture(
    model: torch.nn.Module | LoadedModel,
    images: Float[torch.Tensor, "image channels *pixels"],
    targets: Targets,
    *,
    layer: Layer | Sequence[Layer] | None = None,
    contrast: Contrast = None,
    **options: Any,
) -> Captured:
    """Record a call of `explain` on a CUDA device, to be repeated for other images and targets without Python's part.

    For an eager call the host prepares each of a network's hundreds of small steps, which on a fast device takes
    longer than the steps themselves. A captured call runs the same steps with the same results, as one.

    Args:
        model: the network in evaluation mode. Its weights may change in place afterwards, its structure may not.
        images: an example of the batches to come: their shape, precision and device are kept.
        targets: an example of the targets to come, as in `explain`: classes or weights over classes, as many for each
            image.
        layer: as in `explain`.
        contrast: as in `explain`; the same in all calls.
        **options: `signed`, `signal`, `policies`, `class_names`, `output`, `constants`, `resize` and `scale`, as in
            `explain`.

    Returns:
        What takes further images and targets. On the CPU, which knows no graphs, it calls `explain` each time.

    Raises:
        ExcitationError: as `explain`; or targets are more than weights over classes, or differ in number; or the
            network makes the host wait for the device, which cannot be captured.

    Warns:
        BypassWarning: a layer is only one arm of the network.
    """
    return Captured(model, images, targets, layer=layer, contrast=contrast, **options)


class Captured:
    """A call of `explain` as `capture` recorded it.

    It holds the memory of one call for as long as it lives. To be used by one thread at a time.
    """

    def __init__(
        self,
        model: torch.nn.Module | LoadedModel,
        images: torch.Tensor,
        targets: Targets,
        *,
        layer: Layer | Sequence[Layer] | None,
        contrast: Contrast,
        **options: Any,
    ) -> None:
        self._model, self._targets = model, targets
        self._options: dict[str, Any] = {"layer": layer, "contrast": contrast, **options}
        self._several = _several(layer)
        # What `explain` would refuse is refused by itself, and its warnings are given.
        explain_full(model, images, targets, **self._options)
        self._call = None if images.device.type != "cuda" else _Call(model, images, targets, self._options)

    def __call__(
        self, images: Float[torch.Tensor, "image channels *pixels"], targets: Targets | None = None
    ) -> Maps | MapList | dict[str, Maps] | dict[str, MapList]:
        """Maps of other images.

        Args:
            images: shaped as the example was, on the same device.
            targets: classes or weights over classes, as many for each image as the example had; that itself if not
                given.

        Returns:
            What `explain` gives for them.

        Raises:
            ExcitationError: images, targets or the network's weights are not those the call was captured with, or
                scores or maps are not finite.
        """
        targets = self._targets if targets is None else targets
        if self._call is None:
            return explain(self._model, images, targets, **self._options)
        return shaped(self._call(images, targets), _per_image(targets, len(images))[1], several=self._several)


class _Call:
    """Images, weights over classes and maps at fixed places, and the graph from the first two to the last."""

    def __init__(
        self, model: torch.nn.Module | LoadedModel, images: torch.Tensor, targets: Targets, options: dict[str, Any]
    ) -> None:
        self._model = model
        self._network = model.model if isinstance(model, LoadedModel) else model
        loaded = model.class_names if isinstance(model, LoadedModel) else None
        self._names = options.get("class_names") or loaded
        with torch.inference_mode(False), torch.no_grad():
            self._images = images.detach().clone()
            scores = sweep_down(model, images, targets, **options).scores
            self._scores = scores.new_zeros(scores.shape[:2])
            self._weights = self._weighted(targets).clone()
            contrast = options["contrast"]
            if contrast not in (None, "dual", "rivals"):
                options = {**options, "contrast": _against(contrast, self._scores, self._names, "response")}
            self._options = options
            self._places = [
                (group, name, tensor, tensor.data_ptr())
                for module in self._network.modules()
                for group in (module._parameters, module._buffers)
                for name, tensor in group.items()
                if tensor is not None
            ]
            self._graph, self._found = self._captured()

    def __call__(self, images: torch.Tensor, targets: Targets) -> dict[str, Maps]:
        like = self._images
        if (images.shape, images.dtype, images.device) != (like.shape, like.dtype, like.device):
            raise ExcitationError(
                f"images are {_kind(images)}; the call was captured with {_kind(like)}: capture another for them."
            )
        if any(group.get(name) is not held or held.data_ptr() != at for group, name, held, at in self._places):
            raise ExcitationError(
                "the network's weights are no longer where they were when the call was captured; capture it again."
            )
        with torch.inference_mode(False), torch.no_grad():
            weights = self._weighted(targets)
            if weights.shape != self._weights.shape:
                raise TargetError(
                    f"{len(weights)} targets were given; the call was captured with {len(self._weights)}: give as many,"
                    " or capture another."
                )
            self._images.copy_(images)
            self._weights.copy_(weights)
            self._graph.replay()
            check_finite(self._found.scores, self._found.masses)
            return {name: maps.clone() for name, maps in self._found.explanation.maps.items()}

    def _weighted(self, targets: Targets) -> Float[torch.Tensor, "target image classes"]:
        """Targets as weights over classes."""
        per_image, counts = _per_image(targets, len(self._images))
        if counts is not None and len(set(counts)) > 1:
            raise TargetError(f"images have {counts} targets; a captured call needs as many for each image.")
        fits = (self._scores.shape, self._scores.shape[1:])
        for item in (item for items in per_image for item in items):
            if callable(item) and not isinstance(item, torch.Tensor):
                raise TargetError("a target is a function of the scores; a captured call takes classes and weights.")
            if isinstance(item, torch.Tensor) and item.shape not in fits:
                raise TargetError(
                    f"a target is a signal of shape {tuple(item.shape)}; a captured call takes classes, or weights over"
                    f" classes of shape {tuple(fits[1])} or {tuple(fits[0])}."
                )
        return _class_weights(per_image, self._scores, self._names)

    def _run(self) -> Found:
        return sweep_down(self._model, self._images, [*self._weights], **self._options)

    def _captured(self) -> tuple[torch.cuda.CUDAGraph, Found]:
        device = self._images.device
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), _no_autocast_cache():
            aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream(device))
            try:
                with torch.cuda.stream(aside):
                    for _ in range(WARM_UP):
                        self._run()
                    # A capture that fails leaves PyTorch's random numbers on the device broken: found out before it.
                    with _refusing_waits():
                        self._run()
                torch.cuda.current_stream(device).wait_stream(aside)
                with torch.cuda.graph(graph):
                    found = self._run()
            except (RuntimeError, ExcitationError) as error:
                raise ExcitationError(
                    "this call cannot be captured, because something in it makes the host wait for the device"
                    f" ({str(error).splitlines()[0]}); call explain instead."
                ) from error
        return graph, found


@contextmanager
def _no_autocast_cache() -> Iterator[None]:
    """Under autocast, weights are converted within the call: converted before, changes of them would not be seen."""
    before = torch.is_autocast_cache_enabled()
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


@contextmanager
def _refusing_waits() -> Iterator[None]:
    """Where PyTorch notices that the host is about to wait for the device, it raises an error."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _kind(images: torch.Tensor) -> str:
    return f"{tuple(images.shape)} in {str(images.dtype).removeprefix('torch.')} on {str(images.device)!r}"
