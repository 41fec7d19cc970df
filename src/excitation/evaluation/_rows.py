"""Prepares rows of results for tables: selection, grouping by method and layer, headings and notes of runs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from .._errors import ExcitationError
from ._methods import DEFAULT_LAYER
from ._results import Results, format_unnamed_layers
from ._statistics import Average, Outcomes
from ._store import Row

OWN = ("mwp", "c-mwp", "r-mwp")
"""Methods of Excitation Backprop. They are the last rows of a table, in this order."""

NO_CONTRAST = (
    "c-gradient is zero by construction: the gradients of the unit and the dual unit have the same size at every"
    " position, so their difference is zero."
)
"""Note of tables with c-gradient (the paper's c-Grad), because all its maps are empty."""

Measure = Callable[[Row], "float | bool"]
"""Function that returns the measure of a row: whether it is a hit, or a value from 0 to 1."""


def hit(row: Row) -> bool:
    """Return whether the row is a hit."""
    return row.hit


def value(row: Row) -> float:
    """Return the value of a row; 0 for rows without a value."""
    return 0.0 if row.value is None else row.value


def by_method(run: Results, several: Collection[str] | None = None) -> dict[str, list[Row]]:
    """Group rows by method, or by method and layer for methods with several layers.

    Args:
        run: results of a game.
        several: methods with one row per layer; by default, the methods with several layers in this run.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in run.rows:
        groups.setdefault((row.method, row.layer), []).append(row)
    several = shown_with_layer(run) if several is None else several
    given = run.configuration["layers"]
    assert isinstance(given, Mapping)

    def sort_key(key: tuple[str, str]) -> tuple[int, str, int]:
        method, layer = key
        order = [item or DEFAULT_LAYER for item in given.get(method, ())]
        return (*_rank(method), order.index(layer) if layer in order else -1)

    return {
        f"{method} @ {layer}" if method in several else method: groups[method, layer]
        for method, layer in sorted(groups, key=sort_key)
    }


def with_several_layers(run: Results) -> set[str]:
    """Return the methods with maps at more than one layer."""
    counts = Counter(method for method, _ in {(row.method, row.layer) for row in run.rows})
    return {method for method, count in counts.items() if count > 1}


def shown_with_layer(run: Results) -> set[str]:
    """Return the methods with several requested layers. Their rows contain the layer, even if only one is shown."""
    given = run.configuration.get("layers")
    requested = given if isinstance(given, Mapping) else {}
    return {str(name) for name, layers in requested.items() if len(layers) > 1} | with_several_layers(run)


def held_out_images(run: Results) -> tuple[int, frozenset[str]]:
    """Return K (every K-th image is held out), and the held-out images among the finished ones.

    Raises:
        ExcitationError: the run has no held-out images.
    """
    step = run.configuration.get("held_out")
    if not isinstance(step, int):
        raise ExcitationError(f"{run.path}: has no held-out images, so no layer can be selected.")
    return step, frozenset(run.finished[::step])


def images_with_rows(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the images with results, sorted. Finished images without results are not included."""
    return tuple(sorted({row.image for row in rows}))


def heading_of(run: Results) -> str:
    """Return the heading of a run: data set and network."""
    data = run.configuration.get("data")
    name = data.get("name") if isinstance(data, Mapping) else None
    return f"{name}, {run.configuration.get('network')}"


def headings_of(runs: Sequence[Results]) -> list[str]:
    """Return a heading for each run. Runs with the same data set and network also get their other differences.

    Raises:
        ExcitationError: there is no run, or two runs have the same heading.
    """
    if not runs:
        raise ExcitationError("no results were given; give at least one run to report.")
    full = [heading_of(run) for run in runs]
    for detail in (_side, _limits, _size):
        counts = Counter(full)
        full = [name + detail(run) if counts[name] > 1 else name for name, run in zip(full, runs, strict=True)]
    same = [name for name, count in Counter(full).items() if count > 1]
    if same:
        raise ExcitationError(
            f"two of the runs have the same data set and network ({'; '.join(same)}); report them separately."
        )
    return full


def outcomes_of(
    rows: Sequence[Row], average: Average = "mean", *, difficult: bool = False, measure: Measure = hit
) -> Outcomes | None:
    """Return the outcomes of all pairs, or of the difficult pairs; `None` if there are none.

    Args:
        rows: rows of one method and layer.
        average: with `"mean"`, a row counts in each group of its query. A query without groups is its own group. With
            `"pooled"`, each row counts once, for its query.
        difficult: whether to use only difficult pairs.
        measure: the measure of a row.
    """
    pairs = [
        (row.image, group, measure(row))
        for row in rows
        if row.difficult or not difficult
        for group in (row.groups if row.groups and average == "mean" else (row.query,))
    ]
    return Outcomes.from_pairs(pairs) if pairs else None


def notes_of(runs: Sequence[Results], *, difficult: bool = True) -> tuple[str, ...]:
    """Return notes on each run: its size and missing data."""
    notes = []
    for name, run in zip(headings_of(runs), runs, strict=True):
        pairs = {(row.image, row.query): row.difficult for row in run.rows}
        images = len({image for image, _ in pairs})
        hard = f" ({sum(pairs.values())} difficult)" if difficult else ""
        words = [f"{name}: {len(pairs)} pairs{hard} on {images} images"]
        if run.shard[1] > 1:
            words.append(f"SHARD {run.shard[0] + 1}/{run.shard[1]} ONLY")
        if not run.complete:
            words.append(f"NOT FINISHED, {len(run.finished)} of {run.planned} images so far")
        reasons = Counter(reason for _, _, reason in run.left_out)
        words += [f"{count} pairs left out since {reason}" for reason, count in sorted(reasons.items())]
        counts = Counter((row.method, row.layer) for row in run.rows)
        words += [
            f"{_row_label(*key)} has only {count} of the pairs"
            for key, count in sorted(counts.items())
            if count < len(pairs)
        ]
        empty: dict[str, Counter[str]] = {}
        for row in run.rows:
            if row.mass == 0:
                empty.setdefault(row.method, Counter())[row.layer] += 1
        for method, by_layer in sorted(empty.items()):
            least, most = min(by_layer.values()), max(by_layer.values())
            number = str(most) if least == most else f"{least} to {most}"
            words.append(f"{number} maps of {method} are empty{' at each layer' if len(by_layer) > 1 else ''}")
        if run.configuration.get("mixture") == "probability":
            words.append("several classes of a category weighted by their probability in the picture")
        if note := run.configuration.get("classes_note"):
            words.append(str(note))
        if layers := format_unnamed_layers(run):
            words.append(layers)
        if run.problems:
            words.append(f"{len(run.problems)} problems with the data, listed in {run.path.name}")
        if len(run.environments) > 1:
            words.append(f"made under {len(run.environments)} different sets of versions")
        notes.append("; ".join(words) + ".")
    if any(_is_empty(run, "c-gradient") for run in runs):
        notes.append(NO_CONTRAST)
    return tuple(notes)


def ordered(names: Iterable[str]) -> list[str]:
    """Sort methods in the order of tables. Layers of one method keep their order."""
    return sorted(names, key=lambda name: _rank(name.partition(" @ ")[0]))


def _is_empty(run: Results, method: str) -> bool:
    """Whether the run contains a method, and all its maps are empty."""
    masses = [row.mass for row in run.rows if row.method.partition(" ")[0].partition(":")[0] == method]
    return bool(masses) and not any(masses)


def row_name(text: str) -> str:
    """Return the name of a row in tables, `METHOD @ LAYER`. The form `METHOD@LAYER` of `--methods` is accepted."""
    method, at, layer = text.partition("@")
    return f"{method.strip()} @ {layer.strip()}" if at else text.strip()


def _row_label(method: str, layer: str) -> str:
    return f"{method} @ {layer}" if layer and layer != DEFAULT_LAYER else method


def _rank(method: str) -> tuple[int, str]:
    """Return the sort key of a row: the centre, other methods by name, Excitation Backprop, as in the paper."""
    name = method.casefold()
    plain = name.partition(" ")[0].partition(":")[0]
    if plain in {"centre", "center"}:
        return 0, name
    return (2 + OWN.index(plain), name) if plain in OWN else (1, name)


def _side(run: Results) -> str:
    """Describe the cells of a mosaic."""
    side = run.configuration.get("side")
    return "" if side is None else f", {side} x {side}"


def _limits(run: Results) -> str:
    """Describe the limits of the class probability of a mosaic's pictures."""
    limits = run.configuration.get("confidence")
    return f", {limits[0]:g} to {limits[1]:g}" if isinstance(limits, list) else ""


def _size(run: Results) -> str:
    """Describe the size of the network input."""
    prepared = run.configuration.get("preprocessing")
    size = prepared.get("size") if isinstance(prepared, Mapping) else None
    return f" at {min(size)} px" if isinstance(size, list) and size else ""


def choose_rows(
    runs: Sequence[Results], methods: Mapping[str, Sequence[str]] | None = None, layers: Sequence[str] = ()
) -> list[Results]:
    """Return the runs with the rows of some methods and layers only. The names of the rows do not change.

    Args:
        runs: results of any games.
        methods: layers by method name; an empty sequence uses `layers`. All methods if `None`.
        layers: layers for methods with several layers and no entry in `methods`; all layers if empty. Methods with at
            most one layer are not affected.

    Raises:
        ExcitationError: no run contains a method or a layer of it, or no row of a run remains.
    """
    layers_of: dict[str, set[str]] = {}
    for run in runs:
        for row in run.rows:
            layers_of.setdefault(row.method, set()).add(row.layer)
    files = ", ".join(str(run.path) for run in runs)
    known = set().union(*layers_of.values())
    for layer in layers:
        if layer not in known:
            raise ExcitationError(f"{files}: has no layer {layer!r}; its layers: {_listed(known)}.")
    allowed: dict[str, set[str]] = {}
    for method, own in (dict.fromkeys(layers_of, ()) if methods is None else methods).items():
        if method not in layers_of:
            raise ExcitationError(f"{files}: has no method {method!r}; its methods: {_listed(layers_of)}.")
        allowed[method] = _kept_layers(method, own, layers, layers_of[method], files)
    chosen = []
    for run in runs:
        rows = tuple(row for row in run.rows if row.layer in allowed.get(row.method, ()))
        if run.rows and not rows:
            raise ExcitationError(f"{run.path}: has none of the selected methods: {', '.join(allowed)}.")
        chosen.append(dataclasses.replace(run, rows=rows))
    return chosen


def _kept_layers(method: str, own: Sequence[str], layers: Sequence[str], known: set[str], files: str) -> set[str]:
    """Return the selected layers of a method."""
    if own:
        missing = [layer for layer in own if layer not in known]
    elif layers and len(known) > 1:
        missing = [] if known & set(layers) else list(layers)
    else:
        return known
    if missing:
        raise ExcitationError(
            f"{files}: has no row of {method!r} at {missing[0]!r}; its layers: {_listed(known)}. Give other layers with"
            " NAME@LAYER+LAYER, or omit the method."
        )
    return known & set(own or layers)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(filter(None, names))) or "none"
