"""Some of a run's methods and layers, so that those compete in a table that are meant to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from .._errors import ExcitationError
from ._results import Results


def choose_rows(
    runs: Sequence[Results], methods: Mapping[str, Sequence[str]] | None = None, layers: Sequence[str] = ()
) -> list[Results]:
    """The runs with the rows of some methods and layers only; what is left keeps its names.

    Args:
        runs: results of any games.
        methods: by name, each with layers of its own or none; all methods if not given.
        layers: for methods that were asked at several and have none of their own here; all if empty. A method of a
            single layer, or of none as the centre, keeps its own.

    Raises:
        ExcitationError: no run has such a method, or the method at such a layer; nothing is left of a run.
    """
    found: dict[str, set[str]] = {}
    for run in runs:
        for row in run.rows:
            found.setdefault(row.method, set()).add(row.layer)
    where = ", ".join(str(run.path) for run in runs)
    known = set().union(*found.values())
    for layer in layers:
        if layer not in known:
            there = ", ".join(sorted(filter(None, known)))
            raise ExcitationError(f"{where}: has no layer {layer!r}; there is: {there}.")
    allowed: dict[str, set[str]] = {}
    for method, own in (dict.fromkeys(found, ()) if methods is None else methods).items():
        if method not in found:
            raise ExcitationError(f"{where}: has no method {method!r}; there is: {', '.join(sorted(found))}.")
        allowed[method] = _places(method, own, layers, found[method], where)
    chosen = []
    for run in runs:
        rows = tuple(row for row in run.rows if row.layer in allowed.get(row.method, ()))
        if run.rows and not rows:
            raise ExcitationError(f"{run.path}: has none of the chosen methods: {', '.join(allowed)}.")
        chosen.append(dataclasses.replace(run, rows=rows))
    return chosen


def _places(method: str, own: Sequence[str], layers: Sequence[str], known: set[str], where: str) -> set[str]:
    """The layers of a method that stay."""
    if own:
        missing = [layer for layer in own if layer not in known]
    elif layers and len(known) > 1:
        missing = [] if known & set(layers) else list(layers)
    else:
        return known
    if missing:
        there = ", ".join(sorted(filter(None, known))) or "none"
        raise ExcitationError(
            f"{where}: has no row of {method!r} at {missing[0]!r}; its layers: {there}. Give it others with"
            " NAME@LAYER+LAYER, or leave the method out."
        )
    return known & set(own or layers)
