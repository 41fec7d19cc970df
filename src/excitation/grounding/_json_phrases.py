"""Phrases in JSON: a list of phrases with boxes, and the referring expressions of RefCOCO."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._checks import check_path
from ..data import DataError, Problems
from ..data._annotations import Box, clip_box
from ..data._dataset import safe_below
from ..data._json import read_json
from ..data._numbers import is_finite_number
from ..data._pictures import MAX_PIXELS
from ..data._sizes import picture_size
from ._phrases import GROUPS, CaptionedImage, Phrase, PhraseDataset

PICKLES = {".p", ".pkl", ".pickle"}


def read_phrases_json(
    file: str | os.PathLike[str], images: str | os.PathLike[str], split: str | None = None
) -> PhraseDataset:
    """Read a list of phrases with boxes.

    The file contains a list of objects with the fields `file` (name of the picture), `caption`, `phrase` (words of the
    caption) and `boxes_xywh` (`[x, y, width, height]` each, in pixels from 0). Optional fields are `split`, `types` (of
    the eight groups), `entity`, `start` (index of the phrase's first word in the caption), and `height` and `width` of
    the picture. Without `start`, the first occurrence of the words that no earlier phrase occupies is used.

    Args:
        file: the JSON file.
        images: folder of the pictures.
        split: only phrases of this split are read, if given.

    Returns:
        The dataset; the id of an image is its file name. Invalid entries are skipped and listed in `problems`.

    Raises:
        DataError: the file cannot be read, is not such a list, or contains no phrase of the split.
    """
    place = _path("file", file)
    entries = _entries(read_json(place), place, "phrases")
    folder = _path("images", images)
    selected = [item for item in entries if split is None or item.get("split") == split]
    if not selected:
        raise DataError(f"{place}: has no phrase of split {split!r}.")
    problems = Problems()
    by_image: dict[str, list[dict[str, Any]]] = {}
    for item in selected:
        if isinstance(item.get("file"), str) and safe_below(folder, item["file"]) is not None:
            by_image.setdefault(item["file"], []).append(item)
        else:
            problems.report(place, f"has a phrase for file {item.get('file')!r:.80}, which names none; left out.")

    def load(image_id: str) -> CaptionedImage | None:
        path = folder / image_id
        rows = by_image[image_id]
        size = _written_size(rows[0]) or (picture_size(path, problems) if path.is_file() else None)
        if size is None:
            problems.report(path, "is missing, and its size is not written; image left out.")
            return None
        captions: dict[str, int] = {}
        taken: set[tuple[int, int]] = set()
        phrases: list[Phrase] = []
        for row in rows:
            phrase = _phrase(row, image_id, size, captions, taken)
            if isinstance(phrase, str):
                problems.report(place, f"phrase {row.get('phrase')!r:.60} of {image_id:.80}: {phrase}; left out.")
            else:
                phrases.append(phrase)
        texts = tuple(tuple(text.split()) for text in captions)
        return CaptionedImage(image_id, path if path.is_file() else None, size, texts, tuple(phrases))

    return PhraseDataset(f"{place.stem}-{split}" if split else place.stem, by_image, load, problems)


def read_refcoco(
    refs: str | os.PathLike[str],
    instances: str | os.PathLike[str],
    images: str | os.PathLike[str],
    split: str | None = None,
) -> PhraseDataset:
    """Read referring expressions in the format of RefCOCO, RefCOCO+ and RefCOCOg.

    The published `refs(...).p` file is a pickle, which can run any code when it is loaded, and is rejected. Convert a
    trusted file with `json.dump(pickle.load(open("refs(unc).p", "rb"), encoding="latin1"), open("refs.json", "w"))`.

    Args:
        refs: the expressions as JSON: a list of objects with `ref_id`, `ann_id`, `image_id`, `split` and `sentences`.
        instances: the objects in COCO's format, `instances.json`.
        images: folder of the pictures.
        split: such as `"val"` or `"testA"`; all splits if not given.

    Returns:
        The dataset, with images by id. Each sentence is a caption with a single phrase, without types. Its entity is
        the object.

    Raises:
        DataError: a pickle, or a file that cannot be read or has another content.
    """
    place = _path("refs", refs)
    if place.suffix in PICKLES:
        raise DataError(
            f"{place}: is a pickle, which can run any program when it is read; convert it to JSON once, with Python's"
            " pickle and json modules, if you trust its source."
        )
    rows = _entries(read_json(place), place, "references")
    source, folder = _path("instances", instances), _path("images", images)
    content = read_json(source)
    if not isinstance(content, dict):
        raise DataError(f"{source}: holds a {type(content).__name__}, not COCO's images and annotations.")
    pictures = {str(item.get("id")): item for item in _entries(content.get("images"), source, "images")}
    objects = {item.get("id"): item for item in _entries(content.get("annotations"), source, "annotations")
               if isinstance(item.get("id"), int)}  # fmt: skip
    problems = Problems()
    by_image: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if split is None or row.get("split") == split:
            by_image.setdefault(str(row.get("image_id")), []).append(row)
    if not by_image:
        raise DataError(f"{place}: has no reference of split {split!r}.")

    def load(image_id: str) -> CaptionedImage | None:
        picture = pictures.get(image_id, {})
        size = _written_size(picture)
        if size is None:
            problems.report(source, f"image {image_id:.40} is not listed, or without a usable size; left out.")
            return None
        name = picture.get("file_name")
        path = safe_below(folder, name) if isinstance(name, str) else None
        captions: list[tuple[str, ...]] = []
        phrases: list[Phrase] = []
        for row in by_image[image_id]:
            number = row.get("ann_id")
            item = objects.get(number, {}) if isinstance(number, int) else {}
            boxes = _xywh([item.get("bbox")], size)
            if isinstance(boxes, str):
                problems.report(place, f"reference {row.get('ref_id')!r:.40} is to object {number!r:.40}: {boxes}.")
                continue
            for words in _sentences(row.get("sentences")):
                phrases.append(Phrase(image_id, len(captions), words, (0, len(words)), (), str(number), boxes))
                captions.append(words)
        return CaptionedImage(
            image_id, path if path is not None and path.is_file() else None, size, tuple(captions), tuple(phrases)
        )

    return PhraseDataset(f"{place.stem}-{split}" if split else place.stem, by_image, load, problems)


def _phrase(
    row: dict[str, Any], image_id: str, size: tuple[int, int], captions: dict[str, int], taken: set[tuple[int, int]]
) -> Phrase | str:
    """Convert an entry to a phrase, or return the problem."""
    caption, text = row.get("caption"), row.get("phrase")
    if not isinstance(caption, str) or not isinstance(text, str) or not text.split():
        return "a caption, or words of the phrase, are missing"
    boxes = _xywh(row.get("boxes_xywh"), size)
    if isinstance(boxes, str):
        return boxes
    types = row.get("types", [])
    if not isinstance(types, list) or not all(item in GROUPS for item in types):
        return f"its types are {types!r:.60}; a list of {', '.join(GROUPS)} is expected"
    number = captions.setdefault(caption, len(captions))
    words, own = caption.split(), text.split()
    starts = [row["start"]] if "start" in row else range(len(words) - len(own) + 1)
    for start in starts:
        if type(start) is int and start >= 0 and (number, start) not in taken and _bare(
            words[start : start + len(own)]
        ) == _bare(own):  # fmt: skip
            taken.add((number, start))
            entity = str(row.get("entity", f"{number}:{start}"))
            return Phrase(image_id, number, tuple(own), (start, start + len(own)), tuple(types), entity, boxes)
    return "its words do not stand in the caption, or not as often as they are named"


def _bare(words: Iterable[str]) -> list[str]:
    return [word.strip(".,;:!?\"'()").casefold() for word in words]


def _sentences(stored: object) -> Iterable[tuple[str, ...]]:
    for item in stored if isinstance(stored, list) else ():
        if not isinstance(item, dict):
            continue
        text = item.get("sent") or item.get("raw")
        words = text.split() if isinstance(text, str) else item.get("tokens")
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            yield tuple(words)


def _xywh(stored: object, size: tuple[int, int]) -> tuple[Box, ...] | str:
    """Convert boxes to boxes within the picture, or return the problem."""
    boxes: list[Box] = []
    for item in stored if isinstance(stored, list) else [None]:
        if not isinstance(item, list) or len(item) != 4 or not all(map(is_finite_number, item)):
            return "no boxes of four finite numbers are given"
        x, y, width, height = map(float, item)
        inside, _ = clip_box((x, y, x + width, y + height), size)
        if inside is None:
            return "a box has no area in the picture"
        boxes.append(inside)
    return tuple(boxes)


def _written_size(row: dict[str, Any]) -> tuple[int, int] | None:
    height, width = row.get("height"), row.get("width")
    if type(height) is not int or type(width) is not int or height < 1 or not 0 < height * width <= MAX_PIXELS:
        return None
    return height, width


def _path(what: str, value: str | os.PathLike[str]) -> Path:
    check_path(what, value)
    return Path(value)


def _entries(content: object, file: Path, what: str) -> list[dict[str, Any]]:
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise DataError(f"{file}: its {what} are no list of objects.")
    return content
