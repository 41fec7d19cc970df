"""Tables 4 and 5, comparisons, and the curve of gamma, from a file of results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .._checks import check_choice
from .._errors import ExcitationError
from ..evaluation import Cell, Outcomes, Results, Row, Table, interval, paper_figures
from ..evaluation._methods import DEFAULT_LAYER
from ..evaluation._rows import ordered, shown_with_layer
from ..evaluation._tables import percent
from ..views import Line, LinePanel, line_chart
from ._evaluation import compare_recall, small_only
from ._judging import PROTOCOLS, Judgement, Protocol
from ._pointing import POINTING
from ._rescoring import GAMMAS
from ._stored import OWN, TEST, chosen_gammas, gamma_hits, plain_rows, split_row
from ._tables import association_table, group_table
from ._words import FUSIONS

HEAD = len(PROTOCOLS) + len(POINTING)
"""Numbers before the scores in a row of the test split."""

PAPER_ROWS = {
    "MCG's own scores (paper)": OWN,
    "gradient, MCG (paper)": "gradient",
    "deconv, MCG (paper)": "deconv",
    "LRP, MCG (paper)": "lrp",
    "CAM, MCG (paper)": "cam",
    "MWP, MCG (paper)": "mwp",
    "c-MWP, MCG (paper)": "c-mwp",
}
"""The row beside which each row of the paper's tables stands; the others are last."""

LINES = 10
"""Lines of one panel that can be told apart."""

PAPER_NOTE = (
    "Rows marked (paper): Tables 4 and 5 of Zhang et al., ECCV 2016: Flickr30k Entities test, 18,157 tags, 500 segments"
    ' of MCG; other data and another classifier than the other rows. "LRN" in Table 5 is LRP.'
)

SINGULAR = {"bodyparts": "bodypart", "animals": "animal", "vehicles": "vehicle", "instruments": "instrument"}
"""The paper's names of groups, where they differ."""


def check_phrases(run: Results) -> None:
    """Raise an error if results are not those of `run_phrases`, or have no phrase of the test split.

    Raises:
        ExcitationError: they are not.
    """
    if run.configuration.get("game") != "phrases":
        raise ExcitationError(f"{run.path}: holds results of {run.configuration.get('game')!r}, not of phrases.")
    if not any(row.image.startswith(f"{TEST}/") for row in run.rows):
        raise ExcitationError(
            f"{run.path}: has no phrase of the test split yet: {len(run.left_out)} phrases were left out,"
            f" {len(run.problems)} problems with the data are listed in it."
        )


def judgements(run: Results, protocol: Protocol = "merged-inclusive") -> dict[str, list[Judgement]]:
    """The judged phrases of the test split by row: the method, with its layer if it has several.

    Of each phrase, only the first correct box is stored, which is all that recall and average precision depend on.

    Raises:
        ExcitationError: another game, no phrase, or an unknown protocol.
    """
    check_choice("protocol", protocol, tuple(PROTOCOLS))
    check_phrases(run)
    place = list(PROTOCOLS).index(protocol)
    found: dict[str, list[Judgement]] = {}
    for name, rows in _test_rows(run).items():
        found[name] = []
        for row in rows:
            key, types, text = _parsed(row.query)
            scores = np.array(row.series[HEAD:], dtype=np.float64)
            correct = np.zeros(len(scores), dtype=np.bool_)
            first = int(row.series[place])
            if first >= 0:
                correct[first] = True
            found[name].append(Judgement(row.image, key, text.casefold(), types, row.difficult, scores, correct))
    return found


def choose_phrase_rows(run: Results, names: Sequence[str]) -> Results:
    """Results with only some rows of the tables, such as `["c-mwp", "mwp, product"]`. The rows keep their names.

    Raises:
        ExcitationError: another game, no name, or an unknown row.
    """
    check_phrases(run)
    every = _names(run)
    if not names:
        raise ExcitationError("no row was named; leave the names out for all rows.")
    for name in names:
        check_choice("a row", name, tuple(every.values()))
    return dataclasses.replace(run, rows=tuple(row for row in run.rows if every[row.method, row.layer] in names))


