"""The balance of probability mass on the way from the top to a layer."""

from __future__ import annotations

import io
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from rich.console import Console
from rich.table import Table

from .._errors import BalanceError, ExcitationError
from ..core import Settings, Targets, make_request
from ..engine import BalanceRow, Images, MassRecorder
from ..methods import find_method
from ..models import LoadedModel

Mass = Float64[torch.Tensor, "image target"]


@dataclass(frozen=True)
class MassBalance:
    """Where the mass of each image and target went.

    `top = arrived + lost + bypassed` up to rounding: at any cut of the network, what arrived there and what was lost
    above it make up the mass on top.

    Attributes:
        layer: where the map was taken.
        rows: operations from the top down, each with `entered = passed + lost + bypassed + residue`.
        top: mass of the top-down signal (zero for contrasts).
        arrived: mass on the layer.
        lost: mass that ended above it, at winners without a normaliser, in padding or on constants.
        bypassed: mass that passed it by on other branches.
        negative: the part of the mass on the layer that is below zero.
        is_cut: whether all evidence passes the layer.
    """

    layer: str
    rows: tuple[BalanceRow, ...]
    top: Mass
    arrived: Mass
    lost: Mass
    bypassed: Mass
    negative: Mass
    is_cut: bool

    @property
    def share(self) -> Mass:
        """The layer's part of the mass on top; 1 where everything arrives, NaN where the mass on top is zero."""
        return self.arrived / torch.where(self.top == 0, torch.nan, self.top)

    @property
    def residue(self) -> Mass:
        """What does not balance: rounding errors."""
        return self.top - self.arrived - self.lost - self.bypassed

    def __str__(self) -> str:
        """The balance as a table; with several images and targets, the mean over them."""
        columns = ("in", "out", "negative", "lost", "bypassed", "residue")
        table = Table("operation", "rule", *columns, box=None, pad_edge=False)
        for column in table.columns[2:]:
            column.justify = "right"
        for row in self.rows:
            cells = (row.entered, row.passed, row.negative, row.lost, row.bypassed, row.residue)
            table.add_row(row.address, row.rule, *(_number(cell) for cell in cells))
        text = io.StringIO()
        console = Console(file=text, width=160, color_system=None, highlight=False, markup=False)
        console.print(table)
        kind = "all evidence passes it" if self.is_cut else "one arm of the network"
        console.print(
            f"layer {self.layer} ({kind}): mass on top {_number(self.top)} = arrived {_number(self.arrived)}"
            f" + lost {_number(self.lost)} + bypassed {_number(self.bypassed)}"
        )
        return text.getvalue().rstrip()


def measure_balance(
    model: torch.nn.Module | LoadedModel, images: Images, targets: Targets, settings: Settings
) -> MassBalance:
    """The balance of mass for one layer, as `Explainer.balance` describes it.

    Raises:
        BalanceError: it does not close beyond rounding.
        ExcitationError: several layers, or a method without mass.
    """
    if settings.layers is not None and len(settings.layers) > 1:
        raise ExcitationError("a balance follows the mass to one layer; ask for each by itself.")
    method = find_method(settings.method)
    options = dict(settings.options)
    if "signed" in method.options and (method.name != "mwp" or options.get("against") is not None):
        options["signed"] = True
    recorder = MassRecorder()
    unchecked = method.sweep(make_request(model, images, targets, settings), options, recorder)
    result = unchecked.validate()
    if len(result.by_layer) > 1:
        raise ExcitationError("a balance follows the mass to one layer; name one of several inputs.")
    recorder.check()
    rows = tuple(recorder.rows)
    assert result.top is not None
    zero = torch.zeros_like(result.top)
    arrived = result.maps.double().flatten(2).sum(2)
    contrast = unchecked.checks[0].contrast
    # What is lost before a contrast with the dual is formed is no part of it.
    counted = [row for row in rows if not row.pending]
    made = MassBalance(
        layer=result.layer,
        rows=rows,
        top=zero if contrast else result.top,
        arrived=arrived,
        lost=sum((row.lost for row in counted), zero),
        bypassed=sum((row.bypassed for row in counted), zero),
        negative=result.maps.double().clamp(max=0).flatten(2).sum(2),
        is_cut=result.is_cut[result.layer],
    )
    size = max((float(row.size.max()) for row in rows), default=0.0)
    if contrast != "target" and float(made.residue.abs().max()) > len(rows) * recorder.tolerance * size:
        raise BalanceError(
            f"the mass at layer {made.layer!r} does not balance: {_number(made.top)} on top, but"
            f" {_number(made.arrived)} arrived, {_number(made.lost)} lost and {_number(made.bypassed)} bypassed: mass"
            " disappeared between operations. This is a fault of the engine; please report it with the network."
        )
    return made


def _number(mass: torch.Tensor) -> str:
    value = float(mass.mean())
    return "0" if value == 0 else f"{value:.4f}" if abs(value) >= 5e-5 else f"{value:.0e}"
