"""Checks of single arguments: each refuses what does not fit with one sentence that names the argument."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from typing import Any

import torch

from ._errors import ExcitationError

SIDES = {1: "(length,)", 2: "(height, width)", 3: "(depth, height, width)"}
"""What a size holds, by the number of dimensions."""


def check_choice(what: str, value: object, choices: Collection[object]) -> None:
    """Refuse a value that is none of a few.

    Raises:
        ExcitationError: it is another one.
    """
    # Compared one by one, since a wrong value may be of a type that no set can hold.
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
    """Refuse what is no finite number, or one out of range.

    Args:
        what: the argument's name.
        value: that was given.
        meant: what it should be, in words.
        least: the smallest number allowed.
        most: the largest number allowed.
        whole: whether it must be a whole number.

    Raises:
        ExcitationError: it is something else.
    """
    number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:
        raise ExcitationError(f"{what} is {value!r}; {meant} is expected.")


def check_size(what: str, value: Any, meant: str = "(height, width)", *, dimensions: int = 2) -> tuple[int, ...]:
    """A size in pixels.

    Args:
        what: the argument's name.
        value: that was given.
        meant: what its numbers are.
        dimensions: how many there must be.

    Raises:
        ExcitationError: it is something else than so many whole numbers from 1 on.
    """
    numbers = tuple(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else ()
    good = len(numbers) == dimensions and all(
        not isinstance(number, bool) and isinstance(number, Integral) and int(number) >= 1 for number in numbers
    )
    if not good:
        raise ExcitationError(f"{what} is {value!r}; {meant} is expected, in whole numbers of pixels from 1 on.")
    return tuple(map(int, numbers))


def check_names(what: str, value: Any) -> tuple[str, ...]:
    """A list of names.

    Raises:
        ExcitationError: it is a single text, or no list of texts.
    """
    names = tuple(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else None
    if names is None or not all(isinstance(name, str) for name in names):
        shown = repr(value) if len(repr(value)) <= 60 else f"a {type(value).__name__} with something else than names"
        raise ExcitationError(f"{what} is {shown}; a list of names is expected.")
    return names


def check_text(what: str, value: object, meant: str) -> None:
    """Refuse what is no text.

    Raises:
        ExcitationError: it is something else.
    """
    if not isinstance(value, str):
        raise ExcitationError(f"{what} is {value!r}, a {type(value).__name__}; {meant} is expected.")


def check_instance(what: str, value: object, kind: type) -> None:
    """Refuse what is no thing of a kind.

    Raises:
        ExcitationError: it is something else.
    """
    if not isinstance(value, kind):
        raise ExcitationError(f"{what} is a {type(value).__name__}; a {kind.__name__} is expected.")


def check_instances(what: str, value: Any, kind: type) -> None:
    """Refuse what is no list of things of one kind.

    Raises:
        ExcitationError: it is something else.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, kind) for item in value):
        raise ExcitationError(f"{what} are {value!r:.60}; a list of {kind.__name__} is expected.")


def check_path(what: str, value: object) -> None:
    """Refuse what is no path of a file or folder.

    Raises:
        ExcitationError: it is something else, or it holds a NUL character, which no path can.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise ExcitationError(f"{what} is {value!r}, a {type(value).__name__}; a path is expected.")
    if "\0" in os.fspath(value):
        raise ExcitationError(f"{what} {os.fspath(value)!r} holds a NUL character, which no path can.")


def check_model(model: torch.nn.Module) -> None:
    """Refuse what is no network that can be recorded.

    Raises:
        ExcitationError: it is a script module, or no module.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise ExcitationError(
            "the model is a script module, whose operations cannot be recorded; give the original torch.nn.Module."
        )
    if not isinstance(model, torch.nn.Module):
        raise ExcitationError(f"model is a {type(model).__name__}; a torch.nn.Module is expected.")
