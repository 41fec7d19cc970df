"""Checks of single arguments. Each check raises an error with one sentence that names the argument."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from typing import Any

import torch

from ._errors import ExcitationError

SIDES = {1: "(length,)", 2: "(height, width)", 3: "(depth, height, width)"}
"""Meaning of the numbers in a size, by number of dimensions."""


def check_choice(what: str, value: object, choices: Collection[object]) -> None:
    """Raise an error if a value is not among the allowed choices.

    Raises:
        ExcitationError: the value is not one of `choices`.
    """
    # Compare one by one: an invalid value may be unhashable.
    if not any(isinstance(value, type(choice)) and value == choice for choice in choices):
        raise ExcitationError(f"{what} is {value!r}; choose one of {', '.join(map(repr, choices))}.")


def check_number(
    what: str,
    value: Any,
    meant: str,
    *,
    least: float | int = -math.inf,
    most: float | int = math.inf,
    whole: bool = False,
) -> None:
    """Raise an error if a value is not a finite number within a range.

    Args:
        what: name of the argument.
        value: the given value.
        meant: description of the expected value.
        least: smallest allowed number.
        most: largest allowed number.
        whole: whether the value must be an integer.

    Raises:
        ExcitationError: the value is not such a number.
    """
    number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:
        raise ExcitationError(f"{what} is {value!r}; {meant} is expected.")


def check_size(what: str, value: Any, meant: str = "(height, width)", *, dimensions: int = 2) -> tuple[int, ...]:
    """Validate a size in pixels.

    Args:
        what: name of the argument.
        value: the given value.
        meant: meaning of the numbers.
        dimensions: required number of dimensions.

    Returns:
        The size as a tuple of integers.

    Raises:
        ExcitationError: the value is not a sequence of `dimensions` positive integers.
    """
    numbers = tuple(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else ()
    good = len(numbers) == dimensions and all(
        not isinstance(number, bool) and isinstance(number, Integral) and int(number) >= 1 for number in numbers
    )
    if not good:
        raise ExcitationError(f"{what} is {value!r}; {meant} is expected, in whole numbers of pixels from 1 on.")
    return tuple(map(int, numbers))


def check_names(what: str, value: Any) -> tuple[str, ...]:
    """Validate a list of names.

    Raises:
        ExcitationError: the value is a single string, or not a list of strings.
    """
    names = tuple(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else None
    if names is None or not all(isinstance(name, str) for name in names):
        shown = repr(value) if len(repr(value)) <= 60 else f"a {type(value).__name__} with entries that are not names"
        raise ExcitationError(f"{what} is {shown}; a list of names is expected.")
    return names


def check_text(what: str, value: object, meant: str) -> None:
    """Raise an error if a value is not a string.

    Raises:
        ExcitationError: the value is not a string.
    """
    if not isinstance(value, str):
        raise ExcitationError(f"{what} is {value!r}, a {type(value).__name__}; {meant} is expected.")


def check_instance(what: str, value: object, kind: type) -> None:
    """Raise an error if a value is not an instance of a type.

    Raises:
        ExcitationError: the value is not an instance of `kind`.
    """
    if not isinstance(value, kind):
        raise ExcitationError(f"{what} is a {type(value).__name__}; a {kind.__name__} is expected.")


def check_instances(what: str, value: Any, kind: type) -> None:
    """Raise an error if a value is not a list of instances of a type.

    Raises:
        ExcitationError: the value is not a list of instances of `kind`.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, kind) for item in value):
        raise ExcitationError(f"{what} are {value!r:.60}; a list of {kind.__name__} is expected.")


def check_path(what: str, value: object) -> None:
    """Raise an error if a value is not the path of a file or folder.

    Raises:
        ExcitationError: the value is not a path, or it contains a NUL character.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise ExcitationError(f"{what} is {value!r}, a {type(value).__name__}; a path is expected.")
    if "\0" in os.fspath(value):
        raise ExcitationError(f"{what} {os.fspath(value)!r} contains a NUL character, which is not allowed in a path.")


def check_model(model: torch.nn.Module) -> None:
    """Raise an error if a network cannot be recorded.

    Raises:
        ExcitationError: `model` is a script module, or not a module.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise ExcitationError(
            "the model is a script module, and its operations cannot be recorded; give the original torch.nn.Module."
        )
    if not isinstance(model, torch.nn.Module):
        raise ExcitationError(f"model is a {type(model).__name__}; a torch.nn.Module is expected.")
