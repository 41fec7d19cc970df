"""ImageNet's 1000 classes (ILSVRC 2012), and the classes that correspond to categories of COCO and PASCAL VOC.

`imagenet_classes.txt` contains one line per class, in the order of the output units of networks trained on ImageNet:
its WordNet id and the first name of its synset.

The table of categories follows one rule. A class belongs to a category if its synset is that of the category or a
descendant in WordNet, or if annotators of the dataset label it as the category: streetcars as trains, ships as
boats, mugs and beer glasses as cups, screens as televisions. Classes that show only a part (car wheel, wing), a place
(bookshop), or a content (red wine) do not belong, with two exceptions whose images show the full object: the
toilet seat and the flower pot. A category without such a class (person, giraffe, fork, ...) is not in the table.
WordNet numbers animals along its tree, so that birds, dogs and other groups are ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

CLASSES = 1000

ALIKE = 900
"""Minimum number of class names that must match ImageNet's, in order, to identify an ImageNet network. Publishers of
weights changed some names ("crane bird", "maillot tank suit")."""

_BIRDS = (*range(7, 25), *range(80, 101), *range(127, 147))
_AIRPLANES = (404, 895)
_BICYCLES = (444, 671)
_BOATS = (403, 472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 833, 871, 914)
_BUSES = (654, 779, 874)
_COUCHES = (831,)
_MOTORCYCLES = (665, 670)
_PLANTS = (738,)
_TABLES = (532,)
_TELEVISIONS = (664, 782, 851)

CATEGORIES: dict[str, tuple[int, ...]] = {
    "aeroplane": _AIRPLANES,
    "airplane": _AIRPLANES,
    "apple": (948,),
    "backpack": (414,),
    "banana": (954,),
    "bear": (294, 295, 296, 297),
    "bed": (431, 516, 520, 564),
    "bench": (703,),
    "bicycle": _BICYCLES,
    "bird": _BIRDS,
    "boat": _BOATS,
    "book": (917, 921),
    "bottle": (440, 720, 737, 898, 899, 901, 907),
    "bowl": (659, 809),
    "broccoli": (937,),
    "bus": _BUSES,
    "car": (407, 436, 468, 511, 609, 627, 656, 661, 751, 817),
    "cat": (281, 282, 283, 284, 285),
    "cell phone": (487,),
    "chair": (423, 559, 765, 857),
    "clock": (409, 530, 892),
    "couch": _COUCHES,
    "cow": (345,),
    "cup": (441, 504, 968),
    "dining table": _TABLES,
    "diningtable": _TABLES,
    "dog": tuple(range(151, 269)),
    "elephant": (101, 385, 386),
    "hair drier": (589,),
    "handbag": (748,),
    "horse": (339,),
    "hot dog": (934,),
    "keyboard": (508, 878),
    "knife": (499, 623),
    "laptop": (620, 681),
    "microwave": (651,),
    "motorbike": _MOTORCYCLES,
    "motorcycle": _MOTORCYCLES,
    "mouse": (673,),
    "orange": (950,),
    "oven": (827,),
    "parking meter": (704,),
    "pizza": (963,),
    "potted plant": _PLANTS,
    "pottedplant": _PLANTS,
    "refrigerator": (760,),
    "remote": (761,),
    "sandwich": (933,),
    "sheep": (348, 349),
    "sink": (896,),
    "skis": (795,),
    "sofa": _COUCHES,
    "spoon": (618, 910),
    "sports ball": (429, 430, 522, 574, 722, 768, 805, 852, 890),
    "stop sign": (919,),
    "teddy bear": (850,),
    "tennis racket": (752,),
    "tie": (451, 457, 906),
    "toaster": (859,),
    "toilet": (861,),
    "traffic light": (920,),
    "train": (466, 547, 565, 705, 820, 829),
    "truck": (555, 569, 675, 717, 734, 864, 867),
    "tv": _TELEVISIONS,
    "tvmonitor": _TELEVISIONS,
    "umbrella": (879,),
    "vase": (883,),
    "wine glass": (572,),
    "zebra": (340,),
}
"""Classes of each category of COCO and VOC, by category name."""

GROUPS: dict[str, tuple[int, ...]] = {
    **CATEGORIES,
    "amphibian": tuple(range(25, 33)),
    "animal": tuple(range(398)),
    "ape": tuple(range(365, 370)),
    "beetle": tuple(range(300, 308)),
    "big cat": tuple(range(288, 294)),
    "butterfly": tuple(range(321, 327)),
    "coffee": (967,),
    "crab": tuple(range(118, 122)),
    "fish": (*range(7), *range(389, 398)),
    "fox": tuple(range(277, 281)),
    "frog": tuple(range(30, 33)),
    "fruit": tuple(range(948, 958)),
    "guitar": (402, 546),
    "insect": tuple(range(300, 327)),
    "lizard": tuple(range(38, 49)),
    "lobster": (122, 123),
    "monkey": tuple(range(370, 383)),
    "owl": (24,),
    "parrot": tuple(range(87, 91)),
    "penguin": (145,),
    "piano": (579, 881),
    "primate": tuple(range(365, 385)),
    "rabbit": (330, 331, 332),
    "reptile": tuple(range(33, 69)),
    "retriever": tuple(range(205, 210)),
    "salamander": tuple(range(25, 30)),
    "shark": (2, 3, 4),
    "ship": (403, 510, 628, 724, 913),
    "snake": tuple(range(52, 69)),
    "spider": tuple(range(72, 78)),
    "squash": (940, 941, 942),
    "swan": (100,),
    "terrier": (*range(179, 196), *range(199, 204)),
    "turtle": tuple(range(33, 38)),
    "whale": (147, 148),
    "wolf": tuple(range(269, 272)),
}
"""Names of groups of classes, and alternative names of single classes: the categories, and hypernyms of ImageNet's
classes in WordNet by their common names."""


@cache
def imagenet_classes() -> dict[str, str]:
    """Class names by WordNet id, in the order of the classes."""
    lines = (files(__package__) / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


@cache
def _places() -> dict[str, int]:
    return {wordnet: index for index, wordnet in enumerate(imagenet_classes())}


def classes_of_category(category: str) -> tuple[int, ...]:
    """ImageNet classes of a category: a WordNet id such as `n02123045`, or a name in `CATEGORIES`; empty if unknown."""
    place = _places().get(category)
    return CATEGORIES.get(category, ()) if place is None else (place,)


def are_imagenet_names(names: Sequence[str]) -> bool:
    """Whether the class names of a network are ImageNet's, in order: at least 900 of 1000 must contain the class name.

    Args:
        names: one entry per output unit: a name, or several names separated by commas.
    """
    if len(names) != CLASSES:
        return False
    own = imagenet_classes().values()
    return (
        sum(
            name.casefold() in {part.strip().casefold() for part in given.split(",")}
            for name, given in zip(own, names, strict=True)
        )
        >= ALIKE
    )
