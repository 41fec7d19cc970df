"""Averages by hand; bootstrap against scipy, drawing by drawing, and as a procedure that covers the truth."""

import numpy as np
import pytest
import scipy.stats

from excitation import ExcitationError
from excitation.evaluation import Outcomes, accuracy, compare, interval, wins

HAND = [
    ("1", "cat", True),
    ("1", "dog", False),
    ("2", "cat", False),
    ("3", "cat", True),
    ("3", "cow", 1),
]


def random_pairs(rng, images=40, categories=5, chance=0.6):
    names = [f"c{c}" for c in range(categories)]
    present = rng.random((images, categories)) < 0.4
    present[:, 0] |= ~present.any(1)
    return [(f"i{i:03d}", names[c], bool(rng.random() < chance)) for i, c in zip(*np.nonzero(present), strict=True)]


def test_averages_by_hand():
    found = accuracy(Outcomes.from_pairs(HAND))
    assert found.by_group == pytest.approx({"cat": 2 / 3, "cow": 1, "dog": 0})
    assert found.mean == pytest.approx(5 / 9)
    assert found.pooled == pytest.approx(3 / 5)
    assert (found.pairs, found.images) == (5, 3)
    with pytest.raises(ExcitationError, match="there are no results: every pair was left out"):
        Outcomes.from_pairs([])


def test_a_selection_keeps_names_and_values_together():
    found = Outcomes.from_pairs(HAND).only(["3", "9", "1"], ["dog", "cat"])
    assert found.pairs.tolist() == [[0, 1], [0, 0], [1, 1]]
    assert found.hits.tolist() == [[0, 1], [0, 0], [0, 1]]


def by_brute_force(pairs, average, samples, seed):
    """Draw images with the same generator, then count pair by pair."""
    images = sorted({image for image, _, _ in pairs})
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(samples):
        drawn = [images[i] for i in rng.integers(len(images), size=len(images))]
        right, all_ = {}, {}
        for name in drawn:
            for image, category, hit in pairs:
                if image == name:
                    all_[category] = all_.get(category, 0) + 1
                    right[category] = right.get(category, 0) + hit
        if average == "mean":
            values.append(np.mean([right[c] / all_[c] for c in all_]))
        else:
            values.append(sum(right.values()) / sum(all_.values()))
    return values


@pytest.mark.parametrize("average", ["mean", "pooled"])
def test_intervals_by_brute_force(average):
    pairs = random_pairs(np.random.default_rng(3), images=12)
    found = interval(Outcomes.from_pairs(pairs), average, samples=150, seed=5, level=0.9)
    values = by_brute_force(pairs, average, 150, 5)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, [5, 95])))
    assert found.level == 0.9


def test_intervals_are_scipys_for_one_category():
    rng = np.random.default_rng(1)
    hits = rng.random(80) < 0.7
    pairs = [(f"{i:02d}", "cat", bool(hit)) for i, hit in enumerate(hits)]
    found = interval(Outcomes.from_pairs(pairs), samples=6000)
    expected = scipy.stats.bootstrap(
        (hits.astype(float),), np.mean, n_resamples=6000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.014)


@pytest.mark.parametrize("average", ["mean", "pooled"])
def test_intervals_are_scipys_drawing_by_drawing(average):
    """With the same generator, SciPy draws the same images; 301 of them, so that no whole number of draws fits."""
    outcomes = Outcomes.from_pairs(random_pairs(np.random.default_rng(2), images=301))

    def statistic(drawn, axis=-1):
        pairs, hits = (table[drawn].sum(-2) for table in (outcomes.pairs, outcomes.hits))
        if average == "pooled":
            return hits.sum(-1) / pairs.sum(-1)
        return (hits / pairs).mean(-1)

    found = interval(outcomes, average, samples=500, seed=9, level=0.9)
    expected = scipy.stats.bootstrap(
        (np.arange(301),), statistic, n_resamples=500, method="percentile", confidence_level=0.9, vectorized=True,
        rng=np.random.default_rng(9),
    ).confidence_interval  # fmt: skip
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        pairs = random_pairs(rng, images=60, categories=3)
        found = interval(Outcomes.from_pairs(pairs), "pooled", samples=200, level=0.9)
        covered += found.low <= 0.6 <= found.high
    assert 82 <= covered <= 97


