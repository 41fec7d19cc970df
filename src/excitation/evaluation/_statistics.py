"""Statistics of hits and misses: means, wins, bootstrap intervals, paired comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from .._errors import ExcitationError

Average = Literal["mean", "pooled"]
"""`"mean"`: accuracy of each group, averaged over groups (categories in the paper); `"pooled"`: of all pairs."""

SAMPLES = 2000
"""Samples of a bootstrap or randomisation test."""

LEVEL = 0.95
"""Confidence level of intervals."""

CHUNK = 64
"""Samples that are computed together, to limit the memory."""


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of a method, by image and by group: a category, a type of phrases, or a single query.

    Attributes:
        images: names of the rows.
        groups: names of the columns.
        pairs: number of evaluations of each pair, 0 or 1 in the pointing game, `(image, group)`.
        hits: sum of the hits of each pair, `(image, group)`. A hit is 0 or 1, or a fraction.
    """

    images: tuple[str, ...]
    groups: tuple[str, ...]
    pairs: Float[np.ndarray, "image group"]
    hits: Float[np.ndarray, "image group"]

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str, float | int | bool]]) -> Outcomes:
        """Create outcomes from items `(image, group, hit)`.

        Raises:
            ExcitationError: there is no item.
        """
        listed = list(pairs)
        if not listed:
            raise ExcitationError("there are no results: every pair was left out, or no pair was given.")
        images = {name: row for row, name in enumerate(sorted({image for image, _, _ in listed}))}
        groups = {name: column for column, name in enumerate(sorted({group for _, group, _ in listed}))}
        counts, hits = np.zeros((2, len(images), len(groups)))
        rows = [images[image] for image, _, _ in listed]
        columns = [groups[group] for _, group, _ in listed]
        np.add.at(counts, (rows, columns), 1.0)
        np.add.at(hits, (rows, columns), [float(hit) for _, _, hit in listed])
        return cls(tuple(images), tuple(groups), counts, hits)

    def only(self, images: Iterable[str], groups: Iterable[str]) -> Outcomes:
        """Return the rows and columns with these names, in this order. Unknown names give empty rows and columns."""
        images, groups = tuple(images), tuple(groups)
        counts, hits = np.zeros((2, len(images), len(groups)))
        own_rows = {name: row for row, name in enumerate(self.images)}
        own_columns = {name: column for column, name in enumerate(self.groups)}
        rows = [row for row, name in enumerate(images) if name in own_rows]
        columns = [column for column, name in enumerate(groups) if name in own_columns]
        source = np.ix_([own_rows[images[row]] for row in rows], [own_columns[groups[c]] for c in columns])
        counts[np.ix_(rows, columns)] = self.pairs[source]
        hits[np.ix_(rows, columns)] = self.hits[source]
        return Outcomes(images, groups, counts, hits)


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of a method. All accuracies are between 0 and 1.

    Attributes:
        by_group: accuracy of each group with a pair.
        mean: mean over groups.
        pooled: accuracy over all pairs.
        pairs: number of pairs.
        images: number of images.
    """

    by_group: dict[str, float]
    mean: float
    pooled: float
    pairs: int
    images: int


@dataclass(frozen=True)
class Interval:
    """A bootstrap percentile interval.

    Attributes:
        low: lower end.
        high: upper end.
        level: fraction of the bootstrap samples in the interval, 0 to 1.
    """

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same pairs.

    Attributes:
        first: accuracy of the first method, 0 to 1.
        second: accuracy of the second method, 0 to 1.
        difference: first minus second, -1 to 1.
        interval: bootstrap interval of the difference.
        p_value: p-value of a randomisation test that swaps the methods at random, image by image.
        pairs: number of pairs that both methods have.
        left_out: number of pairs that only one method has.
    """

    first: float
    second: float
    difference: float
    interval: Interval
    p_value: float
    pairs: int
    left_out: int


@dataclass(frozen=True)
class Wins:
    """The number of groups in which a method is best.

    Attributes:
        alone: number of groups in which no other method is as good.
        shared: number of groups in which other methods are as good.
    """

    alone: int
    shared: int


def accuracy(outcomes: Outcomes) -> Accuracy:
    """Compute the accuracy."""
    pairs, hits = outcomes.pairs.sum(0), outcomes.hits.sum(0)
    judged = np.flatnonzero(pairs)
    ratios = hits[judged] / pairs[judged]
    return Accuracy(
        by_group={outcomes.groups[column]: float(ratio) for column, ratio in zip(judged, ratios, strict=True)},
        mean=float(ratios.mean()),
        pooled=float(hits.sum() / pairs.sum()),
        pairs=round(float(pairs.sum())),
        images=int(np.count_nonzero(outcomes.pairs.sum(1))),
    )