def phrase_tables(
    run: Results, protocol: Protocol = "merged-inclusive", *, paper: bool = False, against: Sequence[str] = ()
) -> list[Table]:
    """Tables 4 and 5, the table of pointing, and a table of paired differences for each row in `against`.

    Args:
        run: results of `run_phrases`.
        protocol: a name in `PROTOCOLS`.
        paper: whether to add the paper's numbers.
        against: names of rows with which all others are compared.

    Raises:
        ExcitationError: an error of `judgements`, or an unknown row.
    """
    judged = judgements(run, protocol)
    for name in against:
        check_choice("the row to compare with", name, tuple(judged))
    gammas = _gammas(run, judged)
    groups = any(item.types for item in next(iter(judged.values())))
    tables = [association_table(judged, protocol, gammas)]
    if groups:
        tables.append(group_table(judged, protocol))
    if paper:
        tables = [_beside(table) for table in tables]
    tables[0] = dataclasses.replace(tables[0], notes=(_about(run, judged), *tables[0].notes))
    tables.append(_pointing_table(run))
    tables += [_difference_table(judged, name, protocol) for name in against]
    return tables


def gamma_figure(run: Results, rank: int = 1) -> Figure:
    """Recall on the validation split against gamma, one line per method, with 95 % intervals over images.

    Raises:
        ExcitationError: the run has no validation split.
    """
    hits = gamma_hits(run, rank)
    if not hits:
        raise ExcitationError(f"{run.path}: has no validation split, so there is no curve of gamma.")
    lines = []
    for (method, layer), name in _names(run).items():
        of_gamma = hits.get(f"{method} @ {layer}")
        if of_gamma is None:  # the proposals' own scores and detections have no gamma
            continue
        shares, lows, highs = [], [], []
        for gamma in GAMMAS:
            ends = interval(Outcomes.from_pairs([(image, "all", hit) for image, hit in of_gamma[gamma]]), "pooled")
            shares.append(100 * float(np.mean([hit for _, hit in of_gamma[gamma]])))
            lows.append(100 * ends.low)
            highs.append(100 * ends.high)
        lines.append(Line(name, np.array(shares), np.array(lows), np.array(highs)))
    panels = [LinePanel("", lines[at : at + LINES]) for at in range(0, len(lines), LINES)]
    top = 5 * (1 + max(float(line.values.max()) for line in lines) // 5) + 5
    return line_chart(panels, [f"{gamma:g}" for gamma in GAMMAS], ylabel=f"recall at {rank}, %", xlabel="gamma",
                      limits=(0.0, top))  # fmt: skip


def _test_rows(run: Results) -> dict[str, list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in run.rows:
        if row.image.startswith(f"{TEST}/"):
            found.setdefault((row.method, row.layer), []).append(row)
    return {name: found[key] for key, name in _names(run).items() if key in found}


def _names(run: Results) -> dict[tuple[str, str], str]:
    """The names of rows in tables by method and layer, in the order of tables.

    The layer is named if the run has several layers of the method, whichever rows were chosen.
    """
    keys = list(dict.fromkeys((row.method, row.layer) for row in run.rows))
    plain = plain_rows(run)
    split = {method: split_row(method) for method, _ in keys if method not in plain}
    order = ordered({method for method, _ in split.values()})
    layers = run.configuration["layers"]
    assert isinstance(layers, Mapping)

    def place(key: tuple[str, str]) -> tuple[int, ...]:
        name, layer = key
        if name in plain:
            return (2 * (name != OWN), plain.index(name))
        method, fusion = split[name]
        asked = [item or DEFAULT_LAYER for item in layers[method]]
        return 1, order.index(method), list(FUSIONS).index(fusion), asked.index(layer)

    several = shown_with_layer(run)
    return {
        (name, layer): f"{name} @ {layer}" if name in split and split[name][0] in several else name
        for name, layer in sorted(keys, key=place)
    }


def _parsed(query: str) -> tuple[str, tuple[str, ...], str]:
    """Key, types and text from `query_of`."""
    head, _, text = query.partition(" ")
    key, *types = head.split("/")
    return key, tuple(types), text


def _gammas(run: Results, judged: Mapping[str, object]) -> dict[str, float]:
    fixed = run.configuration.get("gamma")
    if isinstance(fixed, float):
        return {name: fixed for name in judged if name not in plain_rows(run)}
    names = {f"{method} @ {layer}": name for (method, layer), name in _names(run).items()}
    return {names[key]: gamma for key, gamma in chosen_gammas(run).items()}


def _about(run: Results, judged: Mapping[str, Sequence[Judgement]]) -> str:
    """The data, the classifier, and how gamma was chosen, as a note."""
    first = next(iter(judged.values()))
    silent = ""
    method = next((name for name in judged if name not in plain_rows(run)), None)
    if method is not None:
        silent = (
            f" {sum(not len(item.scores) for item in judged[method])} have no box by {method}: the classifier knows"
            " none of their words, or the method failed; they count as missed."
        )
    data = run.configuration.get("data")
    gamma = run.configuration.get("gamma")
    how = "chosen by recall at 1 on the validation split" if gamma is None else f"{gamma:g} for all"
    return (
        f"{data.get('name') if isinstance(data, Mapping) else data}, {run.configuration.get('network')}:"
        f" {len(first)} phrases with boxes on {len({item.image for item in first})} images.{silent} Proposals:"
        f" {run.configuration.get('proposals')}. Gamma: {how}. Shortest side of the input:"
        f" {run.configuration.get('shortest')} pixels. In brackets: 95 % intervals, bootstrap over images."
    )


def _beside(table: Table) -> Table:
    """Add the rows of the paper, each below the row of its method."""
    figures = paper_figures().games["phrases" if ("", "gamma") in table.columns else "phrases by type"]
    rows = list(table.rows)
    for name, values in figures.items():
        by_column = {column: value for (_, column), value in values.items()}
        cells = tuple(_paper_cell(by_column, column) for column in table.columns)
        if not any(cell.text for cell in cells):
            continue
        beside = PAPER_ROWS.get(name)
        places = [i for i, (row, _) in enumerate(rows) if beside and row.startswith(beside) and "(paper)" not in row]
        place = places[-1] + 1 if places else len(rows)
        rows.insert(place, (name, cells))
    return dataclasses.replace(table, rows=tuple(rows), notes=(*table.notes, PAPER_NOTE))


def _paper_cell(values: Mapping[str, float], column: tuple[str, str]) -> Cell:
    group, name = column
    key = f"{name}, {group.capitalize()}" if group else name
    value = values.get(SINGULAR.get(key, key))
    if value is None:
        return Cell("")
    return Cell(f"{value:.2f}" if name == "gamma" else f"{value:.1f}", value=value)


def _pointing_table(run: Results) -> Table:
    """The share of phrases, and of entities, whose map has its maximum in a box."""
    rows = []
    for name, own in _test_rows(run).items():
        cells = []
        for place in range(len(PROTOCOLS), HEAD):
            pairs = [(row.image, "all", row.series[place]) for row in own if row.series[place] >= 0]
            if not pairs:
                cells.append(Cell(""))
                continue
            share = float(np.mean([hit for *_, hit in pairs]))
            cells.append(percent(share, interval(Outcomes.from_pairs(pairs), "pooled")))
        if any(cell.text for cell in cells):
            rows.append((name, tuple(cells)))
    notes = tuple(f"{name}: {said}." for name, said in POINTING.items())
    return Table("Pointing by phrases, %", "method", tuple(("", name) for name in POINTING), tuple(rows), notes)


def _difference_table(judged: Mapping[str, list[Judgement]], base: str, protocol: Protocol) -> Table:
    """Each row minus the base, on the same phrases."""
    rows = []
    for name, own in judged.items():
        if name == base:
            continue
        cells = []
        for first, second in ((own, judged[base]), (small_only(own), small_only(judged[base]))):
            for rank in (1, 5):
                if not first or not second:
                    cells.append(Cell(""))
                    continue
                found = compare_recall(first, second, rank)
                cells.append(_signed(found.difference, found.interval.low, found.interval.high))
        rows.append((name, tuple(cells)))
    columns = tuple((group, f"R@{rank}") for group in ("all", "small") for rank in (1, 5))
    note = "Differences in points, paired by phrase; 95 % intervals by bootstrap over images."
    return Table(f"Recall minus that of {base}", "method", columns, tuple(rows), (note, f"Protocol {protocol}."))


def _signed(difference: float, low: float, high: float) -> Cell:
    low, high, difference = 100 * low, 100 * high, 100 * difference
    text = f"{difference:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
    return Cell(text, value=difference, low=low, high=high)
