"""What one network's maps are worth: which rules they need, and whether their mass adds up."""

from __future__ import annotations

import dataclasses
import time
import warnings
from dataclasses import dataclass

import torch
from torch import nn

import excitation as eb
from excitation._forward import forward
from excitation._layers import default_place
from excitation.propagation import Record
from excitation.propagation._record import Entry
from excitation.propagation._values import Value
from excitation.propagation.operations import Activation, Affine, Average, Gated, Product, Scaled, Sum

TARGET = 3
CLOSED = 1e-4
"""How far an account may be from closing, in float32, as a fraction of the mass on top."""

HALVED = "product='halves'"
"""The policy that networks with products of two activations need."""

PAPER = frozenset({"relu", "relu6", "hardtanh", "clamp", "threshold", "sigmoid", "tanh", "elu", "selu", "celu"}
                  | {"softplus", "hardsigmoid", "softmax", "log_softmax", "local_response_norm", "dropout"}
                  | {"contiguous", "clone", "detach", "alias", "feature_dropout", "lift_fresh"})  # fmt: skip
"""Activations the paper's rules cover: bounded from below (Eq. 5), normalised by neighbours (Sec. 3.4), or none."""


@dataclass(frozen=True)
class Row:
    """One line of the support table.

    Attributes:
        status: `"exact"` (the paper's rules only), `"extended"`, `"refused"`; `"wrong"`: the account does not close.
        notes: what it needs beyond the paper, or why it is refused.
        parameters: their number.
        middle_layer: where the map in the middle is taken: the last cut at stride 16 or the nearest to it.
        top: mass of the signal; here and below the mean over images.
        middle: mass on the middle layer.
        bottom: mass on the pixels.
        lost: mass that ended above the pixels, at winners without a normaliser.
        spread: mass on the pixels under `Policies(normaliser="spread")`, which loses none.
        seconds: for one map at the pixels, forward pass and account included.
        replay: whether the record, replayed on other pictures, gives the network's own answers: `"agrees"`, or why not.
    """

    status: str
    notes: list[str]
    parameters: int
    middle_layer: str = ""
    top: float | None = None
    middle: float | None = None
    bottom: float | None = None
    lost: float | None = None
    spread: float | None = None
    seconds: float | None = None
    replay: str = ""


def measure(model: nn.Module, images: torch.Tensor) -> Row:
    """Explain a network's pictures and look at the account.

    Args:
        model: in evaluation mode.
        images: `(image, 3, height, width)`.
    """
    count = sum(parameter.numel() for parameter in model.parameters())
    replay = _replayed(model, images)
    try:
        record = forward(model, images, None)
    except eb.UnsupportedOperationError as error:
        return Row("refused", [str(error)], count, replay=replay)
    beyond, layer = beyond_the_paper(record), default_place(record).name
    del record  # the activations of a large network
    # By itself the engine refuses products of two activations.
    policies = eb.Policies(product="halves" if HALVED in beyond else "refuse")
    spreading = dataclasses.replace(policies, normaliser="spread")
    with warnings.catch_warnings():
        warnings.simplefilter("error", eb.BypassWarning)  # a layer in the middle that all evidence passes
        middle = eb.audit(model, images, [TARGET], layer=layer, policies=policies)
        start = time.perf_counter()
        bottom = eb.audit(model, images, [TARGET], layer="input", policies=policies)
        seconds = time.perf_counter() - start
        spread = eb.audit(model, images, [TARGET], layer="input", policies=spreading)
    closed = all(
        float(account.residue.abs().max()) < CLOSED
        and float(account.negative.abs().max()) == 0
        and float(account.round.abs().max()) == 0
        and float(account.lost.min()) > -CLOSED
        for account in (middle, bottom, spread)
    )
    return Row(
        "wrong" if not closed else "extended" if beyond else "exact",
        beyond,
        count,
        layer,
        *(float(mass.mean()) for mass in (bottom.top, middle.here, bottom.here, bottom.lost, spread.here)),
        round(seconds, 3),
        replay,
    )


def _replayed(model: nn.Module, images: torch.Tensor) -> str:
    """What `verify` says of a network."""
    try:
        found = eb.verify(model, images)
    except eb.ExcitationError as error:
        return f"refused: {error}"
    return found.reason or "agrees"


def beyond_the_paper(record: Record) -> list[str]:
    """What a network needs beyond the rules of Zhang et al., above its first weighted operation.

    Pixels of both signs are left out: every preprocessing that subtracts a mean makes them.
    """
    assert record.top is not None
    above = record.ancestors(record.top)
    made = {value.serial: entry for entry in record.entries for value in entry.outputs}
    found = set()
    for entry in record.entries:
        if any(value.serial in above for value in entry.outputs) and any(value.weighted for value in entry.carriers):
            found.add(_beyond(entry, made.get(entry.carriers[0].serial)))
    return sorted(note for note in found if note)


def _beyond(entry: Entry, below: Entry | None) -> str:
    operation = entry.operation
    if isinstance(operation, Gated):
        return "gates"
    if isinstance(operation, Product):
        return HALVED
    if isinstance(operation, Sum):
        return "residual sums"
    if isinstance(operation, Activation):
        return "" if entry.name in PAPER else f"{entry.name}"
    if isinstance(operation, Scaled):
        if entry.name == "batch_norm":
            folded = below is not None and isinstance(below.operation, Affine)
            return "" if folded else "batch norm apart from a convolution"
        return f"{entry.name}" if entry.name.endswith("norm") else "scaling"
    if isinstance(operation, (Affine, Average)):
        if entry.name in {"interpolate", "upsample"}:
            return "interpolation"
        if _signed(entry.inputs[0], operation.input):
            return "signed neurons"
    return ""


def _signed(value: Value, activations: torch.Tensor) -> bool:
    bounded = isinstance(value.lower, torch.Tensor) or value.lower > float("-inf")
    return not bounded and bool((activations < 0).any())
