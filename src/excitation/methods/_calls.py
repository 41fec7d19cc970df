"""A record that also keeps the calls: the arguments and results of each operation, so that it can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from .._errors import ExcitationError
from ..core import Request, check_finite, pick_scores
from ..engine import Entry, Kind, LateRootError, Record, Recorder, Value
from ..engine._functions import Function
from ..engine._values import tensors_in


@dataclass(frozen=True, eq=False)
class Call:
    """One recorded call.

    Attributes:
        function: the function that ran.
        args: its arguments.
        kwargs: its keyword arguments.
        results: the tensors it returned.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[torch.Tensor, ...]

    def replay(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Repeat the call with one tensor replaced, and return the first result."""

        def swap(item: Any) -> Any:
            if item is old:
                return new
            if type(item) in {list, tuple}:
                return type(item)(swap(part) for part in item)
            return item

        result = self.function(*swap(self.args), **{key: swap(item) for key, item in self.kwargs.items()})
        return next(tensors_in(result))

    def bias(self, x: torch.Tensor, *, whole: bool = False) -> torch.Tensor:
        """The bias of an affine call: its result for an input of zeros, for one image or for the whole batch."""
        return self.replay(x, torch.zeros_like(x if whole else x[:1]))

    def slope(self, x: torch.Tensor) -> torch.Tensor:
        """The factors of a call that scales its input `x` elementwise, for one image."""
        with torch.inference_mode(False), torch.enable_grad():
            probe = torch.zeros_like(x[:1]).clone().requires_grad_(True)
            return torch.autograd.grad(self.replay(x, probe).sum(), probe)[0]


class CallRecorder(Recorder):
    """Records a forward pass and stores the call of each entry."""

    def __init__(
        self, model: torch.nn.Module, roots: Sequence[str] | None = None, constants: Sequence[str] = ()
    ) -> None:
        super().__init__(model, roots, constants)
        self.calls: dict[Entry, Call] = {}

    def _information(
        self, how: Function, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[torch.Tensor], kind: Kind
    ) -> Any:
        known = len(self._record.entries)
        result = super()._information(how, args, kwargs, tensors, kind)
        for entry in self._record.entries[known:]:
            # Nested operations have their own calls.
            self.calls.setdefault(entry, Call(how.twin, args, kwargs, tuple(tensors_in(result))))
        return result

    def _stand_in(self, result: torch.Tensor, value: Value) -> None:
        super()._stand_in(result, value)
        # The next operation receives the network's own result.
        entry = next((entry for entry in reversed(self._record.entries) if entry.outputs[0] is value), None)
        if entry is not None:
            self.calls[entry] = replace(self.calls[entry], results=(result,))


def record_calls(request: Request, roots: Sequence[str] | None) -> tuple[Record, dict[Entry, Call]]:
    """Record one forward pass with its calls.

    Args:
        request: settings, network, images and targets.
        roots: layers at which the record starts; `None` records the full pass.

    Returns:
        The record, and the call of each of its entries.

    Raises:
        ExcitationError: an operation without a rule, or an output without class scores.
    """
    outputs: list[torch.Tensor] = []

    def run(recorder: CallRecorder) -> Record:
        outputs.clear()
        count = len(request.images)
        return recorder.run(
            request.images, lambda result: outputs.append(pick_scores(result, count, request.output))
        )  # fmt: skip

    recorder = CallRecorder(request.model, roots, request.constants)
    try:
        record = run(recorder)
    except LateRootError:
        recorder = CallRecorder(request.model, None, request.constants)
        record = run(recorder)
    scores, value = recorder.final(outputs[-1])
    if value is None or value.kind is not Kind.TRACKED:
        raise ExcitationError(
            "the class scores do not depend on the chosen layer, or were made by no recorded operation (a script"
            " module, NumPy, or a wrapped tensor); choose another layer, or replace what makes them."
        )
    check_finite(scores)
    record.top, record.scores = value, scores
    request.seen.scores = scores
    return record, recorder.calls


def topmost_weighted(record: Record) -> list[Entry]:
    """The weighted operations with a path to the top that contains no other weighted operation."""
    assert record.top is not None
    open_values = {record.top.serial}
    entries = []
    for entry in reversed(record.entries):
        if any(value.serial in open_values for value in entry.outputs):
            if entry.operation.weighted:
                entries.append(entry)
            else:
                open_values.update(value.serial for value in entry.carriers)
    return entries
