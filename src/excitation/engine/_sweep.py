"""The downward sweep: carry signals over the record, from the top to the chosen layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from .._errors import LayerError
from ._account import Account
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
    account: Account | None = None,
) -> list[Signal]:
    """Carry a signal from the top to some layers.

    Args:
        record: of the forward pass; its `top` is where the signal starts.
        signal: `(1, target, *top)`.
        layers: where to read the signal off; they may lie above one another.
        rules: how signals pass operations.
        contrast: subtract the dual's signal at the last weighted operation of every path (Sec. 3.3); a function says
            of which operations' outputs it is subtracted, the first on each path.
        account: filled with the mass that passed each operation, if given.

    Returns:
        The signal at each layer: `(polarity, target, *layer)`.

    Raises:
        LayerError: no path from the top leads to a layer, or no weighted operation lies between (for `contrast`).
    """
    assert record.top is not None
    reached = record.descendants(layers)
    wanted_layers = {value.serial for value in layers}
    # Above the last weighted operation a contrast has not begun: such signals travel in a lane of their own.
    begun: dict[int, Signal] = {}
    waiting: dict[int, Signal] = {}
    begins = contrast if callable(contrast) else _weighted
    (waiting if contrast else begun)[record.top.serial] = signal
    with computing(signal):
        for entry in reversed(record.entries):
            if not any(value.serial in reached for value in entry.carriers):
                continue
            arrived = [_take(begun, value, wanted_layers) for value in entry.outputs]
            if waiting:
                early = [_take(waiting, value, wanted_layers) for value in entry.outputs]
                if begins(entry):
                    arrived = [_joined(done, new) for done, new in zip(arrived, early, strict=True)]
                else:
                    _pass(entry, early, waiting, rules, reached, account, pending=True)
            _pass(entry, arrived, begun, rules, reached, account)
    return [_found(value, begun, waiting) for value in layers]


def _pass(
    entry: Entry,
    arrived: Sequence[Signal | None],
    lane: dict[int, Signal],
    rules: Rules,
    reached: set[int],
    account: Account | None,
    *,
    pending: bool = False,
) -> None:
    """Carry what arrived at an operation to its inputs, as far as they lead to the layers."""
    if all(p is None for p in arrived):
        return
    passed = rules(entry, arrived)
    if account is not None:
        account.enter(entry, arrived, passed, reached, pending=pending)
    for value, p in zip(entry.inputs, passed, strict=True):
        if p is not None and value.serial in reached and value.kind is not Kind.CONSTANT:
            before = lane.get(value.serial)
            lane[value.serial] = p if before is None else added(before, p)


@contextmanager
def computing(like: torch.Tensor) -> Iterator[None]:
    """Where signals are carried: in their own precision, without gradients."""
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast(like.device.type, enabled=False),
    ):
        yield


def _take(lane: dict[int, Signal], value: Value, keep: set[int]) -> Signal | None:
    return lane.get(value.serial) if value.serial in keep else lane.pop(value.serial, None)


def _weighted(entry: Entry) -> bool:
    return entry.operation.weighted


def _joined(done: Signal | None, new: Signal | None) -> Signal | None:
    return done if new is None else added(done, contrasted(new))


def _found(value: Value, begun: dict[int, Signal], waiting: dict[int, Signal]) -> Signal:
    if value.serial in waiting:
        raise no_contrast(value)
    if value.serial not in begun:
        raise no_path(value)
    return begun[value.serial]


def no_contrast(value: Value) -> LayerError:
    """A layer so high that no contrast can be formed above it."""
    return LayerError(
        f"layer {value.address!r} has no weighted operation between it and the top, where a contrast with the dual"
        " could be formed; choose a lower layer, or contrast=None."
    )


def no_path(value: Value) -> LayerError:
    """A layer the top does not depend on."""
    return LayerError(f"the class scores do not depend on layer {value.address!r}; choose another.")
