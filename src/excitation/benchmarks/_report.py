"""Reports on runs of the pointing game: the paper's Table 1, categories, and methods compared in pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from .._errors import ExcitationError
from ._methods import DEFAULT_LAYER
from ._results import Results
from ._sqlite import Row
from ._statistics import SAMPLES, Average, Outcomes, accuracy, compare, interval, wins
from ._tables import EMPTY, Cell, Table

SUBSETS = {"All": False, "Diff.": True}
"""The two columns of each data set: all pairs, and the difficult ones."""

OWN = ("mwp", "c-mwp", "r-mwp")
"""Excitation Backprop's own methods, the last rows."""

Published = Mapping[str, Mapping[tuple[str, str], float]]
"""Figures from elsewhere: for each row's name, percent by column: data set with network as the group, and subset."""


def pointing_table(
    runs: Sequence[Results],
    *,
    average: Average = "mean",
    intervals: bool = False,
    samples: int = SAMPLES,
    published: Published | None = None,
) -> Table:
    """Accuracy as the paper's Table 1: methods down; data sets and networks across, all pairs and difficult ones.

    A method at several layers has a row for each.

    Args:
        runs: results of the pointing game, each of one data set and network.
        average: over categories, as the paper, or over pairs.
        intervals: with 95 % bootstrap intervals over images.
        samples: of the bootstrap.
        published: figures to set beside, in rows of their own.

    Returns:
        Percent; the best of each column marked, published figures aside.

    Raises:
        ExcitationError: no run, two runs of the same data set and network, or another game.
    """
    several: set[str] = set().union(*(_with_several_layers(run) for run in runs))
    tables = {_heading(run): by_method(run, several) for run in runs}
    if not tables or len(tables) < len(runs):
        same = f"two of the runs are of the same data set and network ({'; '.join(tables)}); report them apart."
        raise ExcitationError(same if runs else "no results were given to report.")
    names = list(dict.fromkeys(name for table in tables.values() for name in table))
    columns = tuple((group, subset) for group in tables for subset in SUBSETS)
    cells: dict[str, list[Cell]] = {name: [] for name in names}
    for group, subset in columns:
        found = {name: _outcomes(tables[group].get(name, []), difficult=SUBSETS[subset]) for name in names}
        values = {name: getattr(accuracy(item), average) for name, item in found.items() if item is not None}
        best = max(values.values(), default=None)
        for name in names:
            outcomes = found[name]
            if outcomes is None:
                cells[name].append(EMPTY)
                continue
            text = f"{100 * values[name]:.1f}"
            if intervals:
                ends = interval(outcomes, average, samples=samples)
                text += f" [{100 * ends.low:.1f}, {100 * ends.high:.1f}]"
            cells[name].append(Cell(text, values[name] == best, 100 * values[name]))
    rows = [(name, tuple(row)) for name, row in cells.items()]
    for name, figures in (published or {}).items():
        given = (figures.get(column) for column in columns)
        rows.append((f"{name} (published)", tuple(Cell("" if f is None else f"{f:.1f}", value=f) for f in given)))
    notes = list(_notes(runs))
    if intervals:
        notes.insert(0, f"In brackets: 95 % intervals, bootstrap over images with {samples} samples.")
    over = "mean over categories" if average == "mean" else "pooled over pairs"
    return Table(f"Pointing game: accuracy in percent, {over}", "Method", columns, tuple(rows), tuple(notes))


def category_table(run: Results, *, difficult: bool = False) -> Table:
    """Accuracy of each method by category, and in how many categories it is best.

    Args:
        run: results of the pointing game.
        difficult: of the difficult pairs only.

    Raises:
        ExcitationError: there are no such pairs.
    """
    found = _all_outcomes(run, difficult)
    tables = {name: accuracy(outcomes).by_category for name, outcomes in found.items()}
    pairs = {name: dict(zip(item.categories, item.pairs.sum(0), strict=True)) for name, item in found.items()}
    categories = sorted({category for table in tables.values() for category in table})
    rows = []
    for category in categories:
        best = max(table.get(category, -1.0) for table in tables.values())
        count = max(int(table.get(category, 0)) for table in pairs.values())
        cells = [Cell(str(count), value=count)]
        for table in tables.values():
            value = table.get(category)
            cells.append(EMPTY if value is None else Cell(f"{100 * value:.1f}", value == best, 100 * value))
        rows.append((category, tuple(cells)))
    won = wins(found)
    rows.append(("best alone", (EMPTY, *(Cell(str(item.alone), value=item.alone) for item in won.values()))))
    rows.append(("best with others", (EMPTY, *(Cell(str(item.shared), value=item.shared) for item in won.values()))))
    which = "difficult pairs" if difficult else "all pairs"
    return Table(
        f"Pointing game on {_heading(run)}: accuracy in percent by category, {which}",
        "Category",
        (("", "Pairs"), *(("", name) for name in tables)),
        tuple(rows),
        _notes([run]),
    )


