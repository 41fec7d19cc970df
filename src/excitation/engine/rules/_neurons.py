"""Rules for element-wise operations."""

from __future__ import annotations

import torch

from ..._errors import UnsupportedOperationError
from ..operations import Gated, Magnitude, Product, Scaled
from ..policies import Policies
from ._signals import Signal, reduced_to, swapped, with_both


def activation(p: Signal) -> Signal:
    """`activation`: `P(a_j) = P(f(a_j))`. All signal passes to the only input.

    This rule applies to ReLU, sigmoid, tanh, ELU, softmax over scores, and dropout in evaluation mode. It also applies
    to local response normalisation, as a function of its own neuron only (Sec. 3.4).
    """
    return p


def scaled(p: Signal, operation: Scaled, policies: Policies) -> Signal:
    """`scaled`: `P(a_j) = P(g a_j + c)`. Where `g < 0`, raised and lowered neurons are swapped.

    For batch normalisation and other scaling by learned numbers, the result equals that of folding the scale into the
    weights below: a positive scale cancels in Eq. 4, and a negative scale negates the weights of the channel. The
    policy `batch_norm="copy"` ignores the signs of such scales, as in the original program.
    """
    return reduced_to(_by_sign(p, signed_factor(operation, policies)), operation.shape)


def signed_factor(operation: Scaled | Gated, policies: Policies) -> torch.Tensor | float:
    """Return a number or tensor that is negative where an operation swaps raised and lowered neurons."""
    if isinstance(operation, Scaled) and operation.learned and policies.batch_norm == "copy":
        return 1.0
    return operation.factor


def magnitude(p: Signal, operation: Magnitude) -> Signal:
    """`magnitude`: `P(a_j) = P(|a_j|)`. Where `a_j < 0`, raised and lowered neurons are swapped.

    Beyond the paper: all signal passes to the only input.
    """
    return _by_sign(p, operation.input)


def gated(p: Signal, operation: Gated) -> Signal:
    """`gated`: `P(a_j) = P(g a_j)`. All signal passes to the gated operand, none to the gate (beyond the paper).

    The gate controls how much of the other operand passes, like max pooling and ReLU. A negative gate swaps raised and
    lowered neurons. In a division by a statistic, all signal passes to the dividend.
    """
    return reduced_to(_by_sign(p, operation.factor), operation.shape)


def to_operand(p: Signal, operation: Gated) -> list[Signal | None]:
    """Return the signals of both operands: `p` on the gated one, none on the gate."""
    return [p, None] if operation.place == 0 else [None, p]


def product(p: Signal, operation: Product, policies: Policies) -> list[Signal]:
    """`product`: `P(a) = P(b) = P(a b) / 2` with the policy `product="halves"`, else refused (beyond the paper).

    Both factors contribute equally, because `d log(a b) = d log a + d log b` (the uniform rule of Achtibat et al.,
    "AttnLRP", ICML 2024, Sec. 3.3). Where the other factor is negative, raised and lowered neurons are swapped.

    Raises:
        UnsupportedOperationError: the policy is `product="refuse"`, the default.
    """
    if policies.product == "refuse":
        which = "both of them gates" if operation.gates else "neither of them a gate"
        raise UnsupportedOperationError(
            f"{operation.where}: it multiplies two activations, {which}, so it is ambiguous which one wins. Choose a"
            " layer above it, or let each take half with Policies(product='halves')."
        )
    a, b = operation.factors
    half = p / 2
    return [reduced_to(_by_sign(half, b), a.shape), reduced_to(_by_sign(half, a), b.shape)]


def _by_sign(p: Signal, factor: torch.Tensor | float) -> Signal:
    """Return the signal with swapped polarities where a factor is negative."""
    if not isinstance(factor, torch.Tensor):
        return swapped(p) if factor < 0 else p
    if factor.device.type == "cpu" and not bool((factor < 0).any()):
        return p
    p = with_both(p)
    return torch.where((factor < 0).to(p.device), p.flip(0), p)
