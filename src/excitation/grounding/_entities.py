"""Flickr30k Entities: captions with marked phrases in `Sentences`, boxes in `Annotations`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .._checks import check_choice, check_path
from ..data import DataError, Problems
from ..data._annotations import Box, clip_box
from ..data._dataset import ROUNDING, existing_folder, safe_below
from ..data._sizes import picture_size
from ..data._xml import XmlError, xml_box, xml_root, xml_size, xml_text
from ._phrases import CaptionedImage, Phrase, PhraseDataset
from ._sentences import SentenceError, read_sentences

ENDINGS = (".jpg", ".jpeg", ".png")
MOST_BOXES = 10_000
"""Maximum number of boxes per image, counted once per entity. Files of the dataset contain some dozens."""


@dataclass(frozen=True)
class EntityBoxes:
    """The boxes of one image.

    Attributes:
        size: `(height, width)`; `None` if missing.
        boxes: boxes of each entity as in the file: xmin, ymin, xmax, ymax, inclusive.
        scenes: entities that refer to the full scene.
        unboxed: entities marked as having no box.
        broken: number of objects without a name, or with neither a box nor a flag.
    """

    size: tuple[int, int] | None
    boxes: dict[str, tuple[Box, ...]]
    scenes: frozenset[str]
    unboxed: frozenset[str]
    broken: int


def read_entity_boxes(path: Path) -> EntityBoxes:
    """Read one file of `Annotations`.

    An object can have several names, each the id of an entity. An entity can have several objects.

    Raises:
        XmlError: the file is missing, malformed, too large, or not an annotation.
    """
    root = xml_root(path)
    boxes: dict[str, list[Box]] = {}
    scenes, unboxed = set[str](), set[str]()
    broken = total = 0
    for item in root.findall("object"):
        names = {(name.text or "").strip() for name in item.findall("name")} - {""}
        box = xml_box(item.find("bndbox"))
        scene, without = (xml_text(item, flag) == "1" for flag in ("scene", "nobndbox"))
        broken += not names or not (box or scene or without)
        total += len(names)
        if total > MOST_BOXES:
            raise XmlError(f"has more than {MOST_BOXES} boxes of entities, too many for one image.")
        scenes |= names if scene else set()
        unboxed |= names if without else set()
        for name in names:
            if box is not None:
                boxes.setdefault(name, []).append(box)
    return EntityBoxes(
        xml_size(root.find("size")),
        {name: tuple(found) for name, found in boxes.items()},
        frozenset(scenes),
        frozenset(unboxed),
        broken,
    )


def read_flickr30k(
    root: str | os.PathLike[str],
    split: str | None = None,
    *,
    images: str | os.PathLike[str] | None = None,
    offset: int = 0,
    unrelated: bool = True,
    unrelated_from: int = 0,
) -> PhraseDataset:
    """Read a dataset in the layout of Flickr30k Entities.

    Coordinates are inclusive. The dataset does not specify whether they start at 0 or 1, and published readers differ;
    `offset` selects the convention. Phrases without boxes are kept, with an empty list of boxes.

    Args:
        root: folder with `Sentences`, `Annotations`, and lists of images such as `test.txt`.
        split: name of a list without extension, such as `"test"`; all images with sentences if not given.
        images: folder of the pictures; `images` below the root if not given. The pictures are optional.
        offset: number added to all coordinates: 0, or -1 if they start at 1.
        unrelated: whether to keep captions listed in `UNRELATED_CAPTIONS`.
        unrelated_from: index of the first caption of an image in that list, 0 or 1.

    Returns:
        The dataset, whose images are read on demand. Malformed sentences are skipped and listed in `problems`.

    Raises:
        DataError: a missing folder or list.
        ExcitationError: an invalid offset or argument.
    """
    check_choice("offset", offset, (0, -1))
    check_choice("unrelated_from", unrelated_from, (0, 1))
    place = existing_folder(root, "Flickr30k Entities")
    for folder in ("Sentences", "Annotations"):
        if not (place / folder).is_dir():
            raise DataError(f"{place}: has no folder {folder}, as Flickr30k Entities has.")
    if images is not None:
        check_path("images", images)
    problems = Problems()
    left_out: set[tuple[str, int]] = set()
    if not unrelated:
        left_out = _unrelated(place / "UNRELATED_CAPTIONS", unrelated_from, problems)
    reader = _Reader(place, Path(images) if images is not None else place / "images", offset, left_out, problems)
    name = f"{place.name}-{split}" if split else place.name
    return PhraseDataset(name, _ids(place, split, problems), reader.load, problems)


class _Reader:
    def __init__(
        self, root: Path, images: Path, offset: int, left_out: set[tuple[str, int]], problems: Problems
    ) -> None:
        self._root = root
        self._images = images
        self._offset = offset
        self._left_out = left_out
        self._problems = problems

    def load(self, image_id: str) -> CaptionedImage | None:
        sentences = safe_below(self._root / "Sentences", f"{image_id}.txt")
        annotation = safe_below(self._root / "Annotations", f"{image_id}.xml")
        if sentences is None or annotation is None:
            self._problems.report(self._root, f"names image {image_id!r:.80}, which is no name of a file; left out.")
            return None
        try:
            lines = read_sentences(sentences)
        except SentenceError as error:
            self._problems.report(sentences, f"{error} Image left out.")
            return None
        try:
            known = read_entity_boxes(annotation)
        except XmlError as error:
            self._problems.report(annotation, f"{error} Image left out.")
            return None
        if known.broken:
            self._problems.report(annotation, f"has {known.broken} objects without a name, or with no box; left out.")
        path = self._picture(image_id)
        size = known.size or (picture_size(path, self._problems) if path is not None else None)
        if size is None:
            self._problems.report(annotation, "says no size, and the picture is not there to be asked; image left out.")
            return None
        boxes = {name: self._placed(found, size, annotation, name) for name, found in known.boxes.items()}
        captions: list[tuple[str, ...]] = []
        phrases: list[Phrase] = []
        for number, line in enumerate(lines):
            if isinstance(line, SentenceError):
                self._problems.report(sentences, f"sentence {number + 1} {line} Sentence left out.")
                captions.append(())
            elif (image_id, number) in self._left_out:
                captions.append(())
            else:
                captions.append(line.words)
                phrases += [
                    Phrase(
                        image_id,
                        number,
                        line.words[slice(*item.span)],
                        item.span,
                        item.types,
                        item.entity,
                        () if item.entity == "0" else boxes.get(item.entity, ()),
                    )
                    for item in line.phrases
                ]
        return CaptionedImage(image_id, path, size, tuple(captions), tuple(phrases))

    def _placed(self, boxes: tuple[Box, ...], size: tuple[int, int], path: Path, entity: str) -> tuple[Box, ...]:
        """Convert to half-open boxes. One pixel beyond the image is allowed, for boxes with coordinates from 1."""
        placed: list[Box] = []
        for x0, y0, x1, y1 in boxes:
            first, after = float(self._offset), float(self._offset + 1)
            box = (x0 + first, y0 + first, x1 + after, y1 + after)
            inside, beyond = clip_box(box, size)
            numbers = ", ".join(f"{side:g}" for side in (x0, y0, x1, y1))
            if inside is None:
                self._problems.report(path, f"entity {entity:.40} has a box without area in the image ({numbers}).")
                continue
            if beyond > ROUNDING:
                self._problems.report(
                    path, f"entity {entity:.40} has a box that reaches {beyond:g} pixels beyond the image; cut off."
                )
            placed.append(inside if beyond > ROUNDING else box)
        return tuple(placed)

    def _picture(self, image_id: str) -> Path | None:
        places = (safe_below(self._images, f"{image_id}{ending}") for ending in ENDINGS)
        return next((place for place in places if place is not None and place.is_file()), None)


def _ids(root: Path, split: str | None, problems: Problems) -> list[str]:
    if split is None:
        return sorted(file.stem for file in (root / "Sentences").glob("*.txt"))
    listed = safe_below(root, f"{split}.txt")
    if listed is None or not listed.is_file():
        lists = ", ".join(sorted(file.stem for file in root.glob("*.txt"))) or "none"
        raise DataError(f"{root}: has no list {split!r:.80}.txt of images; there is: {lists}.")
    names = [line.strip() for line in listed.read_text(encoding="utf-8", errors="replace").splitlines()]
    names = [name for name in names if name]
    if len(set(names)) < len(names):
        problems.report(listed, "names images more than once; each is taken once.")
    return names


def _unrelated(path: Path, first: int, problems: Problems) -> set[tuple[str, int]]:
    """Pairs of image and caption index, from 0."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}; unrelated captions are unknown."
        ) from error
    pairs: set[tuple[str, int]] = set()
    for number, line in enumerate(lines, start=1):
        parts = [part for part in re.split(r"[\s,#]+", line) if part]
        if len(parts) == 2 and re.fullmatch(r"\d{1,6}", parts[1], re.ASCII) and int(parts[1]) >= first:
            pairs.add((re.sub(r"\.(jpe?g|txt|xml)$", "", parts[0]), int(parts[1]) - first))
        elif parts and number > 1:  # the first line can contain column names
            problems.report(path, f"line {number} is {line!r:.60}; an image and a caption's number are expected.")
    return pairs
