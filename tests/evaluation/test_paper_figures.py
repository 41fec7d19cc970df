"""The bundled published figures, against the tables in the paper's text (beside the project)."""

from __future__ import annotations

import re

import pytest

from excitation.evaluation import paper_figures

NETWORKS = {"CNN-S": "CNN-S", "VGG16": "VGG16", "GoogleNet": "GoogLeNet"}
METHODS = {"Center": "centre", "Grad": "gradient", "Deconv": "deconv", "full": "c-MWP", "post-norm": "eb-post-norm",
           "w/o norm": "eb-without-norm", "c-Deconv": "c-deconv", "LRN": "LRP", "MCG_base": "MCG's own scores",
           "CCA*": "CCA as precomputed", "CCA": "CCA as published"}  # fmt: skip
"""Rows by the paper's own names; all others are called alike."""


@pytest.fixture
def tables(shared):
    """Lines of cells of each table of the paper, without its marks (bold, underlined, references)."""
    text = shared("paper/excitation_backprop_eccv2016.md").read_text(encoding="utf-8")
    found = {}
    for number in range(1, 6):
        block = text[text.index(f"**Table {number}.**") :].split("\n\n")[1]
        plain = re.sub(r"</?\w+>|\s?\[\d+\]", "", block)
        found[number] = [[cell.strip() for cell in line.split("\t")] for line in plain.splitlines()]
    return found


def of_paper(game, method, group):
    """The figures of one row here, by the paper's or our name, in one group of columns."""
    row = paper_figures().games[game][f"{METHODS.get(method, method)} (paper)"]
    return {subset: value for (own, subset), value in row.items() if own == group}


def two(text, names=("All", "Diff.")):
    """Cells such as 69.5/42.6."""
    words = [word.strip() for word in text.split("/")]
    return {name: float(word) for name, word in zip(names, words, strict=False) if word not in {"-", "–"}}


def own_rows(game):
    return {name.removesuffix(" (paper)") for name in paper_figures().games[game] if name.endswith("(paper)")}


def test_table_1(tables):
    networks = [NETWORKS[name] for name in tables[1][1][1:]]
    groups = [f"{data}, {name}" for data, name in zip(["VOC07 test"] * 3 + ["COCO14 val"] * 3, networks, strict=True)]
    assert len(tables[1]) == 9
    assert own_rows("pointing") == {METHODS.get(line[0], line[0]) for line in tables[1][2:]}
    for method, *cells in tables[1][2:]:
        for group, cell in zip(groups, cells, strict=True):
            assert of_paper("pointing", method, group) == two(cell), (method, group)


def test_table_2(tables):
    names, cells = tables[2][1][1:], tables[2][2][1:]
    expected = {}
    for name, cell in zip(names, cells, strict=True):
        contrasted, *plain = re.findall(r"\d+\.\d", cell) or [None]
        if contrasted is not None:
            expected[METHODS.get(name, name)] = float(contrasted)
        for own in plain:  # in brackets, without the contrast
            expected[METHODS.get(name.removeprefix("c-"), name.removeprefix("c-"))] = float(own)
    assert len(expected) == 7  # c-Grad is not available
    assert own_rows("contrast") == set(expected)
    for name, value in expected.items():
        assert of_paper("contrast", name, "VOC07 test, GoogLeNet") == {"Diff.": value}


def test_table_3(tables):
    names, alphas, errors = (line[1:] for line in tables[3])
    assert len(names) == 7
    assert own_rows("localization") == {METHODS.get(name.rstrip("*"), name.rstrip("*")) for name in names}
    for name, alpha, error in zip(names, alphas, errors, strict=True):
        known = {} if alpha == "-" else {"alpha": float(alpha)}
        assert of_paper("localization", name.rstrip("*"), "ImageNet val, GoogLeNet") == {**known, "Error": float(error)}


def phrase_row(name):
    """The row's name here, from `METHOD (PROPOSALS)`."""
    method, _, proposals = name.partition(" (")
    ours = METHODS.get(method, method)
    return ours if not proposals else f"{ours}, {proposals.rstrip(')').replace('EB', 'EdgeBoxes')}"


def test_table_4(tables):
    measures = ["R@1", "R@5", "R@10", "mAP (group)", "mAP (phrase)"]
    assert [name.lower() for name in tables[4][0][2:]] == [name.lower() for name in measures]
    assert own_rows("phrases") == {phrase_row(line[0]) for line in tables[4][1:]}
    for name, gamma, *cells in tables[4][1:]:
        expected = {} if gamma == "–" else {"gamma": float(gamma)}
        for measure, cell in zip(measures, cells, strict=True):
            expected |= two(cell, (f"{measure}, All", f"{measure}, Small"))
        assert of_paper("phrases", phrase_row(name), "Flickr30k Entities test") == expected, name


def test_table_5(tables):
    kinds = tables[5][0][1:]
    assert own_rows("phrases by type") == {phrase_row(line[0]) for line in tables[5][1:]}
    for name, *cells in tables[5][1:]:
        found = of_paper("phrases by type", phrase_row(name), "Flickr30k Entities test")
        assert found == dict(zip(kinds, map(float, cells), strict=True)), name


def test_slips_are_told_with_the_figures():
    found = paper_figures()
    assert found.notes[0].startswith("(paper): Zhang")
    slip = next(note for note in found.notes if "70.6" in note)
    own = [found.games[game]["c-MWP (paper)"]["VOC07 test, GoogLeNet", "Diff."] for game in ("pointing", "contrast")]
    assert own == [72.3, 70.6]
    assert "72.3" in slip