def test_intervals_of_the_mean_cover_the_truth_with_many_small_categories():
    """As COCO-128 has them: 107 images, 255 pairs, 55 categories, six of one pair and nine of two."""
    counts = np.repeat([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12], [6, 9, 4, 8, 13, 5, 1, 1, 5, 2, 1])
    assert (len(counts), counts.sum()) == (55, 255)
    rng = np.random.default_rng(0)
    chances = rng.beta(1.5, 1.5, len(counts))  # some categories are easy, some are not
    images, names = (tuple(f"{kind}{number:03d}" for number in range(size)) for kind, size in (("i", 107), ("c", 55)))
    present = np.zeros((len(images), len(names)))
    for column, count in enumerate(counts):
        present[rng.choice(len(images), count, replace=False), column] = 1
    covered, trials = 0, 300
    for _ in range(trials):
        hits = present * (rng.random(present.shape) < chances)
        found = interval(Outcomes(images, names, present, hits), "mean", samples=300)
        covered += found.low <= chances.mean() <= found.high
    # A little under the nominal 95 %: a category of one pair varies in truth more than redrawing that pair shows.
    assert 0.9 <= covered / trials <= 0.98


def test_intervals_take_images_whole():
    # Ten pairs per image that are right or wrong together: as sure as one pair per image, not as ten.
    alone = [(f"{i:02d}", "c0", i % 2 == 0) for i in range(40)]
    together = [(f"{i:02d}", f"c{c}", i % 2 == 0) for i in range(40) for c in range(10)]
    one, ten = (interval(Outcomes.from_pairs(pairs), "pooled") for pairs in (alone, together))
    assert (one.low, one.high) == (ten.low, ten.high)


def test_comparisons_pair_what_both_have():
    rng = np.random.default_rng(0)
    pairs = random_pairs(rng, images=60)
    better = [(image, category, hit or bool(rng.random() < 0.5)) for image, category, hit in pairs]
    one = Outcomes.from_pairs([*better, ("x", "c0", True), ("i000", "extra", False)])
    two = Outcomes.from_pairs(pairs)
    found = compare(one, two, "pooled")
    assert found.first == pytest.approx(np.mean([hit for _, _, hit in better]))
    assert found.second == pytest.approx(np.mean([hit for _, _, hit in pairs]))
    assert found.difference == pytest.approx(found.first - found.second)
    assert (found.pairs, found.left_out) == (len(pairs), 2)
    assert found.interval.low > 0
    assert found.p_value < 0.01
    back = compare(two, one, "pooled")
    assert back.difference == -found.difference
    assert back.interval.low == pytest.approx(-found.interval.high)
    assert back.p_value == found.p_value
    same = compare(two, two)
    assert (same.difference, same.interval.low, same.interval.high, same.p_value) == (0, 0, 0, 1)
    with pytest.raises(ExcitationError, match="no pair of image and query in common"):
        compare(one, Outcomes.from_pairs([("y", "c0", True)]))


def test_the_p_value_is_that_of_all_swaps():
    hits = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [1, 0], [1, 0], [1, 1]], dtype=bool)
    one = Outcomes.from_pairs([(str(i), "c", bool(h)) for i, h in enumerate(hits[:, 0])])
    two = Outcomes.from_pairs([(str(i), "c", bool(h)) for i, h in enumerate(hits[:, 1])])
    differences = hits[:, 0].astype(int) - hits[:, 1]
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(hits))).reshape(len(hits), -1)
    exact = np.mean(abs(differences @ signs) >= abs(differences.sum()))
    assert compare(one, two, samples=8000).p_value == pytest.approx(exact, abs=0.02)
    assert exact == pytest.approx(14 / 64)


def test_p_values_are_uniform_where_nothing_differs():
    values = []
    for trial in range(120):
        rng = np.random.default_rng(trial)
        pairs = random_pairs(rng, images=50)
        one, two = ([(i, c, bool(rng.random() < 0.5)) for i, c, _ in pairs] for _ in range(2))
        values.append(compare(Outcomes.from_pairs(one), Outcomes.from_pairs(two), samples=200).p_value)
    assert scipy.stats.kstest(values, "uniform").pvalue > 0.01


def test_wins():
    def of(**table):
        return Outcomes.from_pairs([("1", name, share) for name, share in table.items()])

    found = wins(
        {"a": of(cat=1, dog=0.5, cow=0, own=1), "b": of(cat=0, dog=0.5, cow=1), "c": of(cat=0.5, dog=0, cow=0)}
    )
    assert {name: (item.alone, item.shared) for name, item in found.items()} == {"a": (1, 1), "b": (1, 1), "c": (0, 0)}
    assert wins({}) == {}


def test_the_same_seed_gives_the_same_answer():
    outcomes = Outcomes.from_pairs(random_pairs(np.random.default_rng(0)))
    assert interval(outcomes, samples=100) == interval(outcomes, samples=100)
    assert interval(outcomes, samples=100) != interval(outcomes, samples=100, seed=1)
