"""Why calls are refused whatever rules there are: the sentences of the recording."""

from __future__ import annotations

from .._errors import UnsupportedOperationError


def no_rule(where: str, foreign: str) -> UnsupportedOperationError:
    """A function without a reader.

    Args:
        where: the function and its place.
        foreign: what it is, if it is none of PyTorch's own functions.
    """
    if foreign:
        return UnsupportedOperationError(
            f"{where} {foreign}, and has no rule. Replace it in the model by PyTorch's own operations, or choose a"
            " layer above it."
        )
    return UnsupportedOperationError(
        f"{where} carries information and has no rule. Choose a layer above it, replace it in the model by supported"
        " operations, or ask for a rule."
    )


def no_neurons(where: str) -> UnsupportedOperationError:
    """Whole numbers and masks, which may steer the network but not add to it."""
    return UnsupportedOperationError(
        f"{where} makes whole numbers or a mask, which become activations again further up, where no signal can follow."
        " Choose a layer above that, or replace it in the model."
    )


def several_in_place(where: str) -> UnsupportedOperationError:
    """Writing into other things than one tensor."""
    return UnsupportedOperationError(
        f"{where} writes into several tensors in place, which the recording cannot undo; use the form that makes new"
        " tensors."
    )


def other_view(where: str, changed: str) -> UnsupportedOperationError:
    """Reading a tensor whose memory another view has changed."""
    return UnsupportedOperationError(
        f"{where} reads a tensor that shares memory with one changed in place by {changed}; use the form that makes a"
        " new tensor there."
    )


def not_while_recorded(where: str, error: Exception) -> UnsupportedOperationError:
    """What works by itself and fails under the recording."""
    return UnsupportedOperationError(
        f"{where} works by itself but not while it is recorded ({type(error).__name__}:"
        f" {str(error).partition(chr(10))[0]}); replace it in the model by plain torch operations, or explain the part"
        " of the model above it."
    )
