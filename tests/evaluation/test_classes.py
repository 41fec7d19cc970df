"""Which classes a category is: from the caller, the data set, ImageNet, the data set's order, or the name."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from torch import nn

from excitation import ExcitationError, LoadedModel, Preprocessing
from excitation.data import open_data, read_imagenet
from excitation.data._imagenet_classes import imagenet_classes
from excitation.evaluation import NamedMethod, report_tables, run_pointing
from excitation.evaluation._classes import ASSUMED, BUNDLED, classes_of

pytest.importorskip("pycocotools", reason="pycocotools is not installed", exc_type=ImportError)

IMAGENET = tuple(imagenet_classes().values())
PREPARED = Preprocessing(size=(16, 16))


def network(classes, names=None):
    layers = nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return LoadedModel(nn.Sequential(*layers).eval(), "net", PREPARED, names, "1")


def coco(root, *categories):
    """A picture with one object of each category."""
    (root / "annotations").mkdir(parents=True)
    Image.new("RGB", (20, 20)).save(root / "a.png")
    notes = [{"id": i, "image_id": 1, "category_id": i, "bbox": [2, 2, 9, 9]} for i in range(len(categories))]
    content = {"images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 20}], "annotations": notes,
               "categories": [{"id": i, "name": name} for i, name in enumerate(categories)]}  # fmt: skip
    (root / "annotations/instances.json").write_text(json.dumps(content))
    return open_data(f"coco:{root}")


def kaggle(root, *wordnet, order=()):
    (root / "val").mkdir(parents=True)
    Image.new("RGB", (20, 20)).save(root / "val/a.JPEG")
    boxes = " ".join(f"{item} 2 2 9 9" for item in wordnet)
    (root / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\na,{boxes}\n")
    if order:
        (root / "LOC_synset_mapping.txt").write_text("".join(f"{item} a name\n" for item in order))
    return read_imagenet(root)


def test_the_caller_s_mapping_stands_above_all(tmp_path):
    data = coco(tmp_path, "dog", "hat")
    found = classes_of(network(1000, IMAGENET), data, {"dog": [3]}, PREPARED)
    assert (found("dog"), found("hat"), found.note) == ((3,), (), "")


def test_categories_of_coco_and_voc_for_networks_of_imagenet(tmp_path):
    data = coco(tmp_path, "dog", "tvmonitor", "person", "mixing bowl")
    named = classes_of(network(1000, IMAGENET), data, None, PREPARED)
    assert named.note == BUNDLED
    assert named("dog") == tuple(range(151, 269))
    assert named("tvmonitor") == (664, 782, 851)
    assert named("person") == ()
    assert named("mixing bowl") == (659,)  # by its name
    bare = classes_of(network(1000), data, None, PREPARED)
    assert bare("dog") == named("dog")
    assert bare("mixing bowl") == ()
    assert bare.note == f"{BUNDLED}; {ASSUMED}"


@pytest.mark.parametrize("names", [IMAGENET[::-1], [f"class {i}" for i in range(1000)]])
def test_a_thousand_classes_of_other_names_are_not_imagenet_s(tmp_path, names):
    with pytest.raises(ExcitationError, match=r"none of the 1 categories of .* \(dog\).*--mapping FILE"):
        classes_of(network(1000, names), coco(tmp_path / "a", "dog"), None, PREPARED)
    data = kaggle(tmp_path / "b", "n02123045")
    with pytest.raises(ExcitationError, match="none of the 1 categories"):
        classes_of(network(1000, names), data, None, PREPARED)


def test_another_number_of_classes_is_not_imagenet_s(tmp_path):
    with pytest.raises(ExcitationError, match="which has no class names"):
        classes_of(network(7), coco(tmp_path, "dog"), None, PREPARED)


def test_wordnet_ids_for_networks_of_imagenet(tmp_path):
    data = kaggle(tmp_path, "n02123045", "n01440764")
    named = classes_of(network(1000, IMAGENET), data, None, PREPARED)
    assert (named("n02123045"), named("n01440764"), named.note) == ((281,), (0,), "")
    bare = classes_of(network(1000), data, None, PREPARED)
    assert (bare("n02123045"), bare.note) == ((281,), ASSUMED)


def test_the_data_set_s_order_for_networks_with_as_many_classes(tmp_path):
    data = kaggle(tmp_path, "n02123045", "n01440764", order=["n02123045", "n00000001", "n01440764"])
    found = classes_of(network(3), data, None, PREPARED)
    assert (found("n02123045"), found("n01440764"), found.note) == ((0,), (2,), "")
    assert classes_of(network(1000, IMAGENET), data, None, PREPARED)("n02123045") == (281,)
    with pytest.raises(ExcitationError, match="none of the 2 categories"):
        classes_of(network(4), data, None, PREPARED)


def test_labels_say_classes_themselves(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("file,class_index,wnid\na.png,2,n02123045\n")
    assert classes_of(network(1000, IMAGENET), read_imagenet(tmp_path), None, PREPARED)("n02123045") == (2,)


@pytest.mark.parametrize(("names", "said"), [(IMAGENET, BUNDLED), (None, f"{BUNDLED}; {ASSUMED}")])
def test_the_table_says_so(tmp_path, names, said):
    torch.manual_seed(0)
    data = coco(tmp_path / "world", "dog", "person")
    run = run_pointing(
        network(1000, names), data, {"mwp": NamedMethod("mwp")}, out=tmp_path / "run.sqlite", shortest=16
    )
    assert len(run.rows) == 1
    note = report_tables([run], samples=10)[0].notes[-1]
    assert said in note
    assert "1 pairs left out since the category has no classes" in note
    run = run_pointing(
        network(1000, names), data, {"mwp": NamedMethod("mwp")}, out=tmp_path / "own.sqlite", shortest=16,
        mapping={"dog": [3]},
    )  # fmt: skip
    assert "ImageNet" not in report_tables([run], samples=10)[0].notes[-1]
