"""Gradients of the network: a recorded forward pass that keeps the autograd graph.

The recorder finds layers and replaces in-place operations. Autograd, which needs no rules, computes the derivatives.
Rectifiers can have a different derivative or a gate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch

from .._errors import ExcitationError, LayerError, NotApplicableError, UnsupportedOperationError
from ..core import Request, check_finite, find_place, pick_scores
from ..engine import Grid, Kind, Record, Recorder, Value
from ..engine._functions import Function
from ..engine._values import tensors_in
from ..engine.operations import CallContext, Read

Rectifier = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Function from the input and output of a rectifier to the tensor that replaces the output."""


class GradientRecorder(Recorder):
    """Records a forward pass with gradients and keeps the tensors of layers.

    Args:
        model: the network.
        keep: names of layers whose tensors are kept; `None` keeps all.
        rectifier: replaces every rectified linear unit.
        constants: names of constant tensors that are neither parameters nor buffers.
        rules: whether the record needs rules. Otherwise it has no entries, and every operation is allowed.
        grad: whether to keep the autograd graph.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        keep: Collection[str] | None,
        rectifier: Rectifier | None = None,
        constants: Sequence[str] = (),
        *,
        rules: bool = False,
        grad: bool = True,
    ) -> None:
        super().__init__(model, None if rules else (), constants)
        self._keep = keep
        self._rectifier = rectifier
        self.rectified = 0
        self._started = False
        self._grad = grad
        self.tensors: dict[int, torch.Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        with torch.set_grad_enabled(self._grad):
            return super().__torch_function__(func, types, args, kwargs)

    def _enter(self, module: torch.nn.Module, inputs: object) -> None:
        super()._enter(module, inputs)
        if not self._started:
            self._started = True
            (images,) = tensors_in(inputs)
            with torch._C.DisableTorchFunction():
                images.requires_grad_(True)
            value = self._book.get(images)
            assert value is not None
            self.tensors[value.serial] = images

    def _information(
        self, how: Function, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[torch.Tensor], kind: Kind
    ) -> Any:
        rectifier = self._rectifier
        if rectifier is not None and rectifies(how.name, args, kwargs):
            plain = how.twin
            self.rectified += 1

            def twin(x: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
                return rectifier(x, plain(x, *rest, **options))

            how = dataclasses.replace(how, twin=twin)
        return super()._information(how, args, kwargs, tensors, kind)

    def _write(
        self,
        context: CallContext,
        read: Read | None,
        results: list[torch.Tensor],
        kind: Kind,
        problem: UnsupportedOperationError | None,
        tensors: Sequence[torch.Tensor],
    ) -> None:
        super()._write(context, read, results, kind, problem, tensors)
        for tensor in results:
            value = self._book.get(tensor)
            if value is not None and (self._keep is None or value.address in self._keep):
                self.tensors[value.serial] = tensor

    def _stand_in(self, result: torch.Tensor, value: Value) -> None:
        super()._stand_in(result, value)
        if value.serial in self.tensors:  # the autograd graph contains `result`, not the tensor stored for its part
            self.tensors[value.serial] = result

    def _place(self, name: str, output: object, kind: str) -> None:
        super()._place(name, output, kind)
        value = self._record.places[name].value
        if value is not None and (self._keep is None or name in self._keep):
            self.tensors[value.serial] = next(tensors_in(output))


def rectifies(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call is a ReLU or an equivalent, such as a clamp at zero, with or without an upper limit."""
    if name in {"relu", "relu6"}:
        return True
    if name in {"clamp", "clip", "clamp_min"}:
        return _is_zero(kwargs.get("min", args[1] if len(args) > 1 else None))
    if name == "hardtanh":
        return _is_zero(kwargs.get("min_val", args[1] if len(args) > 1 else -1.0))
    if name in {"threshold", "_threshold"}:
        return _is_zero(kwargs.get("threshold", args[1] if len(args) > 1 else None)) and _is_zero(
            kwargs.get("value", args[2] if len(args) > 2 else None)
        )
    return False


def _is_zero(number: object) -> bool:
    return isinstance(number, (int, float)) and number == 0


