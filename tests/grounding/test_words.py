"""Words of phrases in a classifier's dictionary, and fusions of their maps."""

from __future__ import annotations

import pytest
import torch

from excitation import ExcitationError
from excitation.grounding import FUSIONS, Dictionary, coverage, fuse_maps

ENTRIES = ["dog", "Woman", "umbrella", "glasses", "running shoe", "red", "Paris", "paris"]


def test_looking_words_up_as_written_and_in_lower_case():
    exact, case = Dictionary(ENTRIES, "exact"), Dictionary(ENTRIES, "case")
    assert [exact.find(word) for word in ("dog", "Dog", "Woman", "paris", "running")] == [0, None, 1, 7, None]
    words = ("Dog", "DOG'S", "dog’s", "woman,", '"red"', "Paris", "paris", "PARIS", "", "'s", "cat", "dogs")
    assert [case.find(word) for word in words] == [0, 0, 0, 1, 5, 6, 7, 6, None, None, None, None]
    for wrong in (lambda: Dictionary("dog"), lambda: Dictionary(["dog"], "stem"), lambda: Dictionary([1])):
        with pytest.raises(Exception, match=r"entries|lookup"):
            wrong()


def test_looking_words_up_by_lemma():
    pytest.importorskip("simplemma", reason="simplemma (extra 'grounding') is not installed")
    lemma = Dictionary([*ENTRIES, "child", "run"])
    words = ("dogs", "Women", "umbrellas", "glasses", "glass", "children", "Running", "redder")
    assert [lemma.find(word) for word in words[:4]] == [0, 1, 2, 3]
    assert [lemma.find(word) for word in words[5:7]] == [8, 9]
    assert lemma.find("zebras") is None
    # An entry in the plural is found by the singular.
    assert Dictionary(["dogs"]).find("dog") == 0


def test_coverage():
    dictionary = Dictionary(ENTRIES, "case")
    found = coverage(dictionary, [["A", "red", "umbrella"], ["a", "cat"], ["Dog"], []])
    assert (found.words, found.known, found.phrases, found.silent) == (6, 3, 4, 2)
    assert list(found.skipped.items()) == [("a", 2), ("cat", 1)]
    assert found.share == 0.5
    assert str(found).startswith("3 of 6 words are in the dictionary; 2 of 4 phrases")


def test_fusions():
    maps = torch.tensor([[[1.0, 3.0], [0.0, -2.0]], [[2.0, 2.0], [4.0, 0.0]], [[0.0, 1.0], [1.0, 2.0]]])
    shares = [[0.25, 0.75, 0, 0], [0.25, 0.25, 0.5, 0], [0, 0.25, 0.25, 0.5]]
    found = {name: fuse_maps(maps, name).flatten().tolist() for name in FUSIONS}
    assert found["mean"] == pytest.approx([1, 2, 5 / 3, 0])
    assert found["product"] == pytest.approx([a * b * c for a, b, c in zip(*shares, strict=True)])
    assert found["minimum"] == pytest.approx([min(column) for column in zip(*shares, strict=True)])
    assert found["noun-weighted"] == pytest.approx([0.75, 1.75, 1.5, 0.5])
    assert fuse_maps(maps, "noun-weighted", noun=1).tolist() == maps[2].tolist()
    for name in ("mean", "noun-weighted"):
        assert fuse_maps(maps[:1], name).tolist() == maps[0].tolist()
    assert not fuse_maps(-maps.abs(), "product").any()
    for wrong in (
        lambda: fuse_maps(maps[:0]),
        lambda: fuse_maps(maps, "maximum"),
        lambda: fuse_maps(maps / 0),
        lambda: fuse_maps(maps, "noun-weighted", noun=2),
    ):
        with pytest.raises(Exception, match=r"map|fusion|noun"):
            wrong()


def test_the_error_is_one_of_this_package():
    with pytest.raises(ExcitationError, match="no word of the phrase"):
        fuse_maps(torch.zeros(0, 2, 2))
