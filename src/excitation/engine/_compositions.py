"""Finds sums and averages that have linear compositions among their inputs: nested sums, and sums of class scores.

A sum of sums counts as one sum. A linear operation above the last weighted operation is part of this operation. The
contribution of an operand therefore depends on the neurons it is composed of, not on its own sign. The same holds for
results of other weighted operations where the sum is silent, because nothing else can raise the sum
(docs/reference/rules.md).
"""

from __future__ import annotations

import torch

from ._bounds import alike
from ._record import Composition, Entry, Fold, Record
from ._values import Kind, Value, counted_from_a_bound
from .operations import (
    Activation,
    Affine,
    Arrangement,
    Average,
    GatedAverage,
    Operation,
    PowerAverage,
    Scaled,
    Selection,
    Sum,
)

LINEAR = frozenset({Affine, Sum, Average, GatedAverage, Scaled, Arrangement})
"""The families of operations that are linear, or are where something in them is fixed."""


def mark(record: Record) -> bool:
    """Mark each operation: whether it lies above the last weighted operation, and which compositions it sums.

    Args:
        record: a record with `top` and `scores`. Its entries are modified in place.

    Returns:
        Whether complete marks require a record that begins at the images.
    """
    entries, below, users = _walked_down(record)
    known: dict[int, Composition | None] = {}
    every: dict[int, Composition] = {}
    cut: set[int] = set()  # depends on something that is not in the record
    made: set[int] = set()
    open_ends = False
    for entry in entries:
        operation = entry.operation
        made.update([value.serial for value in entry.outputs])
        if operation.weighted:
            own = every[entry.outputs[0].serial] = Composition(entry, 0, (), scores=entry.above)
            if entry.above:
                known[entry.outputs[0].serial] = own
            continue
        if not _linear(operation):
            continue
        sums = isinstance(operation, (Sum, Average)) and not _chooses(entry)
        # A sum can be above zero even if all its terms have their smallest activations.
        entry.wakes = entry.wakes or (sums and any(map(counted_from_a_bound, entry.inputs)))
        parts: list[Composition | None] = []
        inner: list[Composition | None] = []
        for value in entry.inputs:
            counted = value.serial in below and users.get(value.serial) != 1
            part = None if counted else known.get(value.serial)
            parts.append(part)
            inner.append(None if counted else every.get(value.serial))
            if not counted and (value.serial in cut or (value.serial not in made and _may_be_one(value))):
                cut.update([output.serial for output in entry.outputs])
                open_ends = open_ends or (sums and entry.wakes)
            unknown = not counted and (value.serial not in made or (value.serial in known and part is None))
            if unknown and (value.serial in known or _may_be_one(value, counted=value.serial in below)):
                # The record begins here or omits operations: it does not contain the inputs of this value.
                open_ends = open_ends or sums
                known.update(dict.fromkeys([output.serial for output in entry.outputs]))
        present = [part for part in parts if part is not None]
        within = any(part is not None for part in inner)
        if sums and within:
            entry.silent = tuple(inner)
        if sums or within:
            for place, value in enumerate(entry.outputs):
                every[value.serial] = Composition(entry, place, tuple(inner), scores=False)
        if sums and present:
            entry.fold = Fold(tuple(parts), any(part.scores for part in present))
        if (sums and not _counts_alone(entry.outputs[0])) or (present and not sums):
            scores = any(part.scores for part in present)
            for place, value in enumerate(entry.outputs):
                known[value.serial] = Composition(entry, place, tuple(parts), scores)
    _mark_silent(record, entries)
    return open_ends


def _walked_down(record: Record) -> tuple[list[Entry], set[int], dict[int, int]]:
    """Return the operations below the top, the values below a weighted operation, and the use count of each value."""
    assert record.top is not None
    leads, below, users = {record.top.serial}, set[int](), dict[int, int]()
    waking = {record.top.serial}
    entries = []
    for entry in reversed(record.entries):
        reached = hidden = False
        for value in entry.outputs:
            if value.serial in leads:
                reached = True
                hidden = hidden or value.serial in below
                entry.wakes = entry.wakes or value.serial in waking
        if not reached:
            continue
        entries.append(entry)
        entry.above = not hidden
        hidden = hidden or entry.operation.weighted
        for serial in {value.serial for value in entry.carriers}:
            leads.add(serial)
            users[serial] = users.get(serial, 0) + 1
            if hidden:
                below.add(serial)
            if _wakes(entry):
                waking.add(serial)
    if record.top.serial in users:
        users[record.top.serial] += 1
    return entries[::-1], below, users


def _wakes(entry: Entry) -> bool:
    """Whether an operation can pass a signal to silent inputs, under `normaliser="lose"`.

    Weighted operations and averages pass no signal to silent inputs. A function or scale that maps zero to zero passes
    a signal to silent inputs if its results have a signal although they are silent, or if its results do not count from
    zero.
    """
    operation = entry.operation
    if isinstance(operation, (Affine, Average)):
        return False
    if isinstance(operation, Scaled):
        return entry.wakes or operation.exact is None or operation.shifts
    if isinstance(operation, Activation):
        return entry.wakes or operation.sign != 1 or counted_from_a_bound(entry.outputs[0])
    return entry.wakes or (isinstance(operation, Selection) and operation.shares)


def _linear(operation: Operation) -> bool:
    """Whether an operation is linear, with fixed factors and without learned weights."""
    if isinstance(operation, Scaled):
        return operation.gain is not None
    if isinstance(operation, Activation):
        return operation.linear
    if isinstance(operation, Arrangement):
        return operation.factor is None  # a gate does not multiply the evidence
    return isinstance(operation, (Sum, Average)) and not isinstance(operation, PowerAverage)


def _chooses(entry: Entry) -> bool:
    """Whether each result of a sum is one of its terms plus a constant: `torch.where` written with masks."""
    if not isinstance(entry.operation, Sum) or all(value.bounds.uniform for value in entry.inputs):
        return False
    constant = [torch.eq(*alike(*value.bounds)) for value in entry.inputs]
    return bool((constant[0] | constant[1].to(constant[0].device)).all())


def _counts_alone(value: Value) -> bool:
    """Whether the value of a sum is the sum of what its terms count: whether it only has raised neurons."""
    return value.nonnegative and value.bounds.silent is None


def _may_be_one(value: Value, *, counted: bool = False) -> bool:
    """Whether a value without a recorded operation can be a composition. One weighted operation counts only on top."""
    if value.kind is Kind.CONSTANT or _counts_alone(value) or (counted and value.maker is Affine):
        return False
    return value.maker in LINEAR


def _mark_silent(record: Record, entries: list[Entry]) -> None:
    """Mark the class scores that are silent: scores with the value zero, if a rectifier computed them."""
    makers = {value.serial: entry for entry in entries for value in entry.outputs}
    assert record.top is not None
    top = makers.get(record.top.serial)
    if top is None or len(top.outputs) != 1 or record.scores is None:
        return
    waiting = [top]
    while waiting:
        entry = waiting.pop()
        operation = entry.operation
        if isinstance(operation, Activation) and operation.rectifies:
            continue
        same = isinstance(operation, Arrangement) or (isinstance(operation, Activation) and operation.linear)
        if isinstance(operation, Scaled):
            same = operation.gain is not None and not operation.shifts
        below = [makers[value.serial] for value in entry.inputs if value.serial in makers]
        if not same or len(below) < len(entry.inputs):
            return
        waiting += below
    top.alive = record.scores != 0
