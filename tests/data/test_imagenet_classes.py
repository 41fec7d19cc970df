"""The bundled list of ImageNet's classes: their order, their recognition by name, and COCO's and VOC's categories."""

from __future__ import annotations

import json

import pytest

from excitation.data._imagenet_classes import CATEGORIES, are_imagenet_names, classes_of_category, imagenet_classes


def test_the_order_is_kaggle_s(shared):
    lines = shared("data/imagenet_val_boxes/LOC_synset_mapping.txt").read_text().splitlines()
    assert list(imagenet_classes()) == [line.split()[0] for line in lines]
    names = [line.split(" ", 1)[1].split(",")[0] for line in lines]
    assert list(imagenet_classes().values()) == names


def test_the_order_is_by_wordnet_id():
    found = imagenet_classes()
    assert len(found) == 1000
    assert list(found) == sorted(found)
    assert classes_of_category("n02123045") == (281,)
    assert found["n02123045"] == "tabby"
    assert classes_of_category("n99999999") == classes_of_category("person") == ()


def test_networks_are_known_by_their_names():
    names = list(imagenet_classes().values())
    assert are_imagenet_names(names)
    assert are_imagenet_names([f"{name.upper()}, something else" for name in names])
    assert are_imagenet_names([*names[:900], *["another"] * 100])
    assert not are_imagenet_names([*names[:850], *["another"] * 150])
    assert not are_imagenet_names(names[::-1])
    assert not are_imagenet_names(names[:999])
    assert not are_imagenet_names([f"class {i}" for i in range(1000)])


def test_names_as_files_of_weights_have_them(shared):
    assert are_imagenet_names(shared("models/squeezenet_v1.0/imagenet_labels.txt").read_text().splitlines())


def test_categories_hold_classes_once():
    assert all(len(set(classes)) == len(classes) > 0 for classes in CATEGORIES.values())
    assert all(0 <= index < 1000 for classes in CATEGORIES.values() for index in classes)
    names = list(imagenet_classes().values())
    assert [names[i] for i in CATEGORIES["cat"]] == [
        "tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat",
    ]  # fmt: skip
    assert (names[CATEGORIES["dog"][0]], names[CATEGORIES["dog"][-1]]) == ("Chihuahua", "Mexican hairless")
    assert (names[24], names[80], names[100], names[127], names[146]) == (
        "great grey owl", "black grouse", "black swan", "white stork", "albatross",
    )  # fmt: skip


@pytest.mark.parametrize("place", ["coco128/coco_to_imagenet.json", "voc_photos/voc_to_imagenet.json"])
def test_categories_are_nearly_those_of_another_table(shared, place):
    """The reference was made by others from the same classes; readings differ in a few (ambulances, jugs, cots)."""
    reference = json.loads(shared(f"data/{place}").read_text())
    assert {name for name, classes in reference.items() if classes} <= set(CATEGORIES)
    differing = {}
    for name, classes in reference.items():
        own = set(CATEGORIES[name])
        assert own & set(classes), name
        assert len(own & set(classes)) >= 0.5 * len(own | set(classes)), name
        if own != set(classes):
            differing[name] = own ^ set(classes)
    assert len(differing) <= 0.2 * len(reference), differing