def comparison_table(
    run: Results, reference: str, *, average: Average = "mean", difficult: bool = False, samples: int = SAMPLES
) -> Table:
    """Every method against one of them, on the pairs that both have.

    Args:
        run: results of the pointing game.
        reference: the row that the others are compared with, as `pointing_table` calls it.
        average: over categories or pairs.
        difficult: of the difficult pairs only.
        samples: of bootstrap and randomisation.

    Raises:
        ExcitationError: no such row, or there are no such pairs.
    """
    found = _all_outcomes(run, difficult)
    if reference not in found:
        raise ExcitationError(f"{run.path}: has no row {reference!r}; there is: {', '.join(found)}.")
    rows = []
    for name, outcomes in found.items():
        if name == reference:
            continue
        one = compare(outcomes, found[reference], average, samples=samples)
        rows.append(
            (
                name,
                (
                    Cell(f"{100 * one.first:.1f}", value=100 * one.first),
                    Cell(f"{100 * one.difference:+.1f}", value=100 * one.difference),
                    Cell(f"[{100 * one.interval.low:+.1f}, {100 * one.interval.high:+.1f}]"),
                    Cell(f"{one.p_value:.3f}" if one.p_value >= 0.001 else "< 0.001", value=one.p_value),
                    Cell(str(one.pairs), value=one.pairs),
                ),
            )
        )
    which = "difficult pairs" if difficult else "all pairs"
    heads = ("Accuracy", f"minus {reference}", "95 % interval", "p", "Pairs")
    return Table(
        f"Pointing game on {_heading(run)}: methods against {reference}, {which}, in percent",
        "Method",
        tuple(("", head) for head in heads),
        tuple(rows),
        (
            f"Intervals: bootstrap over images, {samples} samples. p: methods swapped at random image by image; not"
            " corrected for the number of comparisons.",
            *_notes([run]),
        ),
    )


def by_method(run: Results, several: Collection[str] | None = None) -> dict[str, list[Row]]:
    """Rows of each method; of each method and layer where it has several.

    Args:
        run: results of the pointing game.
        several: methods whose layers are told apart; those with several layers in this run if not given.

    Raises:
        ExcitationError: another game.
    """
    if run.configuration.get("game") != "pointing":
        game = run.configuration.get("game")
        raise ExcitationError(f"{run.path}: holds results of {game!r}, not of the pointing game.")
    found: dict[tuple[str, str], list[Row]] = {}
    for row in run.rows:
        found.setdefault((row.method, row.layer), []).append(row)
    several = _with_several_layers(run) if several is None else several
    given = run.configuration["layers"]
    assert isinstance(given, Mapping)

    def place(key: tuple[str, str]) -> tuple[int, str, int]:
        method, layer = key
        order = [item or DEFAULT_LAYER for item in given.get(method, ())]
        return (*_rank(method), order.index(layer) if layer in order else -1)

    return {
        f"{method} @ {layer}" if method in several else method: found[method, layer]
        for method, layer in sorted(found, key=place)
    }


def _with_several_layers(run: Results) -> set[str]:
    counts = Counter(method for method, _ in {(row.method, row.layer) for row in run.rows})
    return {method for method, count in counts.items() if count > 1}


def _rank(method: str) -> tuple[int, str]:
    """The order of rows: the centre, other methods by name, Excitation Backprop's own, as in the paper's Table 1."""
    name = method.casefold()
    if name in {"centre", "center"}:
        return 0, name
    return (2 + OWN.index(name), name) if name in OWN else (1, name)


def _heading(run: Results) -> str:
    data = run.configuration.get("data")
    name = data.get("name") if isinstance(data, Mapping) else None
    return f"{name}, {run.configuration.get('network')}"


def _outcomes(rows: Sequence[Row], *, difficult: bool) -> Outcomes | None:
    """Hits of all pairs, or of the difficult ones; `None` if there are none."""
    pairs = [(row.image, row.category, row.hit) for row in rows if row.difficult or not difficult]
    return Outcomes.from_pairs(pairs) if pairs else None


def _all_outcomes(run: Results, difficult: bool) -> dict[str, Outcomes]:
    found = {name: _outcomes(rows, difficult=difficult) for name, rows in by_method(run).items()}
    judged = {name: item for name, item in found.items() if item is not None}
    if not judged:
        raise ExcitationError(f"{run.path}: has no {'difficult ' if difficult else ''}pairs to report.")
    return judged


def _notes(runs: Sequence[Results]) -> tuple[str, ...]:
    """What a reader must know of each run: its size, and all that is missing."""
    notes = []
    for run in runs:
        pairs = {(row.image, row.category): row.difficult for row in run.rows}
        images = len({image for image, _ in pairs})
        words = [f"{_heading(run)}: {len(pairs)} pairs ({sum(pairs.values())} difficult) on {images} images"]
        if not run.complete:
            words.append(f"NOT FINISHED, {len(run.finished)} of {run.planned} images so far")
        reasons = Counter(reason for _, _, reason in run.left_out)
        words += [f"{count} pairs left out since {reason}" for reason, count in sorted(reasons.items())]
        counts = {name: len(rows) for name, rows in by_method(run).items()}
        words += [f"{name} has only {count} of the pairs" for name, count in counts.items() if count < len(pairs)]
        if run.problems:
            words.append(f"{len(run.problems)} problems with the data, listed in {run.path.name}")
        if len(run.environments) > 1:
            words.append(f"made under {len(run.environments)} different sets of versions")
        notes.append("; ".join(words) + ".")
    return tuple(notes)
