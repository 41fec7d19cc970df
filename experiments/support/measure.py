"""What one network's maps are worth: which rules they need, and whether their mass adds up."""

from __future__ import annotations

import dataclasses
import time
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import excitation as eb
from excitation.core._forward import OutputChoice, forward
from excitation.core._layers import default_place
from excitation.engine import Record
from excitation.engine._bounds import UNBOUNDED
from excitation.engine._record import Entry
from excitation.engine._values import Value
from excitation.engine.operations import (
    Activation,
    Affine,
    Average,
    Gated,
    GatedAverage,
    Magnitude,
    MixedAttention,
    PowerAverage,
    Product,
    Scaled,
    Sum,
)

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
        constants: the part of the mass under this policy that ended in parameters, such as class tokens.
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
    constants: float | None = None
    seconds: float | None = None
    replay: str = ""


def measure(model: nn.Module, images: Any, output: OutputChoice = None) -> Row:
    """Explain a network's pictures and look at the account.

    Args:
        model: in evaluation mode.
        images: `(image, channel, *space)`; several tensors for a network with several inputs.
        output: which of its outputs holds the scores.
    """
    count = sum(parameter.numel() for parameter in model.parameters())
    replay = _replayed(model, images, output)
    try:
        record = forward(model, images, None, output)
    except eb.ExcitationError as error:
        return Row("refused", [str(error)], count, replay=replay)
    beyond = beyond_the_paper(record)
    try:
        layer = default_place(record).name
    except eb.ExcitationError:  # tokens all the way: no layer but the pixels is a place
        layer = ""
    del record  # the activations of a large network
    # By itself the engine refuses products of two activations.
    policies = eb.Policies(product="halves" if HALVED in beyond else "refuse")
    spreading = dataclasses.replace(policies, normaliser="spread")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", eb.BypassWarning)  # a layer in the middle that all evidence passes
            middle = (
                eb.balance(model, images, [TARGET], layer=layer, output=output, policies=policies) if layer else None
            )
        start = time.perf_counter()
        bottom = _at_pixels(model, images, output, policies)
        seconds = time.perf_counter() - start
        spread = _at_pixels(model, images, output, spreading)
    except eb.ExcitationError as error:
        return Row("refused", [str(error)], count, layer, replay=replay)
    closed = bottom.closed and spread.closed and (middle is None or _closed(middle))
    return Row(
        "wrong" if not closed else "extended" if beyond else "exact",
        beyond,
        count,
        layer,
        bottom.top,
        None if middle is None else float(middle.arrived.mean()),
        bottom.arrived,
        bottom.lost,
        spread.arrived,
        spread.constants,
        round(seconds, 3),
        replay,
    )


@dataclass(frozen=True)
class Pixels:
    """Mass on top, on the pixels of all inputs together, lost on the way and in constants; whether they add up."""

    top: float
    arrived: float
    lost: float
    constants: float
    closed: bool


def _at_pixels(model: nn.Module, images: Any, output: OutputChoice, policies: eb.Policies) -> Pixels:
    """The account at the pixels; of several inputs, what goes round one is what arrives at the others."""
    layers = [f"input[{place}]" for place in range(len(images))] if isinstance(images, tuple) else ["input"]
    with warnings.catch_warnings():
        # Each of several inputs is one arm of the network.
        warnings.simplefilter("error" if len(layers) == 1 else "ignore", eb.BypassWarning)
        warnings.simplefilter("ignore", eb.MassLossWarning)  # the table says how much
        accounts = [
            eb.balance(model, images, [TARGET], layer=layer, output=output, policies=policies) for layer in layers
        ]
    top, lost = (float(mass.mean()) for mass in (accounts[0].top, accounts[0].lost))
    arrived = sum(float(account.arrived.mean()) for account in accounts)
    whole = len(layers) > 1 or _closed(accounts[0])
    constants = sum(float(mass.mean()) for mass in accounts[0].constants.values())
    return Pixels(top, arrived, lost, constants, whole and abs(top - arrived - lost) < CLOSED)


def _closed(account: eb.MassBalance) -> bool:
    """Whether it balances, has no mass below zero, and all of its mass comes through the layer."""
    return (
        float(account.residue.abs().max()) < CLOSED
        and float(account.negative.abs().max()) == 0
        and float(account.bypassed.abs().max()) == 0
        and float(account.lost.min()) > -CLOSED
    )


def _replayed(model: nn.Module, images: Any, output: OutputChoice) -> str:
    """What `verify` says of a network; it takes one tensor of images."""
    if isinstance(images, tuple):
        return ""
    try:
        found = eb.verify(model, images, output=output)
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
    if isinstance(operation, (GatedAverage, MixedAttention)):
        return "attention"
    if isinstance(operation, PowerAverage):
        return "power averages"
    if isinstance(operation, Magnitude):
        return "magnitudes"
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
    return value.bounds is UNBOUNDED and bool((activations < 0).any())
