"""Noun phrases of captions with their boxes, independent of the file format."""

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
"""The type of phrases without a visible referent, such as "each other". They never have boxes."""


@dataclass(frozen=True)
class Phrase:
    """A noun phrase of a caption.

    Attributes:
        image: id of the image.
        caption: index of the caption in the image.
        words: words in order, as written.
        span: index of the first word and index after the last word, in the caption.
        types: types in `GROUPS`, or `"notvisual"`. A phrase can have several types, or none if the dataset defines
            none.
        entity: id of its referent. Phrases of one image with the same entity refer to the same thing. `"0"` for
            `"notvisual"`.
        boxes: boxes of the referent, `(x0, y0, x1, y1)` in pixels, half open; empty if not annotated.
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
        """The words, separated by spaces."""
        return " ".join(self.words)

    @property
    def key(self) -> str:
        """Caption and span, which identify the phrase within its image."""
        return f"{self.caption}:{self.span[0]}-{self.span[1]}"

    @property
    def target(self) -> Box | None:
        """The smallest box around all boxes; `None` if there are none."""
        return merge_boxes(self.boxes) if self.boxes else None


@dataclass(frozen=True)
class CaptionedImage:
    """An image with its captions and their phrases.

    Attributes:
        id: unique within the dataset.
        path: the picture file; `None` if missing. Boxes can be judged without it.
        size: `(height, width)` in pixels.
        captions: words of each caption; empty for a caption that is unreadable or was skipped.
        phrases: phrases of all captions, in order.
    """

    id: str
    path: Path | None
    size: tuple[int, int]
    captions: tuple[tuple[str, ...], ...]
    phrases: tuple[Phrase, ...]


class PhraseDataset:
    """Captioned images, read one at a time. Iteration skips unusable images and lists them in `problems`.

    Attributes:
        name: name of the dataset and split, for tables.
        ids: unique ids of all listed images, readable or not.
        problems: problems found so far, by path. Reading an image can add problems.
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
        """Return an image by its id, or `None` if it is unusable; `problems` then contains the reason.

        Raises:
            DataError: an unknown id.
        """
        if image_id not in self._known:
            raise DataError(f"{self.name} has no image {image_id!r}.")
        return self._load(image_id)

    def first(self, count: int) -> PhraseDataset:
        """The first images of this data set.

        Raises:
            ExcitationError: `count` is not a positive integer.
        """
        check_number("count", count, "a number of images from 1 on", least=1, whole=True)
        return PhraseDataset(self.name, self.ids[:count], self._load, self.problems)

    def phrases(self) -> Iterator[Phrase]:
        """All phrases of all readable images, in order."""
        for image in self:
            yield from image.phrases


def merge_boxes(boxes: Iterable[Box]) -> Box:
    """The smallest box around all boxes.

    Raises:
        DataError: there are no boxes.
    """
    sides = list(zip(*boxes, strict=True))
    if not sides:
        raise DataError("no box was given; a phrase without boxes has no merged box.")
    return min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])


def is_small(phrase: Phrase, size: tuple[int, int], largest: float | int = 0.25) -> bool:
    """Whether a phrase belongs to the small instances of Table 4.

    Args:
        phrase: a phrase with boxes; a phrase without boxes is not small.
        size: `(height, width)` of the image in pixels.
        largest: upper limit, as a fraction of the image area in [0, 1], of the box around all its boxes.

    Raises:
        ExcitationError: `largest` is not such a number.

    Source: Zhang et al., ECCV 2016, Sec. 4.3.
    """
    check_number("largest", largest, "a part of the image's area from 0 to 1", least=0, most=1)
    box = phrase.target
    if box is None:
        return False
    return (box[2] - box[0]) * (box[3] - box[1]) < largest * size[0] * size[1]
