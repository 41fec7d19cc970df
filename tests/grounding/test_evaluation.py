"""Recall, average precision and pointing: where the protocols differ, and against another spelling of each."""

from __future__ import annotations

import dataclasses
import json
import random

import numpy as np
import pytest
import torch

from excitation import ExcitationError
from excitation.data import DataError
from excitation.grounding import (
    AP_DEFINITION,
    GROUPS,
    PROTOCOLS,
    Detections,
    Judgement,
    Phrase,
    association_table,
    average_precision,
    compare_recall,
    evaluate,
    group_table,
    judge_phrase,
    judge_phrases,
    point_phrases,
    read_detections,
    recall_at,
    recall_interval,
    rescore,
    small_only,
    superpixel_proposals,
    symbol_phrases,
)

SIZE = (100, 100)


def phrase(*boxes, types=("people",), key=0, image="1", entity="7", words=("A", "man")):
    return Phrase(image, key, words, (0, len(words)), types, entity, boxes)


def detections(*boxes):
    scores = torch.arange(len(boxes), 0, -1, dtype=torch.float64)
    return Detections.ranked(torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4), scores)


def right(item, box):
    return {name: bool(judge_phrase(item, SIZE, detections(box), name).correct[0]) for name in PROTOCOLS}


def test_where_the_protocols_differ():
    # Two men at some distance: the merged box covers both and what is between.
    pair = phrase((0, 0, 11, 11), (30, 0, 41, 11))
    assert right(pair, (0, 0, 11, 11)) == {"merged-inclusive": False, "any": True, "merged": False}
    assert right(pair, (0, 0, 41, 11)) == {"merged-inclusive": True, "any": False, "merged": True}
    # Inclusive ends: 3 x 3 pixels of 3 x 6, half; without the last pixels 2 x 2 of 2 x 5, less than half.
    thin = phrase((0, 0, 3, 6))
    assert right(thin, (0, 0, 3, 3)) == {"merged-inclusive": True, "any": False, "merged": False}
    # A single pixel has no length without its last one, so nothing can overlap it.
    assert right(phrase((5, 5, 6, 6)), (5, 5, 6, 6)) == {"merged-inclusive": True, "any": False, "merged": False}


def plain_overlap(first, second, plus):
    """From first and last pixels, as the evaluators of the papers count."""
    (ax, ay, bx, by), (cx, cy, dx, dy) = ((x0, y0, x1 - 1, y1 - 1) for x0, y0, x1, y1 in (first, second))
    width, height = min(bx, dx) - max(ax, cx) + plus, min(by, dy) - max(ay, cy) + plus
    shared = max(width, 0) * max(height, 0)
    union = (bx - ax + plus) * (by - ay + plus) + (dx - cx + plus) * (dy - cy + plus) - shared
    return shared / union if union else 0


def random_box(rng):
    x, y = sorted(rng.sample(range(12), 2)), sorted(rng.sample(range(12), 2))
    return x[0], y[0], x[1], y[1]


def near(rng, box):
    x0, y0, x1, y1 = (side + rng.choice([0, 0, 1]) for side in box)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def random_world(seed, count=60):
    rng = random.Random(seed)
    items = []
    for number in range(count):
        boxes = tuple(random_box(rng) for _ in range(rng.randint(1, 2)))
        types = tuple(rng.sample(GROUPS[:4], rng.randint(1, 2)))
        words = ("A", rng.choice(["man", "Man", "dog", "hat"]))
        one = phrase(*boxes, types=types, key=number, image=str(number % 12), words=words)
        # Some at random, some near a target or the box around both.
        own = [random_box(rng) for _ in range(rng.randint(0, 10))]
        own += [near(rng, rng.choice([one.target, *boxes])) for _ in range(rng.randint(0, 2))]
        scores = torch.tensor([rng.randint(0, 30) for _ in own], dtype=torch.float64)
        items.append((one, Detections.ranked(torch.tensor(own, dtype=torch.float64).reshape(-1, 4), scores)))
    return items


