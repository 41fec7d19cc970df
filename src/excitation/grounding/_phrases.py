"""Noun phrases of captions with the boxes they point to, whatever format they came in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .._checks import check_number
from ..data import DataError, Problems
from ..data._annotations import Box

GROUPS = ("people", "clothing", "bodyparts", "animals", "vehicles", "instruments", "scene", "other")
"""The eight types of phrases for which results are reported (Table 5)."""

NOT_VISUAL = "notvisual"
"""The type of phrases that cannot be seen, such as "each other". They never have boxes."""


@dataclass(frozen=True)
class Phrase:
    """A noun phrase of a caption.

    Attributes:
        image: the image's id.
        caption: the caption's number among the image's, from 0.
        words: as written, in order.
        span: positions of the first word and of the word after the last, in the caption.
        types: of `GROUPS`, or `"notvisual"`. A phrase can have several; it has none where the data set knows no types.
        entity: id of what it means. Phrases of one image with the same entity mean the same. `"0"` for `"notvisual"`.
        boxes: where that is, `(x0, y0, x1, y1)` in pixels, half open; none where nobody has drawn any.
    """

    image: str
    caption: int
    words: tuple[str, ...]
    span: tuple[int, int]
    types: tuple[str, ...]
    entity: str
    boxes: tuple[Box, ...]

    @property
    def text(self) -> str:
        """Its words with a space between."""
        return " ".join(self.words)

    @property
    def key(self) -> str:
        """Tells it from all other phrases of its image: caption and span."""
        return f"{self.caption}:{self.span[0]}-{self.span[1]}"

    @property
    def target(self) -> Box | None:
        """The smallest box around all its boxes; `None` if it has none."""
        return merge_boxes(self.boxes) if self.boxes else None


@dataclass(frozen=True)
class CaptionedImage:
    """An image with its captions and their phrases.

    Attributes:
        id: unique in its data set.
        path: the picture's file; `None` if it is not there. Boxes can be judged without it.
        size: `(height, width)` in pixels.
        captions: the words of each; none for a caption that could not be read or was left out.
        phrases: of all captions, in order.
    """

    id: str
    path: Path | None
    size: tuple[int, int]
    captions: tuple[tuple[str, ...], ...]
    phrases: tuple[Phrase, ...]


class PhraseDataset:
    """Captioned images, read one at a time. Iterating skips what cannot be read, and lists it.

    Attributes:
        name: of the data set with its split, for tables.
        ids: all images it names, readable or not, each once.
        problems: what was wrong so far, by path. Reading an image adds to it.
    """

    def __init__(
        self, name: str, ids: Iterable[str], load: Callable[[str], CaptionedImage | None], problems: Problems
    ) -> None:
        self.name = name
        self.ids = tuple(dict.fromkeys(ids))
        self.problems = problems
        self._known = frozenset(self.ids)
        self._load = load

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[CaptionedImage]:
        for item in self.ids:
            image = self._load(item)
            if image is not None:
                yield image

    def image(self, image_id: str) -> CaptionedImage | None:
        """One image by its id; `None` if it cannot be used, which `problems` then tells.

        Raises:
            DataError: no such id.
        """
        if image_id not in self._known:
            raise DataError(f"{self.name} has no image {image_id!r}.")
        return self._load(image_id)

    def phrases(self) -> Iterator[Phrase]:
        """All phrases of all images that can be read, in order."""
        for image in self:
            yield from image.phrases


def merge_boxes(boxes: Iterable[Box]) -> Box:
    """The smallest box around all.

    Raises:
        DataError: there is none.
    """
    sides = list(zip(*boxes, strict=True))
    if not sides:
        raise DataError("no box was given; a phrase without boxes has no merged box.")
    return min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])


def is_small(phrase: Phrase, size: tuple[int, int], largest: float | int = 0.25) -> bool:
    """Whether a phrase is one of the small instances of Table 4.

    Args:
        phrase: with boxes; one without is not small.
        size: `(height, width)` of the image in pixels.
        largest: part of the image's area, 0 to 1, that the box around all its boxes has to stay under.

    Raises:
        ExcitationError: `largest` is no such number.

    Source: Zhang et al., ECCV 2016, Sec. 4.3.
    """
    check_number("largest", largest, "a part of the image's area from 0 to 1", least=0, most=1)
    box = phrase.target
    if box is None:
        return False
    return (box[2] - box[0]) * (box[3] - box[1]) < largest * size[0] * size[1]
