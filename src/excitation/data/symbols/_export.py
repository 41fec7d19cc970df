"""Scenes as files, in the formats of the data sets they stand for."""

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
"""Raised when the same seed gives other files. 1 had `boxes/` in place of `voc/`, and labels without boxes; up to 2,
tags had no words such as `pair` and `small`."""

BROKEN_OFF = re.compile(r"\..+\.[0-9a-f]{12}\.part")
"""What a killed process leaves of a file it was writing (`whole_file`)."""


class ExportError(ExcitationError):
    """A folder cannot take these scenes."""


def export_scenes(folder: Path, count: int, seed: int = 0, split: str = "test") -> Iterator[int]:
    """Write scenes with all their annotations; stopped at any moment, the same call goes on.

    `images/` holds the pictures; `annotations/instances.json` their objects in COCO's format, with exact masks;
    `voc/` the same pictures and boxes in PASCAL VOC's layout; `entities/` captions and boxes as Flickr30k Entities has
    them; `tags.jsonl` uploads with their users, tags, and which noise is in them; and for the split `"dominant"`,
    `labels.csv` the label and box of each picture, as `read_imagenet` takes them. `open_data` opens `coco:FOLDER`,
    `voc:FOLDER/voc` and, for `"dominant"`, `imagenet:FOLDER`.

    Args:
        folder: made if it does not exist. Scenes in an earlier release's layout are written again in this one's.
        count: number of scenes, from the first of the split.
        seed: the world's.
        split: as `make_scene` takes it.

    Yields:
        The number of scenes finished so far, from those found there on.

    Raises:
        ExportError: the folder holds other scenes, or pycocotools is missing.
        ExcitationError: no such split, or a negative seed.
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
        # Without these the export counts as unfinished. The name of the format comes last: a kill before it does the
        # same again.
        (folder / "annotations" / "instances.json").unlink(missing_ok=True)
        for old in (".parts", "boxes"):
            shutil.rmtree(folder / old, ignore_errors=True)
    write_whole(place, text)


def _write_scene(folder: Path, scene: Scene, masks: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """The files of one scene, and its rows for the common ones; `masks` in COCO's run lengths."""
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
    """The same picture in another folder; a copy only where the file system knows no hard links."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        place.hardlink_to(picture)
    except OSError:
        write_whole(place, picture.read_bytes())


def _assemble(folder: Path, count: int, split: str) -> None:
    """Put the common files together; `instances.json` comes last and says that all is there."""
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
    """Remove what a finished export needs no more, and what killed ones have left."""
    shutil.rmtree(folder / ".parts", ignore_errors=True)
    for path in list(folder.rglob(".*.part")):
        if BROKEN_OFF.fullmatch(path.name):
            path.unlink(missing_ok=True)
