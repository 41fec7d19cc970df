"""Tables 4 and 5: text-to-region association, overall and by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..evaluation import Cell, Table
from ..evaluation._tables import percent
from ._evaluation import AP_DEFINITION, RANKS, evaluate, recall_interval, small_only
from ._judging import PROTOCOLS, Judgement, Protocol
from ._phrases import GROUPS


def association_table(
    methods: Mapping[str, Sequence[Judgement]],
    protocol: Protocol,
    gammas: Mapping[str, float] | None = None,
) -> Table:
    """Table 4: recall at 1, 5 and 10 with 95 % confidence intervals, and mAP, for all and small phrases, in percent.

    Args:
        methods: judgements of each row.
        protocol: the protocol of the judgements, for the notes.
        gammas: the chosen gamma of each row; rows without an entry show none.

    Raises:
        ExcitationError: a row without judgements.
    """
    figures = [*(f"R@{rank}" for rank in RANKS), "mAP (group)", "mAP (phrase)"]
    rows = []
    for name, judged in methods.items():
        gamma = (gammas or {}).get(name)
        cells = [Cell("" if gamma is None else f"{gamma:.2f}", value=gamma)]
        for part in (judged, small_only(judged)):
            cells += _figures(part) if part else [Cell("")] * len(figures)
        rows.append((name, tuple(cells)))
    columns = [("", "gamma"), *(("all", item) for item in figures), *(("small", item) for item in figures)]
    return Table(
        title="Text-to-region association (Table 4), %",
        corner="method",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=(
            f"Protocol {protocol}: {PROTOCOLS[protocol]}.",
            "Small: the smallest box around all boxes of the phrase is below a quarter of the image.",
            AP_DEFINITION,
        ),
    )


def group_table(methods: Mapping[str, Sequence[Judgement]], protocol: Protocol) -> Table:
    """Table 5: recall at 5 by group, and its mean over groups with a 95 % confidence interval, in percent.

    Args:
        methods: judgements of each row.
        protocol: the protocol of the judgements, for the notes.

    Raises:
        ExcitationError: a row without judgements, or without a phrase of any group.
    """
    rows = []
    for name, judged in methods.items():
        scores = evaluate(judged)
        cells = [percent(scores.group_recall[group]) if group in scores.group_recall else Cell("") for group in GROUPS]
        mean = percent(scores.group_mean, recall_interval(judged, 5, by_group=True))
        rows.append((name, (*cells, mean)))
    return Table(
        title="Recall at 5 by group (Table 5), %",
        corner="method",
        columns=tuple(("", group) for group in (*GROUPS, "mean")),
        rows=tuple(rows),
        notes=(
            f"Protocol {protocol}: {PROTOCOLS[protocol]}.",
            "A phrase with several types counts in each; the mean is over the groups that occur.",
        ),
    )


def _figures(judged: Sequence[Judgement]) -> list[Cell]:
    scores = evaluate(judged)
    recalls = [percent(scores.recall[rank], recall_interval(judged, rank)) for rank in RANKS]
    maps = [Cell("") if value != value else percent(value) for value in (scores.map_group, scores.map_phrase)]
    return [*recalls, *maps]
