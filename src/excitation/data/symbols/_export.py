"""Export of scenes to files in the formats of published datasets."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..._errors import ExcitationError
from ..._files import write_whole
from .._pictures import write_picture
from ._captions import annotation_xml, make_captions
from ._glyphs import SYMBOL_NAMES
from ._layouts import coco_annotation, imagenet_labels, voc_xml
from ._scenes import Scene, check_scene, make_scene
from ._tags import make_uploads, near_duplicate

FORMAT = 3
"""Format version, incremented when the same seed gives other files. Version 1 had `boxes/` instead of `voc/`, and
labels without boxes; up to version 2, tags had no words such as `pair` and `small`."""

BROKEN_OFF = re.compile(r"\..+\.[0-9a-f]{12}\.part")
"""File name pattern of incomplete files of an interrupted process (`whole_file`)."""


class ExportError(ExcitationError):
    """A folder cannot be used for these scenes."""


def export_scenes(folder: Path, count: int, seed: int = 0, split: str = "test") -> Iterator[int]:
    """Write scenes with all their annotations. An interrupted export can be resumed with the same call.

    `images/` contains the pictures; `annotations/instances.json` the objects in COCO's format, with exact masks;
    `voc/` the same pictures and boxes in PASCAL VOC's layout; `entities/` captions and boxes in the format of Flickr30k
    Entities; `tags.jsonl` uploads with users, tags and types of noise; and, for the split `"dominant"`, `labels.csv`
    the label and box of each picture in the format of `read_imagenet`. `open_data` opens `coco:FOLDER`,
    `voc:FOLDER/voc` and, for `"dominant"`, `imagenet:FOLDER`.

    Args:
        folder: output folder, created if missing. Scenes in the layout of an earlier release are rewritten.
        count: number of scenes, from the first of the split.
        seed: seed of the symbol world.
        split: name of the split, as in `make_scene`.

    Yields:
        The number of finished scenes, including those of an earlier call.

    Raises:
        ExportError: the folder contains other scenes, or pycocotools is missing.
        ExcitationError: an unknown split, or a negative seed.
    """
    if count < 1:
        raise ExcitationError(f"count is {count}; ask for one scene at least.")
    check_scene(0, seed, split)
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise ExportError("writing masks needs pycocotools: pip install 'excitation[data]'.") from error
    _claim(folder, {"format": FORMAT, "count": count, "seed": seed, "split": split})
    if (folder / "annotations" / "instances.json").exists():
        _tidy(folder)
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
    _tidy(folder)


def _claim(folder: Path, configuration: dict[str, object]) -> None:
    place = folder / "world.json"
    text = json.dumps(configuration)
    if place.exists():
        stored = place.read_text()
        if stored == text:
            return
        if stored not in {json.dumps({**configuration, "format": earlier}) for earlier in range(1, FORMAT)}:
            raise ExportError(f"{folder} holds other scenes, {stored[:200]}; choose another folder.")
        # Without these files the export counts as unfinished. The format name is written last, so that an interruption
        # before it repeats this step.
        (folder / "annotations" / "instances.json").unlink(missing_ok=True)
        for old in (".parts", "boxes"):
            shutil.rmtree(folder / old, ignore_errors=True)
    write_whole(place, text)


def _write_scene(folder: Path, scene: Scene, masks: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Write the files of one scene and return its rows of the common files; `masks` are COCO run lengths."""
    name = f"{scene.index:06d}"
    captions = make_captions(scene)
    files = [f"images/{name}.png"]
    write_picture(folder / files[0], Image.fromarray(scene.image))
    _second_name(folder / files[0], folder / "voc" / "JPEGImages" / f"{name}.png")
    uploads = make_uploads(scene)
    for upload in uploads[1:]:
        files.append(f"images/{name}-again.png")
        assert upload.duplicate
        write_picture(folder / files[-1], Image.fromarray(near_duplicate(scene)))
    write_whole(
        folder / "entities" / "Sentences" / f"{name}.txt", "".join(f"{caption.marked()}\n" for caption in captions)
    )
    write_whole(folder / "entities" / "Annotations" / f"{name}.xml", annotation_xml(scene, captions, f"{name}.png"))
    write_whole(folder / "voc" / "Annotations" / f"{name}.xml", voc_xml(scene, f"{name}.png"))
    height, width = scene.image.shape[:2]
    return {
        "image": {"id": scene.index, "file_name": f"{name}.png", "height": height, "width": width},
        "annotations": [
            coco_annotation(scene, instance, coded) for instance, coded in zip(scene.instances, masks, strict=True)
        ],
        "uploads": [
            {"image": file, "user": upload.user, "tags": list(upload.tags), "noise": list(upload.noise)}
            for file, upload in zip(files, uploads, strict=True)
        ],
    }


def _second_name(picture: Path, place: Path) -> None:
    """Hard-link a picture into another folder; copy it if the file system does not support hard links."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        place.hardlink_to(picture)
    except OSError:
        write_whole(place, picture.read_bytes())


def _assemble(folder: Path, count: int, split: str) -> None:
    """Write the common files; `instances.json` is last and marks the export as complete."""
    rows = [json.loads((folder / ".parts" / f"{index:06d}.json").read_text()) for index in range(count)]
    write_whole(folder / "tags.jsonl", "".join(f"{json.dumps(u)}\n" for row in rows for u in row["uploads"]))
    names = "".join(f"{index:06d}\n" for index in range(count))
    write_whole(folder / "voc" / "ImageSets" / "Main" / f"{split}.txt", names)
    if split == "dominant":
        write_whole(folder / "labels.csv", imagenet_labels(rows))
    annotations = [annotation for row in rows for annotation in row["annotations"]]
    coco = {
        "info": {"description": "symbol world", "split": split},
        "images": [row["image"] for row in rows],
        "annotations": [{"id": number, **item} for number, item in enumerate(annotations, 1)],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(SYMBOL_NAMES)],
    }
    write_whole(folder / "annotations" / "instances.json", json.dumps(coco))


def _tidy(folder: Path) -> None:
    """Remove the intermediate files of a finished export, and incomplete files of interrupted ones."""
    shutil.rmtree(folder / ".parts", ignore_errors=True)
    for path in list(folder.rglob(".*.part")):
        if BROKEN_OFF.fullmatch(path.name):
            path.unlink(missing_ok=True)
