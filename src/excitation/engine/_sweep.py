"""The downward sweep: propagates signals through the record, from the top to the chosen layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from .._errors import LayerError
from ._mass_recorder import MassRecorder
from ._record import Entry, Record
from ._values import Kind, Value
from .rules import Signal, added, contrasted

Rules = Callable[[Entry, Sequence[Signal | None]], Sequence[Signal | None]]
"""A rule set: signals on an operation's outputs to signals on its inputs."""


def sweep(
    record: Record,
    signal: Signal,
    layers: Sequence[Value],
    rules: Rules,
    *,
    contrast: bool | Callable[[Entry], bool] = False,
    balance: MassRecorder | None = None,
) -> list[Signal]:
    """Propagate a signal from the top to some layers.

    Args:
        record: record of the forward pass. The signal starts at `record.top`.
        signal: signal at the top, `(1, target, *top)`.
        layers: values of the layers. One layer can lie above another.
        rules: the rules for the operations.
        contrast: subtract the signal of the dual at the last weighted operation of every path (Sec. 3.3). A function
            selects other operations; the signal of the dual is then subtracted at the first selected operation of
            every path.
        balance: records the mass at each operation, if given.

    Returns:
        The signal at each layer: `(polarity, target, *layer)`.

    Raises:
        LayerError: no path leads from the top to a layer, or, with `contrast`, no weighted operation lies between them.
    """
    assert record.top is not None
    reached = record.descendants(layers)
    wanted_layers = {value.serial for value in layers}
    # Above the last weighted operation, the contrast is not formed yet. These signals are pending and kept separately.
    active: dict[int, Signal] = {}
    pending: dict[int, Signal] = {}
    begins = contrast if callable(contrast) else _weighted
    (pending if contrast else active)[record.top.serial] = signal
    with computing(signal):
        for entry in reversed(record.entries):
            if not any(value.serial in reached for value in entry.carriers):
                continue
            arrived = [_take(active, value, wanted_layers) for value in entry.outputs]
            if pending:
                early = [_take(pending, value, wanted_layers) for value in entry.outputs]
                if begins(entry):
                    arrived = [_joined(done, new) for done, new in zip(arrived, early, strict=True)]
                else:
                    _pass(entry, early, pending, rules, reached, balance, pending=True)
            _pass(entry, arrived, active, rules, reached, balance)
    return [_found(value, active, pending) for value in layers]


def _pass(
    entry: Entry,
    arrived: Sequence[Signal | None],
    signals: dict[int, Signal],
    rules: Rules,
    reached: set[int],
    balance: MassRecorder | None,
    *,
    pending: bool = False,
) -> None:
    """Propagate the signals on the outputs of an operation to those of its inputs that lead to the layers."""
    if all(p is None for p in arrived):
        return
    passed = rules(entry, arrived)
    if balance is not None:
        balance.enter(entry, arrived, passed, reached, pending=pending)
    for value, p in zip(entry.inputs, passed, strict=True):
        if p is not None and value.serial in reached and value.kind is not Kind.CONSTANT:
            before = signals.get(value.serial)
            signals[value.serial] = p if before is None else added(before, p)


@contextmanager
def computing(like: torch.Tensor) -> Iterator[None]:
    """Context manager for sweeps: computation in the precision of the signal, without gradients."""
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast(like.device.type, enabled=False),
    ):
        yield


def _take(signals: dict[int, Signal], value: Value, keep: set[int]) -> Signal | None:
    return signals.get(value.serial) if value.serial in keep else signals.pop(value.serial, None)


def _weighted(entry: Entry) -> bool:
    return entry.operation.weighted


def _joined(done: Signal | None, new: Signal | None) -> Signal | None:
    return done if new is None else added(done, contrasted(new))


def _found(value: Value, active: dict[int, Signal], pending: dict[int, Signal]) -> Signal:
    if value.serial in pending:
        raise no_contrast(value)
    if value.serial not in active:
        raise no_path(value)
    return active[value.serial]


def no_contrast(value: Value) -> LayerError:
    """Return the error for a layer without a weighted operation above it, so that no contrast can be formed."""
    return LayerError(
        f"layer {value.address!r} has no weighted operation between it and the top, and a contrast with"
        f" the dual needs one; choose a lower layer, or contrast=None."
    )


def no_path(value: Value) -> LayerError:
    """Return the error for a layer that the top does not depend on."""
    return LayerError(f"the class scores do not depend on layer {value.address!r}; choose another.")
