"""What all data sets of annotated images have in common."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from PIL import Image

from ._annotations import AnnotatedImage, Box, DataError, Instance, Problems, clip_box
from ._pictures import PictureError, read_picture

Truth = Literal["segments", "boxes"]
"""What counts as an instance's place: its segment (COCO) or its box (VOC, ImageNet)."""

ROUNDING = 1.0
"""Pixels that a box may reach beyond its image without mention: formats differ in where they begin to count."""


class AnnotatedImages(ABC):
    """Annotated images, read one at a time. Iterating skips what cannot be read, and lists it.

    Attributes:
        name: of the data set with its split, for tables.
        root: its folder.
        ids: all images it names, readable or not.
        truth: whether segments or boxes say where instances are.
        classes: ImageNet classes of each category where the data set itself says them, else empty.
        problems: what was wrong so far, by path. Reading an image adds to it.
    """

    truth: ClassVar[Truth]

    def __init__(self, name: str, root: Path, ids: Iterable[str], listed_in: Path) -> None:
        self.name = name
        self.root = root
        self.problems = Problems()
        self.classes: Mapping[str, tuple[int, ...]] = {}
        unique: dict[str, None] = {}
        for item in ids:
            if item in unique:
                self.problems.report(listed_in, f"names image {item!r} more than once; it is taken once.")
            unique[item] = None
        self.ids = tuple(unique)
        self._known = frozenset(unique)
        self._categories: tuple[str, ...] | None = None

    @abstractmethod
    def image(self, image_id: str) -> AnnotatedImage | None:
        """One image by its id; `None` if it cannot be used, which `problems` then tells.

        Raises:
            DataError: no such id.
        """

    @abstractmethod
    def _find_categories(self) -> Iterable[str]:
        """All categories, in the data set's own order."""

    @abstractmethod
    def _annotation_files(self) -> Iterable[Path]:
        """All files that hold annotations, in a fixed order."""

    @abstractmethod
    def _picture_path(self, image_id: str) -> Path | None:
        """Where an image's picture should be."""

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[AnnotatedImage]:
        for item in self.ids:
            image = self.image(item)
            if image is not None:
                yield image

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories, in the data set's own order; sorted by name where it has none."""
        if self._categories is None:
            self._categories = tuple(dict.fromkeys(self._find_categories()))
        return self._categories

    def read(self, image: AnnotatedImage) -> Image.Image | None:
        """The picture of an image, mode `"RGB"`; `None` if it cannot be used, which `problems` then tells."""
        try:
            picture = read_picture(image.path)
        except PictureError as error:
            self.problems.report(image.path, f"{str(error).removeprefix(f'{image.path}: ')} Image left out.")
            return None
        height, width = image.size
        if (picture.height, picture.width) != (height, width):
            turned = (picture.width, picture.height) == (height, width)
            hint = " (it may have been annotated before it was turned upright)" if turned else ""
            self.problems.report(
                image.path,
                f"is {picture.width} x {picture.height} pixels, its annotation is for {width} x {height}{hint};"
                " image left out.",
            )
            return None
        return picture

    def fingerprint(self) -> str:
        """A hash that changes with the annotations, the choice of images, and their pictures' names and sizes.

        Annotations are read byte by byte. Of pictures only the file's path below the root and its size in bytes are
        taken, not its contents, as reading a whole data set would take longer than many a run: a picture that was
        replaced by another of the same name and size leaves the hash as it is.
        """
        whole = hashlib.sha256()
        for file in self._annotation_files():
            whole.update(f"{file.name}\n".encode())
            whole.update(file.read_bytes() if file.is_file() else b"missing")
        for item in self.ids:
            path = self._picture_path(item)
            size = path.stat().st_size if path is not None and path.is_file() else -1
            name = None if path is None else os.path.relpath(path, self.root)
            whole.update(f"{item}\t{name}\t{size}\n".encode())
        return whole.hexdigest()

    def _check_id(self, image_id: str) -> None:
        if image_id not in self._known:
            raise DataError(f"{self.name} has no image {image_id!r}.")

    def _boxed(
        self, category: str, box: Box, size: tuple[int, int], path: Path, what: str, *, flagged: bool = False
    ) -> list[Instance]:
        """An instance with a box, or none and a problem."""
        inside, beyond = clip_box(box, size)
        if inside is None:
            numbers = ", ".join(f"{side:g}" for side in box)
            self.problems.report(path, f"{what} has a box without area in the image ({numbers}); instance left out.")
            return []
        if beyond > ROUNDING:
            self.problems.report(path, f"{what} has a box that reaches {beyond:g} pixels beyond the image; cut off.")
        return [Instance(category, inside, flagged=flagged)]


def safe_below(folder: Path, name: str) -> Path | None:
    """A file below a folder; `None` if the name leads out of it, or holds a NUL, which no name can."""
    path = Path(name)
    return None if "\0" in name or path.is_absolute() or ".." in path.parts or not path.parts else folder / path


def existing_folder(root: str | os.PathLike[str], what: str) -> Path:
    """The root of a data set.

    Raises:
        DataError: it is no folder.
    """
    place = Path(root)
    if not place.is_dir():
        raise DataError(f"{place}: no such folder; give the root of a {what} data set.")
    return place


def one_of(found: Sequence[str], wanted: str | None, where: Path, what: str) -> str:
    """The split that is meant.

    Raises:
        DataError: none or several fit, with their names.
    """
    names = ", ".join(found) or "none"
    if wanted is not None:
        if wanted not in found:
            raise DataError(f"{where}: has no {what} {wanted!r}; there is: {names}.")
        return wanted
    if len(found) != 1:
        raise DataError(f"{where}: which {what} is meant is open; there is: {names}. Name one.")
    return found[0]
