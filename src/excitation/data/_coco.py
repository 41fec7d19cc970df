"""COCO: the instances of a split in one JSON file, with polygons, run lengths and crowds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from ._annotations import AnnotatedImage, Box, DataError, Instance
from ._dataset import AnnotatedImages, Truth, existing_folder, one_of, safe_below
from ._json import read_json
from ._numbers import is_finite_number
from ._pictures import MAX_PIXELS
from ._segmentation import Segmentation, SegmentationError, read_segmentation


class CocoImages(AnnotatedImages):
    """Images of a COCO split. The JSON file is read at construction; masks are decoded on demand."""

    truth: ClassVar[Truth] = "segments"

    def __init__(self, root: Path, file: Path, split: str) -> None:
        content = _read_json(file)
        self._file = file
        names = (root / split, root / "images" / split, root / "images", root)
        self._folders = tuple(folder for folder in names if folder.is_dir())
        entries = _entries(content, "images", file)
        super().__init__(
            f"{root.name}-{split}" if split else root.name,
            root,
            (str(item["id"]) for item in entries if _is_id(item.get("id"))),
            file,
        )
        nameless = sum(not _is_id(item.get("id")) for item in entries)
        if nameless:
            self.problems.report(file, f"lists {nameless} images without an id; left out.")
        self._images = {str(item["id"]): item for item in reversed(entries) if _is_id(item.get("id"))}
        categories = _entries(content, "categories", file)
        self._names = {
            item["id"]: str(item["name"]) for item in categories if _is_id(item.get("id")) and item.get("name")
        }
        if len(self._names) < len(categories):
            self.problems.report(file, f"{len(categories) - len(self._names)} categories lack a name or an own id.")
        self._annotations: dict[str, list[dict[str, Any]]] = {item: [] for item in self.ids}
        for item in _entries(content, "annotations", file):
            home = self._annotations.get(str(item.get("image_id")))
            if home is None:
                what = f"annotation {item.get('id')} is for image {item.get('image_id')}"
                self.problems.report(file, f"{what}, which is not listed; left out.")
            else:
                home.append(item)

    def image(self, image_id: str) -> AnnotatedImage | None:
        """Return an image by its id, or `None` if it is unusable; `problems` then contains the reason.

        Raises:
            DataError: an unknown id.
        """
        self._check_id(image_id)
        entry = self._images[image_id]
        height, width, name = entry.get("height"), entry.get("width"), entry.get("file_name")
        if type(height) is not int or type(width) is not int or not 0 < height * width <= MAX_PIXELS or height < 1:
            self.problems.report(self._file, f"image {image_id} has no usable size ({width} x {height}); left out.")
            return None
        path = self._picture_path(image_id)
        if path is None:
            self.problems.report(
                self.root / str(name), f"image {image_id} in {self._file.name}: its picture is missing; left out."
            )
            return None
        instances = [
            instance
            for item in self._annotations[image_id]
            for instance in self._instances(item, image_id, (height, width))
        ]
        return AnnotatedImage(image_id, path, (height, width), tuple(instances))

    def _instances(self, item: dict[str, Any], image_id: str, size: tuple[int, int]) -> list[Instance]:
        what = f"annotation {item.get('id')} of image {image_id}"
        known = _is_id(item.get("category_id")) and item["category_id"] in self._names
        if not known:
            self.problems.report(
                self._file, f"{what} has category {item.get('category_id')}, which is not listed; left out."
            )
            return []
        box = _box(item.get("bbox"))
        if box is None:
            self.problems.report(self._file, f"{what} has no box of four numbers; left out.")
            return []
        segmentation: Segmentation | None = None
        if item.get("segmentation") is not None:
            try:
                segmentation = read_segmentation(item["segmentation"], size)
            except SegmentationError as error:
                self.problems.report(self._file, f"{what}: its segmentation {error}; left out.")
                return []
        boxed = self._boxed(self._names[item["category_id"]], box, size, self._file, what)
        return [
            Instance(instance.category, instance.box, segmentation, crowd=bool(item.get("iscrowd", 0)))
            for instance in boxed
        ]

    def _find_categories(self) -> Iterable[str]:
        return [self._names[key] for key in sorted(self._names, key=lambda key: (isinstance(key, str), key))]

    def _annotation_files(self) -> Iterable[Path]:
        yield self._file

    def _picture_path(self, image_id: str) -> Path | None:
        name = self._images[image_id].get("file_name")
        if not isinstance(name, str):
            return None
        places = (safe_below(folder, name) for folder in self._folders)
        return next((place for place in places if place is not None and place.is_file()), None)


def read_coco(root: str | os.PathLike[str], split: str | None = None) -> CocoImages:
    """Read a dataset in COCO's layout.

    Args:
        root: folder with `annotations/instances_SPLIT.json` (or `annotations/instances.json`), and the pictures in
            `SPLIT`, `images/SPLIT` or `images`.
        split: name of the split, such as `"val2014"`; optional if there is only one.

    Returns:
        The dataset, whose images are read on demand. The objects of a category are its instances and crowds.

    Raises:
        DataError: the folder, file or split is missing, or the file is not a COCO instances file.
    """
    place = existing_folder(root, "COCO")
    folder = place / "annotations"
    files = {file.stem.removeprefix("instances").removeprefix("_"): file for file in folder.glob("instances*.json")}
    if not files:
        raise DataError(f"{folder}: has no file instances_SPLIT.json or instances.json.")
    name = one_of(sorted(files), split, folder, "split") if split is not None or len(files) > 1 else next(iter(files))
    return CocoImages(place, files[name], name)


def _read_json(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise DataError(f"{file}: holds a {type(content).__name__}, not COCO's images, annotations and categories.")
    return content


def _entries(content: dict[str, Any], key: str, file: Path) -> list[dict[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(item, dict) for item in entries):
        raise DataError(f"{file}: {key!r} is no list of entries; a COCO instances file is expected.")
    return entries


def _is_id(value: object) -> bool:
    return type(value) in (int, str)


def _box(stored: object) -> Box | None:
    """Convert COCO's `[x, y, width, height]` to a box; `None` if invalid."""
    if not isinstance(stored, list) or len(stored) != 4:
        return None
    if not all(map(is_finite_number, stored)):
        return None
    x, y, width, height = map(float, stored)
    return x, y, x + width, y + height
