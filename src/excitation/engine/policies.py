"""The choices Excitation Backprop leaves open, as named values."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

import torch

from .._checks import check_choice, check_number
from .._errors import ExcitationError


@dataclass(frozen=True)
class Policies:
    """How signals pass where the paper is silent or its program departs from it.

    Attributes:
        residual: how a sum of branches shares its signal.
            `"proportional"`: by the branches' parts of the sum's sign, halves if all parts are zero; conserves mass.
            `"branch"`: all to the branch with more weighted operations of its own (the residual branch).
            `"original"`: `a / (a + b)` with signs, zero where the sum is zero; does not conserve mass.
        batch_norm: batch normalisation and other scaling by learned numbers.
            `"fold"`: a channel with a negative scale swaps raised and lowered, as if folded into the weights before it;
            `"copy"`: the signal is copied whatever the sign, as the original program does.
        normaliser: what happens to a winner without excitatory active inputs (`Z = 0` in Eq. 4).
            `"lose"`: its mass ends there, and the balance reports it; `"spread"`: its inputs' activations are replaced
            by one, then, if it has no excitatory weight at all, the mass is spread evenly.
        threshold: of convolutions with kernels of several positions: normalisers up to this fraction of what their
            output channel could attain (the image's largest input times the sum of the channel's excitatory weights)
            count as zero. `None` chooses 0 for float64, and 1e-6 below it, where fast convolutions leave noise in
            place of zeros. Other operations have exact zeros and no threshold.
        signed: how neurons of both signs act as inputs of a weighted operation (the paper assumes non-negative ones).
            `"polarity"`: each is two rectified neurons, `max(x, 0)` and `max(-x, 0)`, between which all weights are
            non-negative, so Eq. 4 holds exactly; `"original"`: Eq. 4 with the raw values, as the original program;
            average pooling then passes only windows with a positive sum.
        bounded: inputs bounded from below by a number under zero (tanh, ELU). `"shift"`: Eq. 5, activations counted
            from their minimum; `"original"`: as signed neurons.
        product: of two activations, neither of them a gate. `"refuse"`: which one a winner chose is open, so there is
            no map; `"halves"`: each takes half.

    Raises:
        ExcitationError: a value that is none of these.
    """

    residual: Literal["proportional", "branch", "original"] = "proportional"
    batch_norm: Literal["fold", "copy"] = "fold"
    normaliser: Literal["lose", "spread"] = "lose"
    threshold: float | None = None
    signed: Literal["polarity", "original"] = "polarity"
    bounded: Literal["shift", "original"] = "shift"
    product: Literal["refuse", "halves"] = "refuse"

    def __post_init__(self) -> None:
        for name, choices in _choices().items():
            value = getattr(self, name)
            if name != "threshold":
                check_choice(f"policy {name}", value, choices)
            elif value is not None:
                meant = "a fraction of what a normaliser can attain, 0 <= t < 1,"
                check_number("policy threshold", value, meant, least=0)
                if value >= 1:
                    raise ExcitationError(f"policy threshold is {value!r}; {meant} is expected.")

    @classmethod
    def original(cls, *, residual: Literal["branch", "original"] = "original") -> Policies:
        """The policies of the method's original program, for comparing with its numbers.

        Args:
            residual: its last version shares signed sums (`"original"`), its notes describe `"branch"`.
        """
        return cls(residual=residual, batch_norm="copy", normaliser="lose", threshold=0.0, signed="original",
                   bounded="original")  # fmt: skip

    @property
    def conserves(self) -> bool:
        """Whether no rule makes mass, or mass below zero: not so under the original's signed shares."""
        return self.signed == "polarity" and self.residual != "original"

    def zero_threshold(self, dtype: torch.dtype) -> float:
        """The relative threshold in force for sweeps in `dtype`."""
        if self.threshold is not None:
            return self.threshold
        return 0.0 if dtype == torch.float64 else 1e-6


def policies_or_default(policies: object) -> Policies:
    """The policies a caller gave; `Policies()` for `None`.

    Raises:
        ExcitationError: something else than `Policies` was given.
    """
    if policies is None:
        return Policies()
    if not isinstance(policies, Policies):
        raise ExcitationError(
            f"policies are {policies!r}, a {type(policies).__name__}; excitation.Policies(...) are expected, such as"
            " Policies(residual='branch')."
        )
    return policies


@functools.cache
def _choices() -> dict[str, tuple[object, ...]]:
    """The values each policy can have, by name; worked out once, as every call has policies."""
    return {name: get_args(hint) for name, hint in get_type_hints(Policies).items()}
