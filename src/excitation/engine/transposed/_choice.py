"""Which step carries reach probabilities past which operation."""

from __future__ import annotations

import torch

from .._record import Entry, Record
from .._sweep import computing, sweep
from .._values import Value
from ..operations import Activation, Affine, Arrangement, Average, Gated, Scaled, Sum, Winner
from ..rules import ExcitationRules, Signal, transitions
from ._neurons import Chosen, Moved, Same, Shared, negative
from ._steps import Step
from ._weighted import Averaged, Overall, Weighted


def step_for(entry: Entry, rules: ExcitationRules, like: torch.Tensor) -> Step:
    """The step of an operation; the general one where none of the others has its transpose."""
    operation = entry.operation
    kind: type[Step] = Step
    if rules.singled_out(entry):
        pass  # where an operation stands, and not only what it is, decides its shares
    elif isinstance(operation, (Affine, Average)):
        if rules.policies.normaliser == "lose" and operation.apart:
            kind = Weighted
            if isinstance(operation, Average):
                kind = Overall if operation.overall else Averaged if operation.reach is not None else Weighted
    elif isinstance(operation, Winner):
        if operation.reach is not None and entry.inputs[0].valid is None:
            kind = Chosen
    elif isinstance(operation, Arrangement):
        kind = Moved if operation.pointwise else Step
    elif isinstance(operation, Sum):
        shapes = {term.shape for term in operation.terms}
        if shapes == {entry.outputs[0].shape} and all(sign > 0 for sign in operation.signs):
            kind = Shared
    elif isinstance(operation, (Scaled, Gated)):
        factor = negative(operation, rules)
        even = factor is None or all(size == 1 for size in factor.shape[-2:])
        if operation.shape == entry.outputs[0].shape and even:
            kind = Same
    elif isinstance(operation, Activation):
        kind = Same
    return kind(entry, rules, like)


def last_layer(
    record: Record, features: Value, rules: ExcitationRules, like: torch.Tensor, *, contrast: bool
) -> Signal:
    """The signals on the inputs of the last weighted operation from unit signals on all classes.

    A linear layer's are written down; every other one is swept.

    Args:
        record: of the forward pass.
        features: the operation's inputs.
        rules: how signals pass.
        like: a tensor of the signals' kind and place, `(image, class)`.
        contrast: less the dual's.

    Returns:
        `(polarity, class, image, feature)`.
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
