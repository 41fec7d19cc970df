"""The choices that Excitation Backprop leaves open, as named values."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

import torch

from .._checks import check_choice, check_number
from .._errors import ExcitationError


@dataclass(frozen=True)
class Policies:
    """Rules for cases that the paper does not specify, or in which its original program differs from it.

    Attributes:
        residual: how a sum of branches shares its signal.
            `"proportional"`: in proportion to the parts of the branches that have the sign of the sum, or in equal
            shares if all parts are zero. Conserves mass. `"branch"`: all signal goes to the branch with more weighted
            operations of its own (the residual branch). `"original"`: `a / (a + b)` with signs, zero where the sum is
            zero. Does not conserve mass.
        batch_norm: batch normalisation and other scaling by learned numbers.
            `"fold"`: a channel with a negative scale swaps raised and lowered neurons, as if the scale were folded into
            the weights below. `"copy"`: the signal is copied for either sign, as in the original program.
        normaliser: treatment of a winner without excitatory active inputs (`Z = 0` in Eq. 4).
            `"lose"`: its mass is lost, and the balance reports it. `"spread"`: the activations of its inputs are
            replaced by one; if it has no excitatory weight, its mass is divided equally among its inputs.
        threshold: relative threshold for convolutions with kernels larger than one position. Normalisers up to this
            fraction of the attainable value of their output channel count as zero. The attainable value is the largest
            input of the image times the sum of the channel's excitatory weights. `None` selects 0 for float64, and 1e-6
            for lower precision, in which fast convolutions return noise instead of zeros. Other operations return exact
            zeros and have no threshold.
        signed: treatment of inputs of a weighted operation that can have both signs (the paper assumes nonnegative
            inputs). `"polarity"`: each neuron acts as two rectified neurons, `max(x, 0)` and `max(-x, 0)`. All weights
            between them are nonnegative, so that Eq. 4 holds exactly. `"original"`: Eq. 4 with the raw values, as in
            the original program. Average pooling then passes only windows with a positive sum.
        bounded: treatment of inputs with a negative lower bound (tanh, ELU). `"shift"`: Eq. 5, activations are counted
            from their minimum. `"original"`: as signed neurons.
        product: treatment of a product of two activations that are not gates. `"refuse"`: an error, because the method
            does not define which factor a winner selects. `"halves"`: each factor receives half of the signal.

    Raises:
        ExcitationError: an argument has an unknown value.
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
        """Return the policies of the method's original program, for comparison with its results.

        Args:
            residual: `"original"` for the last version of the program, `"branch"` as described in its notes.
        """
        return cls(residual=residual, batch_norm="copy", normaliser="lose", threshold=0.0, signed="original",
                   bounded="original")  # fmt: skip

    @property
    def conserves(self) -> bool:
        """Whether no rule creates mass or negative mass. False for the signed shares of the original program."""
        return self.signed == "polarity" and self.residual != "original"

    def zero_threshold(self, dtype: torch.dtype) -> float:
        """Return the relative threshold for sweeps in `dtype`."""
        if self.threshold is not None:
            return self.threshold
        return 0.0 if dtype == torch.float64 else 1e-6


def policies_or_default(policies: object) -> Policies:
    """Return the given policies, or `Policies()` for `None`.

    Raises:
        ExcitationError: `policies` is neither `None` nor a `Policies` object.
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
    """Return the allowed values of each policy by name. The result is cached, because every call checks it."""
    return {name: get_args(hint) for name, hint in get_type_hints(Policies).items()}
