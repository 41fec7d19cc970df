"""Object annotations in the formats of COCO, PASCAL VOC and ImageNet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

from ._glyphs import SYMBOL_NAMES
from ._scenes import Instance, Scene


def coco_annotation(scene: Scene, instance: Instance, coded: Mapping[str, Any]) -> dict[str, Any]:
    """One object in COCO's format, without its id; `coded` is its mask as COCO run lengths."""
    x0, y0, x1, y1 = instance.box
    return {
        "image_id": scene.index,
        "category_id": instance.symbol + 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int(instance.mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": coded["size"], "counts": coded["counts"].decode("ascii")},
        "colour": instance.colour_name,
    }


def voc_xml(scene: Scene, file_name: str) -> bytes:
    """The objects of a scene in PASCAL VOC's format."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = file_name
    size = ElementTree.SubElement(root, "size")
    for name, value in zip(("height", "width", "depth"), scene.image.shape, strict=True):
        ElementTree.SubElement(size, name).text = str(value)
    for instance in scene.instances:
        place = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(place, "name").text = instance.name
        ElementTree.SubElement(place, "difficult").text = "0"
        box = ElementTree.SubElement(place, "bndbox")
        x0, y0, x1, y1 = instance.box
        # PASCAL VOC coordinates start at one and are inclusive.
        for name, value in (("xmin", x0 + 1), ("ymin", y0 + 1), ("xmax", x1), ("ymax", y1)):
            ElementTree.SubElement(box, name).text = str(value)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8")) + b"\n"


def imagenet_labels(rows: Iterable[Mapping[str, Any]]) -> str:
    """The labels and boxes of pictures, one line per object, in the format of `read_imagenet`.

    Args:
        rows: COCO `image` and `annotations` of each scene.

    Returns:
        CSV. The name of the symbol replaces the WordNet id, and its index in the classifier outputs is the class index.
        Boxes start at zero and are half open.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("file", "class_index", "wnid", "x0", "y0", "x1", "y1"))
    for row in rows:
        for item in row["annotations"]:
            symbol = item["category_id"] - 1
            x, y, width, height = item["bbox"]
            table.writerow((row["image"]["file_name"], symbol, SYMBOL_NAMES[symbol], x, y, x + width, y + height))
    return text.getvalue()
