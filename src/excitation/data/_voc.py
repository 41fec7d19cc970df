"""PASCAL VOC: one XML file per image, lists of images in `ImageSets/Main`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from ._annotations import AnnotatedImage, DataError, Instance
from ._dataset import AnnotatedImages, Truth, existing_folder, one_of, safe_below
from ._sizes import picture_size
from ._xml import XmlAnnotation, XmlError, read_xml

ENDINGS = (".jpg", ".jpeg", ".JPEG", ".JPG", ".png")


class VocImages(AnnotatedImages):
    """Images of a PASCAL VOC split. Coordinates start at 1 and are inclusive at both ends, as VOC defines them."""

    truth: ClassVar[Truth] = "boxes"

    def __init__(self, root: Path, split: str) -> None:
        self._list = root / "ImageSets" / "Main" / f"{split}.txt"
        # Lists of a single category have a second column, 1, 0 or -1; all their images belong to the split.
        lines = self._list.read_text(encoding="utf-8", errors="replace").splitlines()
        super().__init__(f"{root.name}-{split}", root, (line.split()[0] for line in lines if line.strip()), self._list)

    def image(self, image_id: str) -> AnnotatedImage | None:
        """Return an image by its id, or `None` if it is unusable; `problems` then contains the reason.

        Raises:
            DataError: an unknown id.
        """
        self._check_id(image_id)
        path = self._xml_path(image_id)
        if path is None:
            self.problems.report(
                self._list, f"names image {image_id!r}, which is no name of a file in the folder; left out."
            )
            return None
        try:
            written = read_xml(path)
        except XmlError as error:
            self.problems.report(path, f"{error} Image left out.")
            return None
        picture = self._picture(image_id, written.filename)
        if picture is None:
            self.problems.report(path, f"annotates a picture that is not in {self.root / 'JPEGImages'}; left out.")
            return None
        size = written.size or picture_size(picture, self.problems)
        if size is None:
            return None
        return AnnotatedImage(image_id, picture, size, tuple(self._instances(written, size, path)))

    def _instances(self, written: XmlAnnotation, size: tuple[int, int], path: Path) -> Iterable[Instance]:
        if written.nameless:
            self.problems.report(path, f"has {written.nameless} objects without a name; left out.")
        for place, item in enumerate(written.objects, start=1):
            what = f"object {place} ({item.name})"
            if item.box is None:
                self.problems.report(path, f"{what} has no box of four numbers; instance left out.")
                continue
            x0, y0, x1, y1 = item.box
            yield from self._boxed(item.name, (x0 - 1, y0 - 1, x1, y1), size, path, what, flagged=item.difficult)

    def _find_categories(self) -> Iterable[str]:
        return sorted({category for image in self for category in image.categories})

    def _annotation_files(self) -> Iterable[Path]:
        yield self._list
        for item in self.ids:
            path = self._xml_path(item)
            if path is not None:
                yield path

    def _xml_path(self, image_id: str) -> Path | None:
        return safe_below(self.root / "Annotations", f"{image_id}.xml")

    def _picture_path(self, image_id: str) -> Path | None:
        return self._picture(image_id, "")

    def _picture(self, image_id: str, filename: str) -> Path | None:
        names = [f"{image_id}{ending}" for ending in ENDINGS] + ([filename] if filename else [])
        places = (safe_below(self.root / "JPEGImages", name) for name in names)
        return next((place for place in places if place is not None and place.is_file()), None)


def read_voc(root: str | os.PathLike[str], split: str | None = None) -> VocImages:
    """Read a dataset in the layout of PASCAL VOC.

    Args:
        root: folder with `Annotations`, `JPEGImages` and `ImageSets/Main` (`VOC2007` in the original).
        split: name of a list in `ImageSets/Main` without extension, such as `"test"`; optional if there is only one.

    Returns:
        The dataset, whose images are read on demand. Objects with the `difficult` flag are included as instances.

    Raises:
        DataError: an unknown folder or split.
    """
    place = existing_folder(root, "PASCAL VOC")
    lists = place / "ImageSets" / "Main"
    if not lists.is_dir():
        raise DataError(f"{place}: has no folder ImageSets/Main with lists of images, the layout of PASCAL VOC.")
    splits = sorted(file.stem for file in lists.glob("*.txt"))
    return VocImages(place, one_of(splits, split, lists, "split"))