@dataclasses.dataclass(frozen=True, eq=False)
class GradientPass:
    """A forward pass with its autograd graph.

    Attributes:
        record: the record of the pass.
        scores: the class scores, part of the autograd graph.
        tensors: kept tensors, by the serial number of their value.
    """

    record: Record
    scores: torch.Tensor
    tensors: dict[int, torch.Tensor]

    def tensor(self, name: str) -> torch.Tensor:
        """The output of a layer.

        Raises:
            LayerError: the layer did not run or has no spatial dimensions.
        """
        value = find_place(self.record, name).value
        assert value is not None
        return self.tensors[value.serial]

    def arranged(self, name: str, x: torch.Tensor, *, lead: int = 0) -> torch.Tensor:
        """Rearrange a tensor shaped like the output of a layer to `(*lead, image, channel, *space)`.

        Raises:
            LayerError: the layer did not run or has no spatial dimensions.
        """
        value = find_place(self.record, name).value
        assert value is not None
        grid = value.grid()
        assert isinstance(grid, Grid)
        return grid.arranged(x, lead)


def record_gradients(
    request: Request,
    layers: Sequence[str] | None,
    *,
    images: torch.Tensor | None = None,
    rectifier: Rectifier | None = None,
    rules: bool = False,
    grad: bool = True,
) -> GradientPass:
    """Run the network and keep the autograd graph.

    Args:
        request: settings, network, images and targets.
        layers: layers whose outputs are kept; `None` keeps all.
        images: images that replace those of the request.
        rectifier: replaces every rectified linear unit.
        rules: whether the record needs entries.
        grad: whether to keep the autograd graph.

    Raises:
        NotApplicableError: a `rectifier` is given, but the network has no rectified linear unit.
        ExcitationError: the network output does not contain class scores.
    """
    with torch.inference_mode(False):
        pixels = (request.images if images is None else images).detach().clone()
        recorder = GradientRecorder(request.model, layers, rectifier, request.constants, rules=rules, grad=grad)
        outputs: list[torch.Tensor] = []
        count = len(pixels)
        record = recorder.run(pixels, lambda result: outputs.append(pick_scores(result, count, request.output)))
        if rectifier is not None and not recorder.rectified:
            raise NotApplicableError(
                "the network has no rectified linear unit (ReLU), and this method only changes the gradient"
                " there; choose another, such as gradient or c-mwp."
            )
        scores, value = recorder.final(outputs[-1])
    if value is None:
        raise ExcitationError(
            "no recorded operation computed the class scores (a script module, NumPy, or a wrapped tensor"
            " did); compute them with plain torch operations."
        )
    check_finite(scores)
    record.top, record.scores = value, scores.detach()
    if images is None and rectifier is None:
        request.seen.scores = record.scores
    return GradientPass(record, scores, recorder.tensors)


def gradients(passed: GradientPass, priors: torch.Tensor, tensors: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """Derivatives of the score of each target, with its signal held fixed.

    Args:
        passed: the forward pass.
        priors: signals `(target, *scores)`.
        tensors: tensors to differentiate with respect to, by layer name; one backward pass per target serves all.

    Returns:
        For each tensor: `(target, *tensor)`.

    Raises:
        LayerError: the scores do not depend on a layer.
    """
    with torch.inference_mode(False):
        # Tensors created in inference mode need a copy before a backward pass.
        signals = priors.to(passed.scores.dtype).clone()
        every: list[Sequence[torch.Tensor | None]] = [[None] * len(tensors)] * len(signals)
        if passed.scores.requires_grad:
            at = list(tensors.values())
            every = [
                torch.autograd.grad(passed.scores, at, signal, retain_graph=True, allow_unused=True)
                for signal in signals
            ]
    stacked = []
    for name, results in zip(tensors, zip(*every, strict=True), strict=True):
        parts = [part for part in results if part is not None]
        if len(parts) < len(results):
            raise LayerError(f"the class scores do not depend on layer {name!r}; choose another.")
        stacked.append(torch.stack(parts))
    return stacked


def scores_at(request: Request, images: torch.Tensor, batch: int) -> torch.Tensor:
    """Class scores of any number of images, in batches of size `batch`, without gradients."""
    if batch < 1:
        raise ExcitationError(f"batch is {batch}; at least one image at a time is needed.")
    parts = [
        record_gradients(request, (), images=part, grad=False).scores.detach() for part in torch.split(images, batch)
    ]
    return torch.cat(parts)