def plain_right(one, box, protocol):
    merged = tuple(f(sides) for f, sides in zip((min, min, max, max), zip(*one.boxes, strict=True), strict=True))
    targets = one.boxes if protocol == "any" else [merged]
    return max(plain_overlap(box, target, protocol == "merged-inclusive") for target in targets) >= 0.5


def plain_ap(items, protocol):
    """Another spelling: walk down the list, then read precision off at each recall."""
    rows = []
    for number, (one, found) in enumerate(items):
        done = False
        for rank, (box, score) in enumerate(zip(found.boxes.tolist(), found.scores.tolist(), strict=True)):
            hit = not done and plain_right(one, box, protocol)
            done |= hit
            rows.append((-score, number, rank, hit))
    hits, curve = 0, []
    for place, (*_, hit) in enumerate(sorted(rows), start=1):
        hits += hit
        curve.append((hits / len(items), hits / place))
    return sum(
        max((precision for recall, precision in curve if recall >= step / len(items) - 1e-9), default=0)
        for step in range(1, len(items) + 1)
    ) / len(items)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(4))
def test_against_another_implementation(protocol, seed):
    items = random_world(seed)
    judged = [judge_phrase(one, SIZE, found, protocol) for one, found in items]
    firsts = []
    for one, found in items:
        hits = [rank for rank, box in enumerate(found.boxes.tolist(), 1) if plain_right(one, box, protocol)]
        firsts.append(min(hits, default=99))
    scores = evaluate(judged)
    assert scores.recall == {k: pytest.approx(np.mean([first <= k for first in firsts])) for k in (1, 5, 10)}
    for group in GROUPS:
        own = [i for i, (one, _) in enumerate(items) if group in one.types]
        assert (group in scores.group_ap) == bool(own)
        if own:
            assert scores.group_recall[group] == pytest.approx(np.mean([firsts[i] <= 5 for i in own]))
            assert scores.group_ap[group] == pytest.approx(plain_ap([items[i] for i in own], protocol))
    assert scores.group_mean == pytest.approx(np.mean(list(scores.group_recall.values())))
    assert scores.map_group == pytest.approx(np.mean(list(scores.group_ap.values())))
    texts = {"a man", "a dog", "a hat"}
    assert set(scores.phrase_ap) == texts
    for text in texts:
        own = [item for item in items if item[0].text.lower() == text]
        assert scores.phrase_ap[text] == pytest.approx(plain_ap(own, protocol))
    assert 0 < scores.recall[1] < scores.recall[10] < 1


def test_average_precision_by_hand():
    def judged(scores, correct):
        return Judgement("1", "0", "a", (), False, np.array(scores), np.array(correct, dtype=bool))

    # In one list: 9 wrong, 8 right, 7 right, 6 its second right box: a false alarm. Precision 1/2 then 2/3, raised.
    three = [judged([9.0, 7.0], [0, 1]), judged([8.0, 6.0], [1, 1]), judged([], [])]
    assert average_precision(three) == pytest.approx(2 * (2 / 3) / 3)
    assert recall_at(three, 1) == pytest.approx(1 / 3)
    assert recall_at(three, 2) == pytest.approx(2 / 3)
    assert average_precision([judged([], [])]) == 0
    for wrong in (lambda: evaluate([]), lambda: recall_at(three, 0)):
        with pytest.raises(ExcitationError):
            wrong()


def test_phrases_without_boxes_are_passed_over_and_small_ones_told_apart():
    phrases = [phrase(), phrase((0, 0, 49, 50)), phrase((0, 0, 50, 50)), phrase((0, 0, 10, 10), (90, 90, 100, 100))]
    found = judge_phrases(phrases, SIZE, [detections((0, 0, 49, 50))] * 3 + [Detections.none()])
    assert [item.small for item in found] == [True, False, False]
    assert [item.first for item in found] == [0, 0, None]
    assert len(small_only(found)) == 1
    with pytest.raises(ExcitationError, match="has no box"):
        judge_phrase(phrases[0], SIZE, Detections.none())
    with pytest.raises(ExcitationError, match="2 lists of boxes"):
        judge_phrases(phrases, SIZE, [Detections.none()] * 2)


