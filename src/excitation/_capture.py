"""The same question about many batches of one size: a call captured once as a CUDA graph, and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float

from ._checks import check_names
from ._errors import ExcitationError, TargetError
from ._explain import (
    Contrast,
    Found,
    MapList,
    Maps,
    _against,
    _class_weights,
    _has_function,
    _per_image,
    _several,
    answered,
    shaped,
    sweep_down,
)
from ._forward import OutputChoice
from ._layers import Layer
from ._map_checks import check_maps
from .networks._loaded import LoadedModel
from .propagation import Policies
from .propagation._network_state import held
from .signals import Reading, Target

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
    signed: bool = False,
    signal: Reading = "response",
    policies: Policies | None = None,
    class_names: Sequence[str] | None = None,
    output: OutputChoice = None,
    constants: Sequence[str] = (),
    resize: bool | tuple[int, ...] = False,
    scale: Literal["max", "sum"] | None = None,
) -> Captured:
    """Record a call of `explain` on a CUDA device, to be repeated for other images and targets without Python's part.

    For an eager call the host prepares each of a network's hundreds of small steps, which on a fast device takes
    longer than the steps themselves. A captured call runs the same steps with the same results, as one.

    Args:
        model: the network in evaluation mode. Its weights may change in place afterwards; a layer or weight that is
            replaced is noticed. What else its `forward` decides in Python, its hooks among it, and whether products
            may be rounded to TF32, stays as it was when the call was captured.
        images: an example of the batches to come: their shape, precision and device are kept.
        targets: an example of the targets to come, as in `explain`: classes or weights over classes, as many for each
            image.
        layer: as in `explain`.
        contrast: as in `explain`, but no function of the scores; the same in all calls.
        signed: as in `explain`, like all that follows.
        signal: how a class's signal is spread over a score map.
        policies: choices the paper leaves open.
        class_names: for targets by name.
        output: which part of the network's output holds the class scores.
        constants: names of constant tensors outside parameters and buffers.
        resize: `True` for the size of the images, or a size.
        scale: `"max"` or `"sum"`.

    Returns:
        What takes further images and targets. On the CPU, which knows no graphs, it runs the steps anew each time.

    Raises:
        ExcitationError: as `explain`; or targets are more than weights over classes, or differ in number; or the
            network makes the host wait for the device, which cannot be captured.

    Warns:
        BypassWarning: a layer is only one arm of the network; now, and not again when the call is repeated.
    """
    options = {
        "layer": layer, "contrast": contrast, "signed": signed, "signal": signal, "policies": policies,
        "class_names": class_names, "output": output, "constants": check_names("constants", constants),
        "resize": resize, "scale": scale,
    }  # fmt: skip
    return Captured(model, images, targets, options)


class Captured:
    """A call of `explain` as `capture` recorded it.

    Images, weights over classes and maps have fixed places, and a graph leads from the first two to the last. It holds
    the memory of one call for as long as it lives. To be used by one thread at a time.
    """

    def __init__(
        self,
        model: torch.nn.Module | LoadedModel,
        images: torch.Tensor,
        targets: Targets,
        options: dict[str, Any],
    ) -> None:
        # The caller's own lists and tensors may change.
        self._targets = _copied(targets)
        self._several = _several(options["layer"])
        self._model = model
        network = model.model if isinstance(model, LoadedModel) else model
        names = model.class_names if isinstance(model, LoadedModel) else None
        self._names = names if options["class_names"] is None else options["class_names"]
        contrast = options["contrast"]
        if _has_function([contrast]):
            raise TargetError(
                "contrast is a function of the scores; a captured call takes classes, weights or signals."
            )
        # What `explain` would refuse is refused as there, and its warnings are given.
        found = sweep_down(model, images, targets, **options)
        answered(found)
        with torch.inference_mode(False), torch.no_grad():
            self._images = images.detach().clone()
            self._scores = found.scores.new_zeros(found.scores.shape[:2])
            self._weights = self._weighted(targets)[0].clone()
            if isinstance(contrast, torch.Tensor):
                contrast = contrast.clone()
            elif contrast not in (None, "dual", "rivals"):
                contrast = _against(contrast, self._scores, self._names, "response")
            self._options = {**options, "contrast": contrast}
            self._held = _held(network, options["constants"])
            self._modes = [(module, module.training) for module in network.modules()]
            self._autocast = _autocast(images.device.type)
            self._graph, self._found = self._captured()

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
            ExcitationError: images, targets, autocast or the network's layers, weights or mode are not those the call
                was captured with, or scores or maps are not finite.
        """
        self._check(images)
        with torch.inference_mode(False), torch.no_grad():
            weights, counts = self._weighted(self._targets if targets is None else targets)
            if weights.shape != self._weights.shape:
                raise TargetError(
                    f"{len(weights)} targets were given; the call was captured with {len(self._weights)}: give as many,"
                    " or capture another."
                )
            self._images.copy_(images)
            self._weights.copy_(weights)
            self._graph.replay()
            check_maps(self._found.scores, self._found.checks)
            maps = {name: maps.clone() for name, maps in self._found.explanation.maps.items()}
        return shaped(maps, counts, several=self._several)

    def _check(self, images: object) -> None:
        """Refuse what the recorded steps are not for."""
        if not isinstance(images, torch.Tensor):
            raise ExcitationError(
                f"images are a {type(images).__name__}; a tensor (image, channel, height, width) is expected."
            )
        like = self._images
        if (images.shape, images.dtype, images.device) != (like.shape, like.dtype, like.device):
            raise ExcitationError(
                f"images are {_kind(images)}; the call was captured with {_kind(like)}: capture another for them."
            )
        if any(read() is not item or _address(item) != at for read, item, at in self._held):
            raise ExcitationError(
                "the network's layers or weights are not where they were when the call was captured; capture it again."
            )
        if any(module.training != mode for module, mode in self._modes):
            raise ExcitationError(
                "the network was put into another mode, training or evaluation, after the call was captured; set it"
                " back with .eval(), or capture another call."
            )
        if (now := _autocast(like.device.type)) != self._autocast:
            raise ExcitationError(
                f"autocast is {now or 'off'}; when the call was captured it was {self._autocast or 'off'}: call it"
                " under the same, or capture another."
            )

    def _weighted(self, targets: Targets) -> tuple[Float[torch.Tensor, "target image classes"], tuple[int, ...] | None]:
        """Targets as weights over classes; and their counts if they were given for each image."""
        per_image, counts = _per_image(targets, len(self._images))
        if counts is not None and len(set(counts)) > 1:
            raise TargetError(f"images have {counts} targets; a captured call needs as many for each image.")
        fits = (self._scores.shape, self._scores.shape[1:])
        for item in (item for items in per_image for item in items):
            if callable(item) and not isinstance(item, torch.Tensor):
                raise TargetError("a target is a function of the scores; a captured call takes classes and weights.")
            if isinstance(item, torch.Tensor) and item.dim() > 0 and item.shape not in fits:
                raise TargetError(
                    f"a target is a signal of shape {tuple(item.shape)}; a captured call takes classes, or weights over"
                    f" classes of shape {tuple(fits[1])} or {tuple(fits[0])}."
                )
        return _class_weights(per_image, self._scores, self._names), counts

    def _run(self) -> Found:
        return sweep_down(self._model, self._images, [*self._weights], **self._options)

    def _captured(self) -> tuple[torch.cuda.CUDAGraph | _Anew, Found]:
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
                    # A capture that fails leaves PyTorch's random numbers on the device broken: found out before it.
                    _without_waits(self._run)

                def record() -> Found:
                    # A stream of this device: PyTorch's own for captures is of whichever device was captured on first.
                    with torch.cuda.graph(graph, stream=aside):
                        return self._run()

                found = _without_waits(record, watched=False)
            finally:
                here.wait_stream(aside)
        return graph, found


