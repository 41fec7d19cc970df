"""`audit`: the account of probability mass on the way from the top to a layer."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from rich.console import Console
from rich.table import Table

from ._errors import BalanceError, ExcitationError
from ._explain import Contrast, answered, sweep_down
from ._forward import OutputChoice
from ._layers import Layer
from .networks._loaded import LoadedModel
from .propagation import AccountRow, Images, Policies
from .signals import Reading, Target

Mass = Float64[torch.Tensor, "image target"]


@dataclass(frozen=True)
class Audit:
    """Where the mass of each image and target went.

    `top = here + lost + round` up to rounding: at any cut of the network, what is there and what was lost above it
    make up the mass on top.

    Attributes:
        layer: where the map was taken.
        rows: operations from the top down, each with `entered = left + lost + round + residue`.
        top: mass of the top-down signal (zero for contrasts).
        here: mass on the layer.
        lost: mass that ended above it, at winners without a normaliser, in padding or on constants.
        round: mass that passed it by on other branches.
        negative: the part of the mass on the layer that is below zero.
        whole: whether nothing can pass the layer by.
    """

    layer: str
    rows: tuple[AccountRow, ...]
    top: Mass
    here: Mass
    lost: Mass
    round: Mass
    negative: Mass
    whole: bool

    @property
    def share(self) -> Mass:
        """The layer's part of the mass on top; 1 where everything arrives, NaN where the mass on top is zero."""
        return self.here / torch.where(self.top == 0, torch.nan, self.top)

    @property
    def residue(self) -> Mass:
        """What does not balance: rounding errors."""
        return self.top - self.here - self.lost - self.round

    def __str__(self) -> str:
        """The account as a table; with several images and targets, the mean over them."""
        columns = ("in", "out", "negative", "lost", "round", "residue")
        table = Table("operation", "rule", *columns, box=None, pad_edge=False)
        for column in table.columns[2:]:
            column.justify = "right"
        for row in self.rows:
            cells = (row.entered, row.left, row.negative, row.lost, row.round, row.residue)
            table.add_row(row.address, row.rule, *(_number(cell) for cell in cells))
        text = io.StringIO()
        console = Console(file=text, width=160, color_system=None, highlight=False, markup=False)
        console.print(table)
        kind = "all evidence passes it" if self.whole else "one arm of the network"
        console.print(
            f"layer {self.layer} ({kind}): mass on top {_number(self.top)} = here {_number(self.here)}"
            f" + lost {_number(self.lost)} + round {_number(self.round)}"
        )
        return text.getvalue().rstrip()


def audit(
    model: torch.nn.Module | LoadedModel,
    images: Images,
    targets: Target | Sequence[Target] | Sequence[Sequence[Target]],
    *,
    layer: Layer | None = None,
    contrast: Contrast = None,
    signal: Reading = "response",
    policies: Policies | None = None,
    class_names: Sequence[str] | None = None,
    output: OutputChoice = None,
    constants: Sequence[str] = (),
) -> Audit:
    """The account of probability mass, operation by operation, from the top to a layer.

    Takes the arguments of `explain`, with one layer. Costs one sweep with all branches followed. What is lost is
    measured where it is lost, so that the account can fail to balance.

    Returns:
        The account, in double precision; printing it gives a table.

    Raises:
        BalanceError: it does not balance beyond rounding, at an operation or over all.
        ExcitationError: as `explain`.

    Warns:
        As `explain`.
    """
    if isinstance(layer, (list, tuple)):
        raise ExcitationError("audit follows the mass to one layer; call it once for each.")
    found = sweep_down(
        model, images, targets, layer=layer, contrast=contrast, signed=True, signal=signal, policies=policies,
        class_names=class_names, output=output, constants=constants, account=True,
    )  # fmt: skip
    result = answered(found)
    ((name, attention),) = result.maps.items()
    account = result.account
    assert account is not None
    account.check()
    rows = tuple(account.rows)
    zero = torch.zeros_like(result.top)
    here = attention.double().flatten(2).sum(2)
    top = result.top if contrast is None else zero
    # What is lost before a contrast with the dual is formed is no part of it.
    counted = [row for row in rows if not row.pending]
    made = Audit(
        layer=name,
        rows=rows,
        top=top,
        here=here,
        lost=sum((row.lost for row in counted), zero),
        round=sum((row.round for row in counted), zero),
        negative=attention.double().clamp(max=0).flatten(2).sum(2),
        whole=result.whole[name],
    )
    size = max((float(row.size.max()) for row in rows), default=0.0)
    if isinstance(contrast, str | None) and float(made.residue.abs().max()) > len(rows) * account.tolerance * size:
        raise BalanceError(
            f"the account of layer {name!r} does not balance: {_number(made.top)} on top, but {_number(made.here)}"
            f" here, {_number(made.lost)} lost and {_number(made.round)} gone round: mass disappeared between"
            " operations. This is a fault of the engine; please report it with the network."
        )
    return made


def _number(mass: torch.Tensor) -> str:
    value = float(mass.mean())
    return "0" if value == 0 else f"{value:.4f}" if abs(value) >= 5e-5 else f"{value:.0e}"
