"""Scenes as files, in the formats of the data sets they stand for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from ..._errors import ExcitationError
from ..._files import write_whole
from .._pictures import write_picture
from ._captions import annotation_xml, make_captions
from ._glyphs import SYMBOL_NAMES
from ._scenes import Scene, check_scene, make_scene
from ._tags import make_uploads, near_duplicate

FORMAT = 1  # raised when the same seed gives other files


class ExportError(ExcitationError):
    """A folder cannot take these scenes."""


def export_scenes(folder: Path, count: int, seed: int = 0, split: str = "test") -> Iterator[int]:
    """Write scenes with all their annotations; stopped at any moment, the same call goes on.

    `images/` holds the pictures; `annotations/instances.json` their objects in COCO's format, with exact masks;
    `entities/` captions and boxes as Flickr30k Entities has them; `tags.jsonl` uploads with their users and tags;
    `boxes/` boxes by name as ImageNet and PASCAL VOC have them; and for the split `"dominant"`, `labels.csv` the one
    label of each picture.

    Args:
        folder: made if it does not exist.
        count: number of scenes, from the first of the split.
        seed: the world's.
        split: as `make_scene` takes it.

    Yields:
        The number of scenes finished so far, from those found there on.

    Raises:
        ExportError: the folder holds other scenes, or pycocotools is missing.
        ValueError: no such split, or a negative seed.
    """
    if count < 1:
        raise ValueError(f"count is {count}; ask for one scene at least.")
    check_scene(0, seed, split)
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise ExportError("writing masks needs pycocotools: pip install 'excitation[data]'.") from error
    configuration = {"format": FORMAT, "count": count, "seed": seed, "split": split}
    _claim(folder / "world.json", configuration)
    if (folder / "annotations" / "instances.json").exists():
        yield count
        return
    for index in range(count):
        part = folder / ".parts" / f"{index:06d}.json"
        if not part.exists():
            scene = make_scene(index, seed, split)
            masks = [coco_mask.encode(np.asfortranarray(item.mask.astype(np.uint8))) for item in scene.instances]
            row = _write_scene(folder, scene, masks)
            write_whole(part, json.dumps(row))
        yield index + 1
    _assemble(folder, count, split)


def _claim(place: Path, configuration: dict[str, object]) -> None:
    text = json.dumps(configuration)
    if place.exists():
        if place.read_text() != text:
            raise ExportError(f"{place.parent} holds other scenes, {place.read_text()[:200]}; choose another folder.")
        return
    write_whole(place, text)


def _write_scene(folder: Path, scene: Scene, masks: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """The files of one scene, and its rows for the common ones; `masks` in COCO's run lengths."""
    name = f"{scene.index:06d}"
    captions = make_captions(scene)
    files = [f"images/{name}.png"]
    write_picture(folder / files[0], Image.fromarray(scene.image))
    uploads = make_uploads(scene)
    for upload in uploads[1:]:
        files.append(f"images/{name}-again.png")
        assert upload.duplicate
        write_picture(folder / files[-1], Image.fromarray(near_duplicate(scene)))
    write_whole(
        folder / "entities" / "Sentences" / f"{name}.txt", "".join(f"{caption.marked()}\n" for caption in captions)
    )
    write_whole(folder / "entities" / "Annotations" / f"{name}.xml", annotation_xml(scene, captions, f"{name}.png"))
    write_whole(folder / "boxes" / f"{name}.xml", _boxes_xml(scene, f"{name}.png"))
    annotations = []
    for instance, coded in zip(scene.instances, masks, strict=True):
        x0, y0, x1, y1 = instance.box
        annotations.append(
            {
                "image_id": scene.index,
                "category_id": instance.symbol + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": int(instance.mask.sum()),
                "iscrowd": 0,
                "segmentation": {"size": coded["size"], "counts": coded["counts"].decode("ascii")},
                "colour": instance.colour_name,
            }
        )
    height, width = scene.image.shape[:2]
    return {
        "image": {"id": scene.index, "file_name": f"{name}.png", "height": height, "width": width},
        "annotations": annotations,
        "uploads": [
            {"image": file, "user": upload.user, "tags": list(upload.tags)}
            for file, upload in zip(files, uploads, strict=True)
        ],
    }


def _boxes_xml(scene: Scene, file_name: str) -> bytes:
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
        # PASCAL VOC counts pixels from one and includes the last.
        for name, value in (("xmin", x0 + 1), ("ymin", y0 + 1), ("xmax", x1), ("ymax", y1)):
            ElementTree.SubElement(box, name).text = str(value)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8")) + b"\n"


def _assemble(folder: Path, count: int, split: str) -> None:
    """Put the common files together, `instances.json` last, and remove the parts."""
    parts = [folder / ".parts" / f"{index:06d}.json" for index in range(count)]
    rows = [json.loads(part.read_text()) for part in parts]
    write_whole(folder / "tags.jsonl", "".join(f"{json.dumps(u)}\n" for row in rows for u in row["uploads"]))
    if split == "dominant":
        lines = [
            f"images/{row['image']['file_name']},{row['annotations'][0]['category_id'] - 1},"
            f"{SYMBOL_NAMES[row['annotations'][0]['category_id'] - 1]}\n"
            for row in rows
        ]
        write_whole(folder / "labels.csv", "".join(["file,class_index,name\n", *lines]))
    annotations = [annotation for row in rows for annotation in row["annotations"]]
    coco = {
        "info": {"description": "symbol world", "split": split},
        "images": [row["image"] for row in rows],
        "annotations": [{"id": number, **item} for number, item in enumerate(annotations, 1)],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(SYMBOL_NAMES)],
    }
    write_whole(folder / "annotations" / "instances.json", json.dumps(coco))
    for part in parts:
        part.unlink()
    (folder / ".parts").rmdir()