class _Anew:
    """Where there are no graphs: a replay runs the steps anew."""

    def __init__(self, call: Captured) -> None:
        self._call = call

    def replay(self) -> None:
        self._call._found = self._call._run()


T = TypeVar("T")


def _without_waits(run: Callable[[], T], *, watched: bool = True) -> T:
    """What a call gives that must not make the host wait for the device.

    Raises:
        ExcitationError: it does. Errors of other causes, such as too little memory, are passed on as they are.
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
            "this call cannot be captured, because something in it makes the host wait for the device"
            f" ({str(error).partition(chr(10))[0]}); call explain instead."
        ) from error
    finally:
        torch.cuda.set_sync_debug_mode(before)


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


Held = tuple[Callable[[], object], object, int]
"""How to read an item again, the item, and its address if it is a tensor."""


def _held(network: torch.nn.Module, constants: Sequence[str]) -> list[Held]:
    """Layers, weights and constants as they are now, the empty places among them."""
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
    """The precision of autocast on a kind of device; empty where it is off."""
    return str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else ""


def _copied(targets: Any) -> Any:
    """Targets that do not change with the caller's."""
    if isinstance(targets, torch.Tensor):
        return targets.clone()
    if isinstance(targets, (list, tuple)):
        return [_copied(item) for item in targets]
    return dict(targets) if isinstance(targets, Mapping) else targets


def _kind(images: torch.Tensor) -> str:
    return f"{tuple(images.shape)} in {str(images.dtype).removeprefix('torch.')} on {str(images.device)!r}"
