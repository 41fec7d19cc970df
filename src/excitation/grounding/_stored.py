"""What the stored rows of `run_phrases` say: their names, and the recall for each gamma on the validation split."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..evaluation import Results
from ._judging import PROTOCOLS
from ._rescoring import GAMMAS, choose_gamma

OWN = "proposals"
"""Name of the row of the proposals' own scores (MCG_base in the paper)."""

SEPARATORS = (", ", " @ ")
"""Stand in names of rows before a fusion and before a layer, so names of methods and detections are without them."""

TEST, VALIDATION = "test", "validation"


def plain_rows(run: Results) -> tuple[str, ...]:
    """Names of the rows without maps: the proposals' own scores, then detections."""
    detections = run.configuration["detections"]
    assert isinstance(detections, Collection)
    return OWN, *detections


def split_row(name: str) -> tuple[str, str]:
    """The method and the fusion of `PhraseRun.row_name`."""
    method, _, fusion = name.partition(SEPARATORS[0])
    return method, fusion or "mean"


def chosen_gammas(run: Results) -> dict[str, float]:
    """The gamma of each method and layer with the highest recall at 1 on the validation split."""
    return {name: choose_gamma(values).gamma for name, values in gamma_recalls(run).items()}


def gamma_recalls(run: Results, rank: int = 1) -> dict[str, dict[float, float]]:
    """Recall on the validation split by method and layer (`"METHOD @ LAYER"`) and gamma, by the run's protocol."""
    return {
        name: {gamma: float(np.mean([hit for _, hit in pairs])) for gamma, pairs in of_gamma.items()}
        for name, of_gamma in gamma_hits(run, rank).items()
    }


def gamma_hits(run: Results, rank: int = 1) -> dict[str, dict[float, list[tuple[str, bool]]]]:
    """As `gamma_recalls`, the image of each phrase and whether one of the first `rank` boxes is correct."""
    place = list(PROTOCOLS).index(str(run.configuration["protocol"]))
    found: dict[str, dict[float, list[tuple[str, bool]]]] = {}
    for row in run.rows:
        if not row.image.startswith(f"{VALIDATION}/"):
            continue
        own = found.setdefault(f"{row.method} @ {row.layer}", {gamma: [] for gamma in GAMMAS})
        for gamma, first in zip(GAMMAS, row.series[place :: len(PROTOCOLS)], strict=True):
            own[gamma].append((row.image, 0 <= first < rank))
    return found
