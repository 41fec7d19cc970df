"""Selects the step that propagates reach probabilities through an operation."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .._record import Entry, Record
from .._sweep import computing, sweep
from .._values import Value
from ..operations import Activation, Affine, Arrangement, Average, Gated, Operation, Scaled, Sum, Winner
from ..rules import ExcitationRules, Signal, transitions
from ._neurons import Chosen, Moved, Same, Shared, negative
from ._steps import Step
from ._weighted import Averaged, Overall, Weighted

Choice = Callable[[Entry, ExcitationRules], type[Step]]
"""From an operation of a family, under some rules, to its step."""

CHOICES: dict[type[Operation], Choice] = {}
"""By family. A family that is not here, nor derived from one that is, has the general step."""


def step_for(entry: Entry, rules: ExcitationRules, like: torch.Tensor) -> Step:
    """Return the step of an operation, or the general step if there is no special one."""
    kind: type[Step] = Step
    if not rules.singled_out(entry):  # otherwise the shares depend on the position of the operation
        choose = next((CHOICES[base] for base in type(entry.operation).__mro__ if base in CHOICES), None)
        kind = Step if choose is None else choose(entry, rules)
    return kind(entry, rules, like)


def _chooses(*families: type[Operation]) -> Callable[[Choice], Choice]:
    def register(choice: Choice) -> Choice:
        CHOICES.update(dict.fromkeys(families, choice))
        return choice

    return register


@_chooses(Affine)
def _affine(entry: Entry, rules: ExcitationRules) -> type[Step]:
    operation = entry.operation
    assert isinstance(operation, Affine)
    return Weighted if rules.policies.normaliser == "lose" and operation.apart else Step


@_chooses(Average)
def _average(entry: Entry, rules: ExcitationRules) -> type[Step]:
    operation = entry.operation
    assert isinstance(operation, Average)
    if rules.policies.normaliser != "lose" or not operation.apart:
        return Step
    return Overall if operation.overall else Averaged if operation.reach is not None else Weighted


@_chooses(Winner)
def _winner(entry: Entry, rules: ExcitationRules) -> type[Step]:  # noqa: ARG001
    assert isinstance(entry.operation, Winner)
    return Chosen if entry.operation.reach is not None and entry.inputs[0].valid is None else Step


@_chooses(Arrangement)
def _arrangement(entry: Entry, rules: ExcitationRules) -> type[Step]:  # noqa: ARG001
    assert isinstance(entry.operation, Arrangement)
    return Moved if entry.operation.pointwise else Step


@_chooses(Sum)
def _sum(entry: Entry, rules: ExcitationRules) -> type[Step]:  # noqa: ARG001
    operation = entry.operation
    assert isinstance(operation, Sum)
    shapes = {term.shape for term in operation.terms}
    return Shared if shapes == {entry.outputs[0].shape} and all(sign > 0 for sign in operation.signs) else Step


@_chooses(Scaled, Gated)
def _neuron_by_neuron(entry: Entry, rules: ExcitationRules) -> type[Step]:
    operation = entry.operation
    assert isinstance(operation, (Scaled, Gated))
    factor = negative(operation, rules)
    even = factor is None or all(size == 1 for size in factor.shape[-2:])
    return Same if operation.shape == entry.outputs[0].shape and even else Step


@_chooses(Activation)
def _activation(entry: Entry, rules: ExcitationRules) -> type[Step]:  # noqa: ARG001
    return Same


def last_layer(
    record: Record, features: Value, rules: ExcitationRules, like: torch.Tensor, *, contrast: bool
) -> Signal:
    """Return the signals on the inputs of the last weighted operation, for unit signals on all classes.

    For a linear layer, they are computed directly. Other operations require a sweep.

    Args:
        record: record of the forward pass.
        features: value of the operation's inputs.
        rules: the rules for signals.
        like: tensor with the dtype and device of the signals, `(image, class)`.
        contrast: whether to subtract the signal of the dual.

    Returns:
        Signals `(polarity, class, image, feature)`.
    """
    below = record.descendants([features])
    entries = [entry for entry in record.entries if any(value.serial in below for value in entry.carriers)]
    operation = entries[0].operation
    plain = (
        isinstance(operation, Affine) and operation.matrix and operation.input.dim() == 2
        and all(isinstance(entry.operation, Activation) for entry in entries[1:])
        and rules.policies.normaliser == "lose"
    )  # fmt: skip
    if plain:
        assert isinstance(operation, Affine)
        with computing(like):
            return transitions(operation, features, rules.policies, like.dtype, contrast=contrast).transpose(1, 2)
    count = like.shape[1]
    start = torch.eye(count, dtype=like.dtype, device=like.device)[None, :, None].expand(1, -1, len(like), -1)
    (p,) = sweep(record, start, [features], rules, contrast=contrast and rules.begins_contrast)
    return p