def interval(
    outcomes: Outcomes,
    average: Average = "mean",
    *,
    level: float = LEVEL,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Interval:
    """Compute a bootstrap confidence interval by sampling images with replacement.

    All pairs of an image are sampled together, because they share the scene. A group without a sampled image is
    omitted from the mean of this sample.

    Args:
        outcomes: outcomes of one method.
        average: mean over groups, or pooled over pairs.
        level: confidence level, 0 to 1.
        samples: number of bootstrap samples.
        seed: seed of the sampling.

    Returns:
        The percentile interval.
    """
    judged = outcomes.pairs.any(1)
    pairs, hits = (_drawn(table[judged], samples, seed) for table in (outcomes.pairs, outcomes.hits))
    return percentile_interval(_average(hits, pairs, average), level)


def compare(
    first: Outcomes,
    second: Outcomes,
    average: Average = "mean",
    *,
    level: float = LEVEL,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two methods on the pairs that both have.

    Both methods use the same sampled images, so that the difficulty of the images cancels. The p-value is that of a
    randomisation test, which swaps the outcomes of the two methods for each image with a probability of one half.

    Args:
        first: outcomes of one method.
        second: outcomes of another method.
        average: mean over groups, or pooled over pairs.
        level: confidence level of the interval, 0 to 1.
        samples: number of samples of the bootstrap and of the randomisation test.
        seed: seed of the sampling.

    Raises:
        ExcitationError: they have no pair in common.
    """
    images = sorted({*first.images, *second.images})
    groups = sorted({*first.groups, *second.groups})
    one, two = first.only(images, groups), second.only(images, groups)
    both = (one.pairs > 0) & (two.pairs > 0)
    if not both.any():
        raise ExcitationError("the two methods have no pair of image and query in common; run them on the same data.")
    # Each pair counts once for each method, independent of the number of evaluations.
    judged = both.any(1)
    hits = [np.where(both, item.hits / np.where(both, item.pairs, 1), 0.0)[judged] for item in (one, two)]
    counts = both[judged].astype(np.float64)
    totals = [float(_average(item.sum(0)[None], counts.sum(0)[None], average)[0]) for item in hits]
    drawn = [_drawn(item, samples, seed) for item in (counts, *hits)]
    differences = _average(drawn[1], drawn[0], average) - _average(drawn[2], drawn[0], average)
    observed = totals[0] - totals[1]
    swapped = _swapped(hits[0] - hits[1], counts, average, samples, seed)
    # The observed arrangement is one of the possible ones, so the p-value is never zero.
    extreme = int(np.count_nonzero(np.abs(swapped) >= abs(observed) - 1e-12))
    return Comparison(
        first=totals[0],
        second=totals[1],
        difference=observed,
        interval=percentile_interval(differences, level),
        p_value=(extreme + 1) / (samples + 1),
        pairs=int(both.sum()),
        left_out=int(np.count_nonzero((one.pairs > 0) ^ (two.pairs > 0))),
    )


def wins(methods: Mapping[str, Outcomes]) -> dict[str, Wins]:
    """Return the number of groups in which each method is best, among the groups of all methods."""
    tables = {name: accuracy(outcomes).by_group for name, outcomes in methods.items()}
    common = set.intersection(*(set(table) for table in tables.values())) if tables else set()
    alone, shared = dict.fromkeys(tables, 0), dict.fromkeys(tables, 0)
    for group in common:
        best = max(table[group] for table in tables.values())
        winners = [name for name, table in tables.items() if table[group] >= best - 1e-12]
        for name in winners:
            (alone if len(winners) == 1 else shared)[name] += 1
    return {name: Wins(alone[name], shared[name]) for name in tables}


def _average(
    hits: Float[np.ndarray, "sample group"], pairs: Float[np.ndarray, "sample group"], average: Average
) -> Float[np.ndarray, " sample"]:
    if average == "pooled":
        return np.asarray(hits.sum(1) / pairs.sum(1))
    judged = pairs > 0
    ratios = np.where(judged, hits / np.where(judged, pairs, 1), 0)
    return np.asarray(ratios.sum(1) / judged.sum(1))


def _drawn(table: Float[np.ndarray, "image group"], samples: int, seed: int) -> Float[np.ndarray, "sample group"]:
    """Return sums over images sampled with replacement. Samples depend only on the number of images and the seed."""
    rng = np.random.default_rng(seed)
    size = len(table)

    def weights(count: int) -> np.ndarray:
        return np.stack([np.bincount(rng.integers(size, size=size), minlength=size) for _ in range(count)])

    return _in_chunks(table, samples, weights)


def _swapped(
    differences: Float[np.ndarray, "image group"],
    counts: Float[np.ndarray, "image group"],
    average: Average,
    samples: int,
    seed: int,
) -> Float[np.ndarray, " sample"]:
    """Return differences of accuracy after random swaps. The average is linear in the differences."""
    rng = np.random.default_rng([seed, 1])
    size = len(differences)
    sums = _in_chunks(differences, samples, lambda count: rng.integers(2, size=(count, size)) * 2 - 1)
    return _average(sums, np.broadcast_to(counts.sum(0), sums.shape), average)


def _in_chunks(table: np.ndarray, samples: int, weights: Callable[[int], np.ndarray]) -> np.ndarray:
    """Return weighted sums over images for each sample, computed in chunks to limit the memory."""
    parts = [weights(min(CHUNK, samples - start)).astype(np.float64) @ table for start in range(0, samples, CHUNK)]
    return np.concatenate(parts)


def percentile_interval(values: Float[np.ndarray, " sample"], level: float) -> Interval:
    """Return the interval that contains the fraction `level`, 0 to 1, of bootstrap samples, with equal tails."""
    tail = 50 * (1 - level)
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high), level)
