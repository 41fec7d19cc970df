"""Operations from one neuron to one neuron."""

from __future__ import annotations

import torch

from ..._errors import UnsupportedOperationError
from ..operations import Gated, Magnitude, Product, Scaled
from ..policies import Policies
from ._signals import Signal, reduced_to, swapped, with_both


def activation(p: Signal) -> Signal:
    """`activation`: `P(a_j) = P(f(a_j))`: a neuron with one input wins exactly when that input does.

    ReLU, sigmoid, tanh, ELU, softmax over scores, dropout in evaluation mode; and local response normalisation,
    whose input is taken to be its neuron alone (Sec. 3.4).
    """
    return p


def scaled(p: Signal, operation: Scaled, policies: Policies) -> Signal:
    """`scaled`: `P(a_j) = P(g a_j + c)`; where `g < 0`, what raised the output lowered the input.

    For batch normalisation and any other scaling by learned numbers this is what folding it into the weights before
    it gives: a positive scale cancels in Eq. 4, a negative one turns the channel's weights. Policy
    `batch_norm="copy"` leaves the signs of such scales out, as the original program does.
    """
    if isinstance(operation.factor, torch.Tensor) and policies.batch_norm == "copy":
        return reduced_to(p, operation.shape)
    return reduced_to(_by_sign(p, operation.factor), operation.shape)


def magnitude(p: Signal, operation: Magnitude) -> Signal:
    """`magnitude`: `P(a_j) = P(|a_j|)`: what raises `|a_j|` raises `a_j` above zero and lowers it below.

    Beyond the paper: the neuron is one input, so it wins whenever its magnitude does.
    """
    return _by_sign(p, operation.input)


def gated(p: Signal, operation: Gated) -> Signal:
    """`gated`: `P(a_j) = P(g a_j)`: all to the gated operand, none to the gate (beyond the paper).

    The gate decides how much passes, as max pooling and ReLU do, but what passes is the other operand's. A negative
    gate swaps raised and lowered. Division by a statistic passes its signal likewise, to what is divided.
    """
    return reduced_to(_by_sign(p, operation.factor), operation.shape)


def product(p: Signal, operation: Product, policies: Policies) -> list[Signal]:
    """`product`: `P(a) = P(b) = P(a b) / 2` under the policy `product="halves"`, else refused (beyond the paper).

    Neither factor decides alone: `d log(a b) = d log a + d log b`, so each has an equal part in the product (the
    uniform rule of Achtibat et al., "AttnLRP", ICML 2024, Sec. 3.3). What raised the product raised a factor if the
    other one is positive, and lowered it if that is negative.

    Raises:
        UnsupportedOperationError: under the default policy.
    """
    if policies.product == "refuse":
        which = "both of them gates" if operation.gates else "neither of them a gate"
        raise UnsupportedOperationError(
            f"{operation.where}: it multiplies two activations, {which}, so which one a winner chose is open. Choose a"
            " layer above it, or let each take half with Policies(product='halves')."
        )
    a, b = operation.factors
    half = p / 2
    return [reduced_to(_by_sign(half, b), a.shape), reduced_to(_by_sign(half, a), b.shape)]


def _by_sign(p: Signal, factor: torch.Tensor | float) -> Signal:
    """The signal through a factor: swapped where it is negative."""
    if not isinstance(factor, torch.Tensor):
        return swapped(p) if factor < 0 else p
    if factor.device.type == "cpu" and not bool((factor < 0).any()):
        return p
    p = with_both(p)
    return torch.where((factor < 0).to(p.device), p.flip(0), p)
