"""Errors for calls that a recording refuses, independent of the rules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from .._errors import UnsupportedOperationError


def no_rule(where: str, foreign: str) -> UnsupportedOperationError:
    """Return the error for a function without a reader.

    Args:
        where: the function and its module.
        foreign: description of the function if it is not part of PyTorch, else empty.
    """
    if foreign:
        return UnsupportedOperationError(
            f"{where} {foreign}, and has no rule. Replace it in the model by PyTorch's own operations, or choose a"
            " layer above it."
        )
    return UnsupportedOperationError(
        f"{where} computes activations from activations and has no rule. Choose a layer above it, replace"
        f" it in the model by supported"
        " operations, or ask for a rule."
    )


def unread(
    where: str, reader: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], error: TypeError
) -> UnsupportedOperationError:
    """Return the error for a call whose reader does not accept the arguments or fails.

    Args:
        where: the function and its module.
        reader: the reader of the function.
        args: positional arguments of the reader: the call context, then the arguments of the call.
        kwargs: keyword arguments of the reader.
        error: the exception of the reader.
    """
    try:
        inspect.signature(reader).bind(*args, **kwargs)
    except TypeError:
        given = ", ".join([type(arg).__name__ for arg in args[1:]] + [f"{key}=" for key in kwargs])
        return UnsupportedOperationError(f"{where} is called in a form without a rule: ({given}).")
    refused = UnsupportedOperationError(
        f"{where} could not be read ({error}). This is a bug in the engine; please report it with the"
        f" call. Until it is fixed, choose a layer above it, or replace it in the model."
    )
    refused.__cause__ = error
    return refused


def no_neurons(where: str, results: Sequence[torch.Tensor]) -> UnsupportedOperationError:
    """Return the error for results without neurons: integers and masks, or quantised numbers."""
    if any(tensor.is_quantized for tensor in results):
        return UnsupportedOperationError(
            f"{where} computes with quantised numbers, and the recording cannot read their operations."
            f" Explain the float model before quantisation, or choose a layer above the last quantised one."
        )
    return UnsupportedOperationError(
        f"{where} computes integers or a mask, which later become activations again; signals cannot pass"
        f" through these. Choose a layer above that, or replace it in the model."
    )


def several_in_place(where: str) -> UnsupportedOperationError:
    """Return the error for an in-place call that does not write to exactly one tensor."""
    return UnsupportedOperationError(
        f"{where} writes into several tensors in place, which the recording does not support; use the"
        f" out-of-place form."
    )


def other_view(where: str, changed: str) -> UnsupportedOperationError:
    """Return the error for the use of a tensor after a write to its memory through another view."""
    return UnsupportedOperationError(
        f"{where} reads a tensor that shares memory with one changed in place by {changed}; use the"
        f" out-of-place form there."
    )


def not_while_recorded(where: str, error: Exception) -> UnsupportedOperationError:
    """Return the error for a call that fails only during a recording."""
    return UnsupportedOperationError(
        f"{where} works outside a recording but not inside ({type(error).__name__}:"
        f" {str(error).partition(chr(10))[0]}); use plain torch operations in the model instead, or"
        f" explain the part of the model above it."
    )
