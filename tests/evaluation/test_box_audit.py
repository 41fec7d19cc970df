"""The audit of boxes that miss: what is said to be wrong with each."""

from __future__ import annotations

import pytest
from experiments.box_audit import alpha, kind, row

OBJECT = (0.0, 0.0, 100.0, 100.0)
OTHER = (110.0, 0.0, 210.0, 100.0)


@pytest.mark.parametrize(
    ("box", "truths", "expected"),
    [
        ((0, 0, 100, 50), [OBJECT], "right"),  # exactly one half
        ((0, 0, 100, 49), [OBJECT], "too small"),
        ((-60, -60, 160, 160), [OBJECT], "too large"),
        ((0, 0, 210, 100), [OBJECT, OTHER], "several as one"),
        ((0, 0, 210, 100), [OBJECT], "too large"),
        ((90, 90, 190, 190), [OBJECT], "elsewhere"),
        ((300, 300, 310, 310), [OBJECT, OTHER], "elsewhere"),
        (None, [OBJECT], "elsewhere"),
    ],
)
def test_what_is_wrong_with_a_box(box, truths, expected):
    assert kind(box, truths) == expected


def test_every_fifth_photo_chooses_and_the_others_are_judged():
    small, whole, nothing = (0, 0, 100, 40), OBJECT, None
    chooses = ([small, whole, nothing], [OBJECT])
    judged = ([whole, small, nothing], [OBJECT])
    found = {0: chooses, 1: judged, 2: judged, 4: judged, 5: chooses}  # one could not be read
    assert alpha([chooses, chooses]) == 1
    assert row(found) == ["0.5", "0", "100", "0", "0", "0", "0.40 [0.40, 0.40]"]
