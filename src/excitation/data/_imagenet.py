"""ImageNet localisation images: XML boxes, the challenge's CSV of boxes, or a CSV of labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ._annotations import AnnotatedImage, Box, DataError
from ._dataset import AnnotatedImages, Truth, existing_folder, safe_below
from ._sizes import picture_size
from ._xml import XmlError, read_xml

PICTURES = ("Data/CLS-LOC/val", "val", "images", "")
"""Possible folders of pictures below the root; the first existing one is used."""

BOXES = ("Annotations/CLS-LOC/val", "Annotations", "bbox_val", "bbox")
"""Possible folders of XML files."""

TABLES = ("LOC_val_solution.csv", "labels.csv")
ORDERS = ("LOC_synset_mapping.txt", "synset_words.txt", "synsets.txt")
"""Files whose lines start with the WordNet ids of all classes in order, as distributed by Kaggle and Caffe."""

ENDINGS = (".JPEG", ".jpg", ".jpeg", ".png")


@dataclass
class _Row:
    """The annotations of one image: boxes as `(category, box, what)`, and labels."""

    picture: str
    boxes: list[tuple[str, Box, str]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


class ImageNetImages(AnnotatedImages):
    """ImageNet images with boxes of their category. Coordinates are used as written: from 0, half open."""

    truth: ClassVar[Truth] = "boxes"

    def __init__(self, name: str, root: Path, pictures: Path, rows: Mapping[str, _Row | Path], listed_in: Path) -> None:
        super().__init__(name, root, rows, listed_in)
        self._pictures = pictures
        self._rows = rows
        self._listed_in = listed_in

    def image(self, image_id: str) -> AnnotatedImage | None:
        """Return an image by its id, or `None` if it is unusable; `problems` then contains the reason.

        Raises:
            DataError: an unknown id.
        """
        self._check_id(image_id)
        row = self._rows[image_id]
        source = row if isinstance(row, Path) else self._listed_in
        path = self._picture_path(image_id)
        if path is None:
            self.problems.report(source, f"names image {image_id!r}, whose picture is missing; left out.")
            return None
        size: tuple[int, int] | None = None
        if isinstance(row, Path):
            try:
                written = read_xml(row)
            except XmlError as error:
                self.problems.report(row, f"{error} Image left out.")
                return None
            size = written.size
            row = _Row(path.name)
            if written.nameless:
                self.problems.report(source, f"has {written.nameless} objects without a name; left out.")
            for place, item in enumerate(written.objects, start=1):
                if item.box is None:
                    self.problems.report(source, f"object {place} has no box of four numbers; instance left out.")
                else:
                    row.boxes.append((item.name, item.box, f"object {place} ({item.name})"))
        size = size or picture_size(path, self.problems)
        if size is None:
            return None
        instances = [
            instance for category, box, what in row.boxes for instance in self._boxed(category, box, size, source, what)
        ]
        return AnnotatedImage(image_id, path, size, tuple(instances), tuple(row.labels))

    def _find_categories(self) -> Iterable[str]:
        if self.classes:
            return sorted(self.classes)
        return sorted({name for row in self._rows.values() for name in _categories_of(row)})

    def _annotation_files(self) -> Iterable[Path]:
        files = [row for row in self._rows.values() if isinstance(row, Path)]
        return files if files else [self._listed_in]

    def _picture_path(self, image_id: str) -> Path | None:
        row = self._rows[image_id]
        if isinstance(row, Path):
            places = [safe_below(self._pictures, f"{image_id}{ending}") for ending in ENDINGS]
        else:  # some tables contain names relative to the root
            places = [safe_below(folder, row.picture) for folder in (self._pictures, self.root)]
        return next((place for place in places if place is not None and place.is_file()), None)


def read_imagenet(root: str | os.PathLike[str]) -> ImageNetImages:
    """Read ImageNet images with boxes or labels.

    Categories are WordNet ids such as `n02123394`. A `labels.csv` file defines their class indices (`classes`).
    Otherwise `order` is that of `LOC_synset_mapping.txt` (Kaggle's layout of ImageNet), `synset_words.txt` or
    `synsets.txt` (Caffe), if the root contains one of these.

    Args:
        root: a folder with pictures (in `Data/CLS-LOC/val`, `val`, `images` or the folder itself) and one of: XML files
            (`Annotations/CLS-LOC/val`, `Annotations`, `bbox_val`, `bbox`); `LOC_val_solution.csv` (columns `ImageId`
            and `PredictionString`, the latter `wnid x0 y0 x1 y1 ...`); `labels.csv` (columns `file`, `class_index`,
            `wnid`, and optionally `x0`, `y0`, `x1`, `y1`; one line per object; files relative to the folder of the
            pictures or to the root).

    Returns:
        The dataset, whose images are read on demand. Without boxes, categories are labels of the image.

    Raises:
        DataError: the folder is missing, or contains none of these.
    """
    place = existing_folder(root, "ImageNet")
    pictures = next(folder for name in PICTURES if (folder := place / name).is_dir())
    boxes = next((folder for name in BOXES if (folder := place / name).is_dir()), None)
    if boxes is not None:
        files = {file.stem: file for file in sorted(boxes.glob("*.xml"))}
        if files:
            return _with_order(ImageNetImages(place.name, place, pictures, files, boxes))
    table = next((file for name in TABLES if (file := place / name).is_file()), None)
    if table is None:
        raise DataError(f"{place}: has neither XML files in {', '.join(BOXES)} nor {' or '.join(TABLES)}.")
    problems: list[str] = []
    rows, classes = _read_table(table, problems)
    data = ImageNetImages(place.name, place, pictures, rows, table)
    for sentence in problems:
        data.problems.report(table, sentence)
    data.classes = {name: (index,) for name, index in classes.items()}
    return _with_order(data)


def _with_order(data: ImageNetImages) -> ImageNetImages:
    """Add the order of the categories, if the root contains a file with it."""
    file = next((place for name in ORDERS if (place := data.root / name).is_file()), None)
    if file is not None:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        data.order = tuple(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    return data


def _categories_of(row: _Row | Path) -> list[str]:
    """The categories of an image, read only from its annotation."""
    if isinstance(row, _Row):
        return [*(category for category, _, _ in row.boxes), *row.labels]
    try:
        return [item.name for item in read_xml(row).objects]
    except XmlError:  # reported when the image is read
        return []


def _read_table(table: Path, problems: list[str]) -> tuple[dict[str, _Row], dict[str, int]]:
    """Rows by image id, and class indices by category, from either CSV format."""
    rows: dict[str, _Row] = {}
    classes: dict[str, int] = {}
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        # Python 3.10 cannot read NUL. No file has it in its name, so it can be replaced.
        reader = csv.DictReader(line.replace("\0", "\N{REPLACEMENT CHARACTER}") for line in file)
        try:
            columns = set(reader.fieldnames or ())
            for line, entry in enumerate(reader, start=2):
                if {"ImageId", "PredictionString"} <= columns:
                    _challenge_line(entry, line, rows, problems)
                elif {"file", "class_index"} <= columns:
                    _label_line(entry, line, rows, classes, problems)
                else:
                    raise DataError(f"{table}: has columns {sorted(columns)}; file,class_index,wnid expected.")
        except csv.Error as error:
            raise DataError(f"{table}: is not CSV that can be read: {error}.") from error
    return rows, classes


def _challenge_line(entry: Mapping[str, str], line: int, rows: dict[str, _Row], problems: list[str]) -> None:
    name = (entry["ImageId"] or "").strip()
    words = (entry["PredictionString"] or "").split()
    if not name or len(words) % 5 or not words:
        problems.append(f"line {line} is no image with groups of wnid x0 y0 x1 y1; left out.")
        return
    row = rows.setdefault(name, _Row(f"{name}.JPEG"))
    for start in range(0, len(words), 5):
        box = _numbers(words[start + 1 : start + 5])
        what = f"line {line}, object {start // 5 + 1}"
        if box is None:
            problems.append(f"{what} has no box of four numbers; instance left out.")
        else:
            row.boxes.append((words[start], box, what))


def _label_line(
    entry: Mapping[str, str], line: int, rows: dict[str, _Row], classes: dict[str, int], problems: list[str]
) -> None:
    name, index = (entry["file"] or "").strip(), (entry["class_index"] or "").strip()
    category = (entry.get("wnid") or "").strip() or index
    if not name or not index.isdecimal():
        problems.append(f"line {line} has no file or no class index; left out.")
        return
    if classes.setdefault(category, int(index)) != int(index):
        problems.append(f"line {line} gives {category} class {index}, an earlier line {classes[category]}; left out.")
        return
    row = rows.setdefault(Path(name).stem, _Row(name))
    sides = [entry.get(side) or "" for side in ("x0", "y0", "x1", "y1")]
    box = _numbers(sides)
    if box is not None:
        row.boxes.append((category, box, f"line {line}"))
        return
    if any(sides):
        problems.append(f"line {line} has no box of four numbers; its category is kept as a label.")
    row.labels.append(category)


def _numbers(words: list[str]) -> Box | None:
    try:
        x0, y0, x1, y1 = map(float, words)
    except ValueError:
        return None
    return x0, y0, x1, y1
