"""Records the probability mass at each operation: mass that entered, passed, was lost, and bypassed the layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float64

from .._errors import BalanceError
from ._record import Entry
from ._values import Kind, Value
from .rules import Signal, total

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}

Mass = Float64[torch.Tensor, "image target"]


@dataclass(frozen=True)
class BalanceRow:
    """The mass that passed one operation, for each image and target.

    Attributes:
        address: `module.path:operation`.
        rule: the family of the rule.
        entered: mass on the outputs of the operation, `(image, target)` like all masses.
        passed: mass on the inputs that lead to the chosen layer.
        negative: the negative part of `passed`, zero or less.
        lost: mass that ends at the operation, measured directly: winners without a normaliser, silent winners, padding,
            and constants.
        bypassed: mass on inputs that do not lead to the chosen layer.
        residue: rounding error, `entered - passed - lost - bypassed`.
        size: the larger of the absolute mass that entered and the absolute mass that left. Compare `residue` with it.
        pending: whether the sweep forms a contrast further down.
        constants: the part of `lost` that ends in parameters and other constants, by name.
    """

    address: str
    rule: str
    entered: Mass
    passed: Mass
    negative: Mass
    lost: Mass
    bypassed: Mass
    residue: Mass
    size: Mass
    pending: bool
    constants: Mapping[str, Mass]


@dataclass
class MassRecorder:
    """Collects one row per operation, from the top down. In each row, `entered = passed + lost + bypassed`.

    Attributes:
        rows: one row for each operation; two if both active and pending signals pass it.
        nonnegative: whether all mass must be zero or more: the signal is nonnegative and the rules conserve mass.
        tolerance: allowed rounding error as a fraction of a row's `size`. It depends on the precision.
        tokens: mass on tokens of the chosen layer that are no patches of the image; `None` before the sweep has ended.
    """

    rows: list[BalanceRow] = field(default_factory=list)
    nonnegative: bool = False
    tolerance: float = 0.0
    tokens: Mass | None = None
    _lost: list[Float[torch.Tensor, "target ..."]] = field(default_factory=list)

    def lose(self, part: Float[torch.Tensor, "target ..."]) -> None:
        """Add mass that ends at the operation of the next row, on neurons of its outputs or inputs."""
        self._lost.append(part)

    def enter(
        self,
        entry: Entry,
        arrived: Sequence[Signal | None],
        passed: Sequence[Signal | None],
        reached: set[int],
        *,
        pending: bool = False,
    ) -> None:
        """Add the row of one operation. Its rule must have reported the lost mass before."""
        present = [p for p in arrived if p is not None]
        self.tolerance = TOLERANCE[present[0].dtype]
        masses = [total(p, value.layout) for p, value in zip(arrived, entry.outputs, strict=True) if p is not None]
        entered = sum(masses[1:], masses[0])
        left, negative, bypass, lost = (torch.zeros_like(entered) for _ in range(4))
        known = (*entry.outputs, *entry.inputs)
        for part in self._lost:
            layout = next((value.layout for value in known if value.shape == part.shape[1:]), None)
            lost += total(part[None], layout)
        self._lost.clear()
        size, away = (
            sum((_total(p.abs(), value, entry) for p, value in side if p is not None), torch.zeros_like(entered))
            for side in (zip(arrived, entry.outputs, strict=True), zip(passed, entry.inputs, strict=True))
        )
        constants: dict[str, Mass] = {}
        for value, p in zip(entry.inputs, passed, strict=True):
            if p is None:
                continue
            if value.serial in reached:
                left += total(p, value.layout)
                negative += total(p.clamp(max=0), value.layout)
            elif value.kind is not Kind.CONSTANT:
                bypass += total(p, value.layout)
            else:
                ended = _total(p, value, entry)
                name = value.address or "unnamed constants"
                constants[name] = constants[name] + ended if name in constants else ended
                lost += ended
        row = BalanceRow(
            address=entry.address,
            rule=type(entry.operation).__name__.lower(),
            entered=entered,
            passed=left,
            negative=negative,
            lost=lost,
            bypassed=bypass,
            residue=entered - left - lost - bypass,
            size=torch.maximum(size, away),
            pending=pending,
            constants=constants,
        )
        self.rows.append(row)

    def check(self) -> None:
        """Check every row.

        Raises:
            BalanceError: a row does not balance, or mass is negative although `nonnegative` is true.
        """
        for row in self.rows:
            allowed = self.tolerance * row.size
            lines = {"passed": row.negative, "was lost": row.lost, "bypassed": row.bypassed} if self.nonnegative else {}
            wrong = [f"{float(mass.min()):.3g} {name}" for name, mass in lines.items() if bool((mass < -allowed).any())]
            if bool((row.residue.abs() > allowed).any()):
                at = int((row.residue.abs() - allowed).argmax())
                entered, left, lost, gone = (
                    float(mass.flatten()[at]) for mass in (row.entered, row.passed, row.lost, row.bypassed)
                )
                wrong.append(
                    f"{entered:.6g} entered, but {left:.6g} passed, {lost:.3g} was lost and {gone:.3g} bypassed"
                )
            if wrong:
                raise BalanceError(
                    f"the mass at {row.address!r} (rule {row.rule!r}) does not balance: {'; '.join(wrong)}. This is a"
                    f" bug in the rules, so the map is not reliable; please report it with the network."
                )


def _total(p: Signal, value: Value, entry: Entry) -> Mass:
    """Return the mass on an operand or a result. A constant has the image axis of the result."""
    layout = value.layout if value.layout is not None else entry.outputs[0].layout
    return total(p, layout if layout is not None and len(layout) == len(value.shape) else None)