def resampled(judged, samples):
    """Bootstrap samples by their definition: images drawn with replacement, with all their judgements."""
    rng = np.random.default_rng(0)
    images = [[item for item in judged if item.image == image] for image in sorted({item.image for item in judged})]
    for _ in range(samples):
        yield [item for i in rng.integers(len(images), size=len(images)) for item in images[i]]


def test_intervals_and_paired_differences():
    judged = [judge_phrase(one, SIZE, found) for one, found in random_world(5, 300)]
    for rank in (1, 5):
        ends = recall_interval(judged, rank)
        assert ends.low < recall_at(judged, rank) < ends.high
        drawn = [recall_at(own, rank) for own in resampled(judged, 400)]
        assert np.percentile(drawn, [2.5, 97.5]) == pytest.approx([ends.low, ends.high], abs=0.03)
    by_group = recall_interval(judged, 5, by_group=True)
    assert by_group.low < evaluate(judged).group_mean < by_group.high
    # The same method without its right boxes in every second image.
    worse = [dataclasses.replace(item, correct=item.correct & (int(item.image) % 2 == 0)) for item in judged]
    found = compare_recall(judged, worse, 5)
    assert found.difference == pytest.approx(recall_at(judged, 5) - recall_at(worse, 5))
    assert found.interval.low > 0
    assert (found.pairs, found.left_out) == (300, 0)
    assert compare_recall(judged, judged, 5).difference == 0
    assert compare_recall(judged, judged[:200], 5).left_out == 100
    with pytest.raises(ExcitationError, match="judged twice"):
        compare_recall(judged + judged[:1], judged, 5)


def maps_with(*points, size=(40, 60)):
    maps = torch.zeros(len(points), *size)
    for own, point in zip(maps, points, strict=True):
        for x, y in [point] if isinstance(point[0], int) else point:
            own[y, x] = 1
    return maps


def test_pointing_by_phrase_and_by_entity():
    boxes = ((10, 10, 21, 21), (40, 10, 51, 21))
    inside, edge, between, outside = (15, 15), (10, 15), (30, 15), (30, 30)
    one = [phrase(*boxes, key=i) for i in range(4)]
    maps = maps_with(inside, edge, between, outside)
    assert [item.hit for item in point_phrases(one, maps)] == [True, False, False, False]
    for row, hit in enumerate([True, True, True, False]):  # the enclosing box, its ends included
        (found,) = point_phrases(one[:1], maps[row : row + 1], "entity")
        assert found.hit == hit
    # Mentions of an entity are averaged: one loud mention decides.
    maps[3] *= 5
    (found,) = point_phrases(one, maps, "entity")
    assert (found.point, found.hit, found.key) == (outside, False, "7")
    # The last pixel inside is the half-open end less one.
    assert [point_phrases(one[:1], maps_with((x, 15)), "entity")[0].hit for x in (9, 10, 50, 51)] == [
        False,
        True,
        True,
        False,
    ]
    assert [point_phrases(one[:1], maps_with((x, 15)))[0].hit for x in (10, 11, 49, 50)] == [False, True, True, False]
    # Of several maxima the first, row by row.
    assert point_phrases(one[:1], maps_with([(50, 20), (45, 11), (3, 12)]))[0].point == (45, 11)
    # 5 % of the image are 120 pixels; the first box counts, not the enclosing one.
    small = phrase((0, 0, 10, 11), (20, 20, 60, 40))
    assert point_phrases([small], maps_with((5, 5)), "entity") == []
    assert len(point_phrases([phrase((0, 0, 10, 12))], maps_with((5, 5)), "entity")) == 1
    assert point_phrases([phrase()], maps_with((5, 5))) == []
    with pytest.raises(ExcitationError, match="not finite"):
        point_phrases(one[:1], maps_with((1, 1)) / 0)
    for wrong in ((one, maps[:2]), ([one[0], phrase(image="2")], maps[:2])):
        with pytest.raises(ExcitationError, match="of one image"):
            point_phrases(*wrong)


