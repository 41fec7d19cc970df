"""The balance of probability mass from the top to a layer."""

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
    """The balance of the mass of each image and target.

    `top = arrived + tokens + lost + bypassed` within rounding: at any cut of the network, the mass at the cut and the
    mass lost above it sum to the mass on top.

    Attributes:
        layer: name of the layer of the map.
        rows: operations from the top down, each with `entered = passed + lost + bypassed + residue`.
        top: mass of the top-down signal, `(image, target)`; zero for contrasts.
        arrived: mass at the layer, at the positions of its map.
        tokens: mass on tokens of the layer that are not patches of the image, such as class and register tokens. The
            map does not contain it.
        lost: mass that ended above the layer, at winners without a normaliser, in padding or in constants.
        bypassed: mass on branches that bypass the layer.
        negative: the negative part of the mass at the layer.
        is_cut: whether every path from the images to the scores passes through the layer.
    """

    layer: str
    rows: tuple[BalanceRow, ...]
    top: Mass
    arrived: Mass
    tokens: Mass
    lost: Mass
    bypassed: Mass
    negative: Mass
    is_cut: bool

    @property
    def share(self) -> Mass:
        """Mass at the layer divided by the mass on top: 1 if no mass was lost, NaN if the mass on top is zero."""
        return self.arrived / torch.where(self.top == 0, torch.nan, self.top)

    @property
    def residue(self) -> Mass:
        """Difference between the two sides of the balance, caused by rounding."""
        return self.top - self.arrived - self.tokens - self.lost - self.bypassed

    @property
    def constants(self) -> dict[str, Mass]:
        """The part of `lost` that ended in parameters and other constants, by name: class tokens, register tokens."""
        found: dict[str, Mass] = {}
        for row in self.rows:
            for name, mass in () if row.pending else row.constants.items():
                found[name] = found[name] + mass if name in found else mass
        return found

    def __str__(self) -> str:
        """The balance as a table, averaged over images and targets."""
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
        kind = "all evidence passes it" if self.is_cut else "one branch of the network"
        tokens = f" + on other tokens {_number(self.tokens)}" if bool(self.tokens.any()) else ""
        console.print(
            f"layer {self.layer} ({kind}): mass on top {_number(self.top)} = arrived {_number(self.arrived)}"
            f"{tokens} + lost {_number(self.lost)} + bypassed {_number(self.bypassed)}"
        )
        for name, mass in self.constants.items():
            if bool(mass.any()):
                console.print(f"of the lost mass {_number(mass)} ended in {name}")
        return text.getvalue().rstrip()


def measure_balance(
    model: torch.nn.Module | LoadedModel, images: Images, targets: Targets, settings: Settings
) -> MassBalance:
    """Measure the balance of mass for one layer, as described at `Explainer.balance`.

    Raises:
        BalanceError: the balance does not close within rounding.
        ExcitationError: several layers, or a method without mass.
    """
    if settings.layers is not None and len(settings.layers) > 1:
        raise ExcitationError("a balance is made for one layer; make one for each layer.")
    method = find_method(settings.method)
    options = dict(settings.options)
    if "signed" in method.options and (method.name != "mwp" or options.get("against") is not None):
        options["signed"] = True
    recorder = MassRecorder()
    unchecked = method.sweep(make_request(model, images, targets, settings), options, recorder)
    result = unchecked.validate()
    if len(result.by_layer) > 1:
        raise ExcitationError("a balance is made for one layer; name one of the inputs.")
    recorder.check()
    rows = tuple(recorder.rows)
    assert result.top is not None
    zero = torch.zeros_like(result.top)
    arrived = result.maps.double().flatten(2).sum(2)
    contrast = unchecked.checks[0].contrast
    # Losses before the contrast with the dual is formed are not part of the contrast.
    counted = [row for row in rows if not row.pending]
    made = MassBalance(
        layer=result.layer,
        rows=rows,
        top=zero if contrast else result.top,
        arrived=arrived,
        tokens=zero if recorder.tokens is None else recorder.tokens,
        lost=sum((row.lost for row in counted), zero),
        bypassed=sum((row.bypassed for row in counted), zero),
        negative=result.maps.double().clamp(max=0).flatten(2).sum(2),
        is_cut=result.is_cut[result.layer],
    )
    size = max((float(row.size.max()) for row in rows), default=0.0)
    if contrast != "target" and float(made.residue.abs().max()) > len(rows) * recorder.tolerance * size:
        raise BalanceError(
            f"the mass at layer {made.layer!r} does not balance: {_number(made.top)} on top, but"
            f" {_number(made.arrived)} arrived, {_number(made.tokens)} is on other tokens, {_number(made.lost)} lost"
            f" and {_number(made.bypassed)} bypassed: mass disappeared between operations. This is a bug in the"
            " engine; please report it with the network."
        )
    return made


def _number(mass: torch.Tensor) -> str:
    value = float(mass.mean())
    return "0" if value == 0 else f"{value:.4f}" if abs(value) >= 5e-5 else f"{value:.0e}"
