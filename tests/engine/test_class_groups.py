"""Words that stand for several classes, as targets."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import excitation as eb
from excitation.core._targets import ClassNames, class_weights
from excitation.data._imagenet_classes import CATEGORIES, GROUPS, imagenet_classes

NAMES = ["Maltese dog, Maltese terrier", "beagle", "tabby", "cup", "orange"]
GROUPED = ClassNames(NAMES, {"dog": (0, 1), "Cat": (2,), "cup": (3, 4)})


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, len(NAMES))
    ).eval()


def test_a_group_is_the_even_distribution_over_its_classes():
    assert class_weights("dog", 5, GROUPED).tolist() == [0.5, 0.5, 0, 0, 0]
    assert class_weights(" CAT ", 5, GROUPED).tolist() == [0, 0, 1, 0, 0]
    assert class_weights({"dog": 0.5, "cat": 0.5}, 5, GROUPED).tolist() == [0.25, 0.25, 0.5, 0, 0]


def test_a_class_comes_before_a_group_of_its_name():
    assert class_weights("cup", 5, GROUPED).tolist() == [0, 0, 0, 1, 0]
    assert class_weights("Maltese terrier", 5, GROUPED).tolist() == [1, 0, 0, 0, 0]


def test_groups_work_wherever_targets_are_given():
    model, images = small(), torch.rand(1, 3, 8, 8)
    model[4].weight.data.abs_()
    loaded = eb.LoadedModel(model, "small", class_names=GROUPED)
    for contrast in ({}, {"method": "c-mwp"}, {"method": "r-mwp"}, {"against": "cat"}):
        mine = eb.explain(loaded, images, ["dog"], layer="1", **contrast).maps
        same = {"against": 2} if "against" in contrast else contrast
        assert torch.equal(mine, eb.explain(model, images, [{0: 0.5, 1: 0.5}], layer="1", **same).maps)
    assert torch.equal(
        eb.explain(model, images, ["dog"], layer="1", class_names=GROUPED).maps,
        eb.explain(loaded, images, ["dog"], layer="1").maps,
    )
    every = eb.all_classes(loaded, images, layer="1")
    assert torch.allclose(every.maps(["dog"]), eb.explain(loaded, images, ["dog"], layer="1").maps, atol=1e-6)


def test_misses_name_the_nearest():
    with pytest.raises(eb.TargetError, match="Nearest: 'maltese dog, maltese terrier', 'maltese terrier'"):
        class_weights("terrier", 5, GROUPED)
    with pytest.raises(eb.TargetError, match="Nearest: 'cat'"):
        class_weights("catt", 5, GROUPED)
    with pytest.raises(eb.TargetError, match=r"not a class of this network\.$"):
        class_weights("xylophone", 5, GROUPED)
    with pytest.raises(eb.TargetError, match="not a class of this network"):
        class_weights("dog", 5, tuple(NAMES))


def test_groups_of_absent_classes_are_refused():
    for places in ((5,), (-1,), ()):
        with pytest.raises(eb.TargetError, match="group 'dog' holds classes"):
            ClassNames(NAMES, {"dog": places})


def test_imagenet_names_bring_their_groups_along():
    names = list(imagenet_classes().values())
    loaded = eb.LoadedModel(nn.Identity(), "any", class_names=names)
    dogs = class_weights("dog", 1000, loaded.class_names)
    assert int((dogs > 0).sum()) == 118
    assert float(dogs.sum()) == pytest.approx(1)
    assert eb.LoadedModel(nn.Identity(), "any", class_names=NAMES).class_names is NAMES
    for name in ("crane", "maillot"):  # two classes each
        with pytest.raises(eb.TargetError, match="names several classes"):
            class_weights(name, 1000, loaded.class_names)
    with pytest.raises(eb.TargetError, match="Nearest: 'dog'"):
        class_weights("dogg", 1000, loaded.class_names)


@pytest.mark.parametrize(
    ("group", "first", "last"),
    [("snake", "thunder snake", "sidewinder"), ("monkey", "guenon", "squirrel monkey"), ("shark", "great white shark",
     "hammerhead"), ("fruit", "Granny Smith", "pomegranate"), ("turtle", "loggerhead", "box turtle"), ("butterfly",
     "admiral", "lycaenid"), ("crab", "Dungeness crab", "king crab"), ("beetle", "tiger beetle", "weevil")],
)  # fmt: skip
def test_the_projects_groups_begin_and_end_where_wordnets_do(group, first, last):
    names = list(imagenet_classes().values())
    assert (names[GROUPS[group][0]], names[GROUPS[group][-1]]) == (first, last)
    assert set(CATEGORIES) <= set(GROUPS)