def test_detections_of_other_models(tmp_path):
    good = {"image": "1", "caption": 0, "span": [0, 2], "boxes": [[5, 5, 9, 9], [0, 0, 11, 11]], "scores": [0.1, 0.9]}
    bad = [
        {**good, "caption": -1}, {**good, "span": [1]}, {**good, "span": None}, {**good, "boxes": [[1, 2, 3, 4]]},
        {**good, "boxes": [[1, 2, 3], [1]]}, {**good, "scores": [1, None]}, {**good, "scores": [1, 10**400]}, 5, good,
    ]  # fmt: skip
    (tmp_path / "d.jsonl").write_text("\n\n".join(map(json.dumps, [good, *bad])) + "\n[\n" + "[" * 10_000)
    found, problems = read_detections(tmp_path / "d.jsonl")
    assert len(problems) == len(bad) + 2
    one = phrase((0, 0, 11, 11))
    judged = judge_phrase(one, SIZE, found["1", one.key])
    assert judged.correct.tolist() == [True, False]
    with pytest.raises(DataError, match="cannot be read"):
        read_detections(tmp_path / "absent.jsonl")


def test_tables_4_and_5():
    items = random_world(6)
    methods = {
        "one": [judge_phrase(one, (16, 16), found) for one, found in items],
        "none": [judge_phrase(one, (16, 16), Detections.none()) for one, _ in items],
    }
    table = association_table(methods, "merged-inclusive", {"one": 0.5})
    (name, cells), (_, nothing) = table.rows
    scores, small = evaluate(methods["one"]), evaluate(small_only(methods["one"]))
    assert name == "one"
    assert cells[0].text == "0.50"
    wanted = [value for part in (scores, small) for value in (*part.recall.values(), part.map_group, part.map_phrase)]
    assert [cell.value / 100 for cell in cells[1:]] == pytest.approx(wanted)
    assert all(cell.value == 0 for cell in nothing[1:])
    assert AP_DEFINITION in table.notes
    assert "xmax - xmin + 1" in table.notes[0]
    (_, cells), _ = group_table(methods, "any").rows
    assert [cell.text for cell in cells[4:8]] == [""] * 4  # groups that do not occur
    assert cells[0].value / 100 == pytest.approx(scores.group_recall["people"])
    assert cells[-1].value / 100 == pytest.approx(scores.group_mean)
    assert cells[-1].low < cells[-1].value < cells[-1].high


def test_maps_that_know_the_answer_find_it_from_end_to_end():
    """Proposals, scores, suppression and judgement together, on the symbol world's captions."""
    pytest.importorskip("skimage", reason="scikit-image (extra 'grounding') is not installed")
    from excitation.data.symbols import make_scene

    judged = {"knows": [], "chance": []}
    for image in symbol_phrases(3, seed=1):
        picture = make_scene(int(image.id), 1, "test").image
        proposals = superpixel_proposals(picture)
        boxed = [item for item in image.phrases if item.boxes]
        maps = torch.zeros(len(boxed), *image.size)
        for own, item in zip(maps, boxed, strict=True):
            x0, y0, x1, y1 = map(int, item.target)
            own[y0:y1, x0:x1] = 1
        for name, given in (("knows", maps), ("chance", torch.rand_like(maps))):
            judged[name] += judge_phrases(boxed, image.size, rescore(given, proposals, 0.5))
    assert recall_at(judged["knows"], 5) > 0.5 + recall_at(judged["chance"], 5) / 2
