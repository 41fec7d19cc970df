"""Operations from one neuron to one neuron."""

from __future__ import annotations

import torch

from ..operations import Scaled
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
    factor = operation.factor
    if not isinstance(factor, torch.Tensor):
        p = swapped(p) if factor < 0 else p
    elif policies.batch_norm == "fold" and (factor.device.type != "cpu" or bool((factor < 0).any())):
        p = with_both(p)
        p = torch.where((factor < 0).to(p.device), p.flip(0), p)
    return reduced_to(p, operation.shape)
