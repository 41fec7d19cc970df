"""The common interface of all datasets of annotated images."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from PIL import Image

from .._checks import check_path
from ._annotations import AnnotatedImage, Box, DataError, Instance, Problems, clip_box
from ._pictures import PictureError, read_picture

Truth = Literal["segments", "boxes"]
"""The region of an instance: its segmentation (COCO) or its box (VOC, ImageNet)."""

LONGEST_NAME = 255
"""Maximum length of a file name in bytes."""

ROUNDING = 1.0
"""Number of pixels by which a box can exceed its image without a problem report: formats differ in the origin."""


class AnnotatedImages(ABC):
    """Annotated images, read one at a time. Iteration skips unusable images and lists them in `problems`.

    Attributes:
        name: name of the dataset and split, for tables.
        root: its folder.
        ids: ids of all listed images, readable or not.
        truth: whether segmentations or boxes define the regions of instances.
        classes: class index of each category, if the files of the dataset define it, else empty.
        order: categories in the class order of networks trained on the dataset, if known, else empty.
        problems: problems found so far, by path. Reading an image can add problems.
    """

    truth: ClassVar[Truth]

    def __init__(self, name: str, root: Path, ids: Iterable[str], listed_in: Path) -> None:
        self.name = name
        self.root = root
        self.problems = Problems()
        self.classes: Mapping[str, tuple[int, ...]] = {}
        self.order: tuple[str, ...] = ()
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
        """Return an image by its id, or `None` if it is unusable; `problems` then contains the reason.

        Raises:
            DataError: an unknown id.
        """

    @abstractmethod
    def _find_categories(self) -> Iterable[str]:
        """All categories, in the order of the dataset."""

    @abstractmethod
    def _annotation_files(self) -> Iterable[Path]:
        """All annotation files, in a fixed order."""

    @abstractmethod
    def _picture_path(self, image_id: str) -> Path | None:
        """The expected path of an image's picture."""

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[AnnotatedImage]:
        for item in self.ids:
            image = self.image(item)
            if image is not None:
                yield image

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories, in the order of the dataset; sorted by name if it defines no order."""
        if self._categories is None:
            self._categories = tuple(dict.fromkeys(self._find_categories()))
        return self._categories

    def read(self, image: AnnotatedImage) -> Image.Image | None:
        """Read the picture of an image, mode `"RGB"`; `None` if it is unusable, with the reason in `problems`."""
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
        """A hash of the annotations, the list of images, and the names and sizes of the picture files.

        Annotation files contribute their content. Picture files contribute only their path below the root and their
        size in bytes, because reading all pictures takes too long. Replacing a picture by another with the same name
        and size does not change the hash.
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
        """Return an instance with the clipped box, or report a problem and return an empty list."""
        inside, beyond = clip_box(box, size)
        if inside is None:
            numbers = ", ".join(f"{side:g}" for side in box)
            self.problems.report(path, f"{what} has a box without area in the image ({numbers}); instance left out.")
            return []
        if beyond > ROUNDING:
            self.problems.report(path, f"{what} has a box that reaches {beyond:g} pixels beyond the image; cut off.")
        return [Instance(category, inside, flagged=flagged)]


def safe_below(folder: Path, name: str) -> Path | None:
    """A file below a folder; `None` if the name leads out of the folder or is invalid (NUL, too long)."""
    try:
        parts = os.fsencode(name).split(b"/")
    except UnicodeEncodeError:  # a lone surrogate, which JSON can contain
        return None
    if "\0" in name or max(map(len, parts)) > LONGEST_NAME:
        return None
    path = Path(name)
    return None if path.is_absolute() or ".." in path.parts or not path.parts else folder / path


def existing_folder(root: str | os.PathLike[str], what: str) -> Path:
    """Check the root folder of a dataset.

    Raises:
        ExcitationError: `root` is not a path.
        DataError: the path is not a folder.
    """
    check_path(f"the root of a {what} data set", root)
    place = Path(root)
    if not place.is_dir():
        raise DataError(f"{place}: no such folder; give the root of a {what} data set.")
    return place


def one_of(found: Sequence[str], wanted: str | None, where: Path, what: str) -> str:
    """Select a split.

    Raises:
        DataError: no split or several splits match; the message lists the names.
    """
    names = ", ".join(found) or "none"
    if wanted is not None:
        if wanted not in found:
            raise DataError(f"{where}: has no {what} {wanted!r}; there is: {names}.")
        return wanted
    if len(found) != 1:
        raise DataError(f"{where}: which {what} is meant is open; there is: {names}. Name one.")
    return found[0]
