"""The account of probability mass: what entered each operation, what left it, what was lost, what went round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float64

from ._record import Entry
from ._values import Kind
from .rules import Signal, total

Mass = Float64[torch.Tensor, "image target"]


@dataclass(frozen=True)
class AccountRow:
    """The mass that passed one operation, for each image and target.

    Attributes:
        address: `module.path:operation`.
        rule: the family the rule belongs to.
        entered: mass on its outputs.
        left: mass on those inputs that lead to the chosen layer.
        negative: the part of `left` below zero (as a number of zero or less).
        lost: mass that ended here: winners without a normaliser, padding, constants.
        round: mass on inputs that lead round the chosen layer.
    """

    address: str
    rule: str
    entered: Mass
    left: Mass
    negative: Mass
    lost: Mass
    round: Mass


@dataclass
class Account:
    """Rows from the top down; `entered = left + lost + round` in each."""

    rows: list[AccountRow] = field(default_factory=list)

    def enter(
        self, entry: Entry, arrived: Sequence[Signal | None], passed: Sequence[Signal | None], reached: set[int]
    ) -> None:  # fmt: skip
        """Add the row of one operation."""
        masses = [total(p, value.layout) for p, value in zip(arrived, entry.outputs, strict=True) if p is not None]
        entered = sum(masses[1:], masses[0])
        left, negative, bypass = (torch.zeros_like(entered) for _ in range(3))
        for value, p in zip(entry.inputs, passed, strict=True):
            if p is None:
                continue
            if value.serial in reached:
                left += total(p, value.layout)
                negative += total(p.clamp(max=0), value.layout)
            elif value.kind is not Kind.CONSTANT:
                bypass += total(p, value.layout)
        row = AccountRow(
            address=entry.address,
            rule=type(entry.operation).__name__.lower(),
            entered=entered,
            left=left,
            negative=negative,
            lost=entered - left - bypass,
            round=bypass,
        )
        self.rows.append(row)
