"""One call of an explainer, captured as a CUDA graph and replayed for many batches of the same shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from jaxtyping import Float

from .._errors import ExcitationError, TargetError
from ..core import (
    Explanation,
    Settings,
    Target,
    check_maps,
    has_function,
    make_request,
    read_against,
    read_targets,
    single_images,
    target_labels,
    top_down_signal,
    weights_over_classes,
)
from ..engine._network_state import held
from ..methods import UncheckedResult, find_method
from ..models import LoadedModel

WARM_UP = 3
"""Number of calls before the capture, in which libraries select algorithms and allocate workspaces."""


class CudaGraph:
    """A call of an explainer, captured as a CUDA graph and replayed for other images and targets.

    In an eager call, the host launches hundreds of small kernels. On a fast device, the launches take longer than the
    kernels. A captured call runs the same kernels with the same results in one launch. On the CPU, which has no graphs,
    each call runs the steps again.

    Images, weights over classes and maps have fixed memory addresses. The graph holds the memory of one call during its
    lifetime. An instance must be used by one thread at a time.

    The weights of the network may change in place after the capture. Replacing a layer or weight raises an error. Other
    decisions of `forward` in Python, including hooks, and the TF32 setting stay as they were during the capture.

    Args:
        model: the network in evaluation mode, or a loaded model.
        images: an example batch, `(image, channels, *pixels)`; it fixes the shape, precision and device.
        targets: example targets; they fix the number of targets per image.
        settings: the settings of the explainer; its method must be a sweep of the engine.

    Raises:
        ExcitationError: an error of `Explainer.cuda_graph`.

    Warns:
        BypassWarning: some paths bypass a layer. Issued during the capture only.
    """

    def __init__(
        self, model: torch.nn.Module | LoadedModel, images: torch.Tensor, targets: Any, settings: Settings
    ) -> None:
        # Copy the targets: the caller may change its lists and tensors later.
        self._targets = _copied(targets)
        self._model = model
        self._method = find_method(settings.method)
        against = settings.options.get("against")
        if has_function(against):
            raise TargetError("against is a function of the scores; a recorded call takes classes, weights or signals.")
        # Validate the arguments as `explain` does, with the same errors and warnings.
        request = make_request(model, images, targets, settings)
        network = request.model
        unchecked = self._method.sweep(request, settings.options)
        unchecked.validate()
        self._names = request.class_names
        with torch.inference_mode(False), torch.no_grad():
            self._images = single_images(request).detach().clone()
            self._scores = unchecked.scores.new_zeros(unchecked.scores.shape[:2])
            self._weights = self._weighted(targets)[0].clone()
            options = dict(settings.options)
            if isinstance(against, torch.Tensor):
                options["against"] = against.clone()
            elif against is not None:
                options["against"] = read_against(
                    against, lambda target: top_down_signal(target, self._scores, class_names=self._names)
                )
            self._settings = replace(settings, options=options)
            self._held = _held(network, settings.constants)
            self._modes = [(module, module.training) for module in network.modules()]
            self._autocast = _autocast(images.device.type)
            self._graph, self._unchecked = self._recorded()

    def __call__(self, images: Float[torch.Tensor, "image channels *pixels"], targets: Any = None) -> Explanation:
        """Compute the maps of other images.

        Args:
            images: a batch with the shape, precision and device of the example.
            targets: classes or weights over classes, with the same number per image as in the example; the example
                targets if not given.

        Returns:
            The same result as the explainer.

        Raises:
            ExcitationError: images, targets, autocast, layers, weights or mode differ from the capture, or scores or
                maps are not finite.
        """
        self._check(images)
        targets = self._targets if targets is None else targets
        with torch.inference_mode(False), torch.no_grad():
            weights, per_image = self._weighted(targets)
            if weights.shape != self._weights.shape:
                raise TargetError(
                    f"{len(weights)} targets were given; the call was recorded with {len(self._weights)}: give as"
                    f" many, or record it again."
                )
            self._images.copy_(images)
            self._weights.copy_(weights)
            self._graph.replay()
            check_maps(self._unchecked.scores, self._unchecked.checks)
            made = self._unchecked.explanation
            return replace(
                made,
                by_layer={name: maps.clone() for name, maps in made.by_layer.items()},  # type: ignore[union-attr]
                scores=made.scores.clone(),
                top=None if made.top is None else made.top.clone(),
                share={name: share.clone() for name, share in made.share.items()},
                targets=target_labels(per_image, self._unchecked.scores, self._names),
            )

    def __repr__(self) -> str:
        """Summarise the arguments that the captured call takes."""
        return f"CudaGraph({self._method.name}, images {_kind(self._images)}, {len(self._weights)} targets for each)"

    def _check(self, images: object) -> None:
        """Raise an error if the captured steps do not apply to these images or to the current state of the network."""
        if not isinstance(images, torch.Tensor):
            raise ExcitationError(
                f"images are a {type(images).__name__}; a tensor (image, channel, height, width) is expected."
            )
        like = self._images
        if (images.shape, images.dtype, images.device) != (like.shape, like.dtype, like.device):
            raise ExcitationError(
                f"images are {_kind(images)}; the call was recorded with {_kind(like)}: record another for them."
            )
        if any(read() is not item or _address(item) != at for read, item, at in self._held):
            raise ExcitationError(
                "the memory of the network's layers or weights has changed since the call was recorded; record"
                " it again."
            )
        if any(module.training != mode for module, mode in self._modes):
            raise ExcitationError(
                "the network was put into another mode, training or evaluation, after the call was recorded; set it"
                " back with .eval(), or record another call."
            )
        if (now := _autocast(like.device.type)) != self._autocast:
            raise ExcitationError(
                f"autocast is {now or 'off'}; when the call was recorded it was {self._autocast or 'off'}: call"
                f" it under the same setting, or record it again."
            )

    def _weighted(self, targets: Any) -> tuple[Float[torch.Tensor, "target image classes"], list[list[Target]]]:
        """Convert targets to weights over classes, and return them with the targets of each image."""
        per_image = read_targets(targets, len(self._images))
        counts = tuple(map(len, per_image))
        if len(set(counts)) > 1:
            raise TargetError(f"images have {counts} targets; a recorded call needs as many for each image.")
        fits = (self._scores.shape, self._scores.shape[1:])
        for item in (item for items in per_image for item in items):
            if callable(item) and not isinstance(item, torch.Tensor):
                raise TargetError("a target is a function of the scores; a recorded call takes classes and weights.")
            if isinstance(item, torch.Tensor) and item.dim() > 0 and item.shape not in fits:
                raise TargetError(
                    f"a target is a signal of shape {tuple(item.shape)}; a recorded call takes classes, or weights over"
                    f" classes of shape {tuple(fits[1])} or {tuple(fits[0])}."
                )
        return weights_over_classes(per_image, self._scores, self._names), per_image

    def _run(self) -> UncheckedResult:
        request = make_request(self._model, self._images, [*self._weights], self._settings)
        return self._method.sweep(request, self._settings.options)

    def _recorded(self) -> tuple[torch.cuda.CUDAGraph | _Anew, UncheckedResult]:
        device = self._images.device
        if device.type != "cuda":
            return _Anew(self), self._run()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), _no_autocast_cache():
            here = torch.cuda.current_stream(device)
            aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            aside.wait_stream(here)
            try:
                with torch.cuda.stream(aside):
                    for _ in range(WARM_UP):
                        self._run()
                    # A failed capture breaks PyTorch's random numbers on the device, so detect waits before it.
                    _without_waits(self._run)

                def record() -> UncheckedResult:
                    # Use a stream of this device. PyTorch's default stream belongs to the device of the first capture.
                    with torch.cuda.graph(graph, stream=aside):
                        return self._run()

                result = _without_waits(record, watched=False)
            finally:
                here.wait_stream(aside)
        return graph, result


class _Anew:
    """A replacement for a graph on devices without graphs: a replay runs the steps again."""

    def __init__(self, call: CudaGraph) -> None:
        self._call = call

    def replay(self) -> None:
        self._call._unchecked = self._call._run()


T = TypeVar("T")


def _without_waits(run: Callable[[], T], *, watched: bool = True) -> T:
    """Run a call during which the host must not wait for the device.

    Raises:
        ExcitationError: the host waits. Other errors, such as insufficient memory, are raised unchanged.
    """
    before = torch.cuda.get_sync_debug_mode()
    if watched:  # PyTorch raises an error where it notices that the host is about to wait
        torch.cuda.set_sync_debug_mode("error")
    try:
        return run()
    except (torch.OutOfMemoryError, ExcitationError):
        raise
    except RuntimeError as error:
        raise ExcitationError(
            "this call cannot be recorded, because one of its operations makes the host wait for the device"
            f" ({str(error).partition(chr(10))[0]}); call explain instead."
        ) from error
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _no_autocast_cache() -> Iterator[None]:
    """Disable the autocast weight cache: each call converts the weights again, so that changed weights take effect."""
    before = torch.is_autocast_cache_enabled()
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


Held = tuple[Callable[[], object], object, int]
"""How to read an item again, the item, and its address if it is a tensor."""


def _held(network: torch.nn.Module, constants: Sequence[str]) -> list[Held]:
    """The current layers, weights and constants, including `None` entries."""
    readers: list[Callable[[], object]] = [
        partial(group.get, name)
        for module in network.modules()
        for group in (module._modules, module._parameters, module._buffers)
        for name in group
    ]
    readers += [partial(held, network, name) for name in constants]
    return [(read, item := read(), _address(item)) for read in readers]


def _address(item: object) -> int:
    return item.data_ptr() if isinstance(item, torch.Tensor) else 0


def _autocast(device: str) -> str:
    """The precision of autocast for a device type; empty if autocast is disabled."""
    return str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else ""


def _copied(targets: Any) -> Any:
    """Copy targets, so that later changes by the caller have no effect."""
    if isinstance(targets, torch.Tensor):
        return targets.clone()
    if isinstance(targets, (list, tuple)):
        return [_copied(item) for item in targets]
    return dict(targets) if isinstance(targets, Mapping) else targets


def _kind(images: torch.Tensor) -> str:
    return f"{tuple(images.shape)} in {str(images.dtype).removeprefix('torch.')} on {str(images.device)!r}"
