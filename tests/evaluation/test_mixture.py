"""Several classes of a category: in equal parts, or by the network's probabilities, the same for all methods."""

from __future__ import annotations

import pytest
import torch
from test_classes import coco, network

import excitation as eb
from excitation.core import rivals_signal, top_down_signal
from excitation.data._mapping import category_target
from excitation.evaluation import report_tables, run_deletion, run_localization, run_pointing
from excitation.evaluation._classes import mixed_by_probability

pytest.importorskip("pycocotools", reason="pycocotools is not installed", exc_type=ImportError)

MAPPING = {"dog": (0, 2, 3), "hat": (1,)}


@pytest.fixture
def one():
    return torch.rand(1, 3, 16, 16)


@pytest.mark.parametrize("spatial", [False, True])
def test_weights_are_probabilities_among_the_category_s_classes(one, spatial):
    model = network(5)
    if spatial:
        model = eb.LoadedModel(model.model[:3], "map", model.preprocessing)
    pairs = {name: category_target(classes) for name, classes in MAPPING.items()}
    found = mixed_by_probability(model, one, pairs)
    assert found["hat"] == 1
    scores = model.model(one)
    y = (scores.mean((2, 3)) if spatial else scores)[0].softmax(0)
    own = y[list(MAPPING["dog"])] / y[list(MAPPING["dog"])].sum()
    assert list(found["dog"]) == [0, 2, 3]
    assert list(found["dog"].values()) == pytest.approx(own.tolist(), rel=1e-5)
    assert mixed_by_probability(model, one, {"hat": 1}) == {"hat": 1}


def test_a_mixture_by_probability_is_what_r_mwp_takes(one):
    """The part above zero of r-MWP's signal on pooled scores is the mixture's own."""
    model = network(5)
    target = mixed_by_probability(model, one, {"dog": category_target(MAPPING["dog"])})["dog"]
    scores = model.model(one).double()
    own = torch.zeros(1, 1, 5, dtype=torch.bool)
    own[0, 0, list(MAPPING["dog"])] = True
    signal = rivals_signal(own, scores)[0, 0].clamp(min=0)
    given = top_down_signal(target, scores)[0]
    assert torch.allclose(signal, given, atol=1e-6)


@pytest.mark.parametrize("play", [run_pointing, run_localization, run_deletion])
def test_games_take_it_and_the_table_says_so(tmp_path, play):
    model, data = network(5), coco(tmp_path / "world", "dog", "hat")
    asked = []

    class Spy:
        def __call__(self, model, images, targets, layer):
            asked.append(targets)
            return torch.rand(len(images), len(targets), 4, 4)

    size = {"side": 16, "held_out": 2} if play is run_localization else {"shortest": 16}
    for mixture in ("equal", "probability"):
        run = play(
            model, data, {"spy": Spy()}, out=tmp_path / f"{mixture}.sqlite", mapping=MAPPING, mixture=mixture, **size
        )
        if play is not run_localization:  # which has no image left to judge here
            notes = " ".join(report_tables([run], samples=5)[0].notes)
            assert ("weighted by their probability" in notes) == (mixture == "probability")
        assert run.configuration["mixture"] == mixture
    (equal, hat), (weighted, other) = asked
    assert (hat, other) == (1, 1)
    assert set(equal.values()) == {1 / 3}
    assert len(set(weighted.values())) == 3
    assert sum(weighted.values()) == pytest.approx(1)
