"""Phrase data sets and region proposals by short texts, for the command line and for configurations of runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from .._checks import check_path, check_text
from .._errors import ExcitationError
from ._entities import read_flickr30k
from ._generators import edge_boxes, selective_search, superpixel_proposals
from ._json_phrases import read_phrases_json, read_refcoco
from ._phrases import CaptionedImage, PhraseDataset
from ._proposal_files import read_edge_boxes, read_mcg, read_npz_proposals
from ._proposals import COUNT, ProposalError, Proposals

ProposalSource = Callable[[CaptionedImage, UInt8[np.ndarray, "height width 3"]], Proposals]
"""Proposals of an image from its record and its RGB pixels."""

ENDINGS = {"mcg": (".mat",), "edge-boxes-files": (".txt", ".csv", ".mat"), "npz": (".npz",)}
"""Endings of the files in a folder of proposals, by the kind of folder."""

DATA_FORM = "flickr30k:FOLDER, json:FILE or refcoco:REFS.json,INSTANCES.json, each with @SPLIT for one split"

PROPOSALS_FORM = (
    "superpixels, selective-search, edge-boxes:MODEL, mcg:FOLDER (ID.mat), edge-boxes-files:FOLDER (ID.txt, .csv or"
    " .mat) or npz:FOLDER (ID.npz)"
)


def open_phrases(
    spec: str, images: str | os.PathLike[str] | None = None, *, offset: int = 0, unrelated: bool = True
) -> PhraseDataset:
    """Open a phrase data set.

    Args:
        spec: `flickr30k:FOLDER`, `json:FILE` or `refcoco:REFS.json,INSTANCES.json`; `@SPLIT` at the end selects one.
        images: folder of the pictures; required except for Flickr30k Entities with its own folder `images`.
        offset: as in `read_flickr30k`, for Flickr30k Entities only.
        unrelated: as in `read_flickr30k`, for Flickr30k Entities only.

    Raises:
        ExcitationError: another form, missing `images`, or an error of the reader.
    """
    check_text("data", spec, DATA_FORM)
    kind, _, rest = spec.partition(":")
    place, at, split = rest.rpartition("@")
    if not at or "/" in split or Path(rest).exists():  # the name of a folder can contain the sign
        place, split = rest, ""
    if kind == "flickr30k" and place:
        return read_flickr30k(place, split or None, images=images, offset=offset, unrelated=unrelated)
    files = place.split(",")
    if (kind, len(files)) not in {("json", 1), ("refcoco", 2)} or not all(files):
        raise ExcitationError(f"phrase data {spec!r} is not understood; give {DATA_FORM}.")
    if images is None:
        raise ExcitationError(f"phrase data {spec!r} needs the folder of its pictures; give images (--images DIR).")
    if kind == "json":
        return read_phrases_json(place, images, split or None)
    return read_refcoco(files[0], files[1], images, split or None)


def open_proposals(spec: str = "superpixels", count: int = COUNT) -> ProposalSource:
    """A function that gives the proposals of each image.

    Args:
        spec: `superpixels`, `selective-search`, `edge-boxes:MODEL`, or a folder of files named by the image's id:
            `mcg:FOLDER`, `edge-boxes-files:FOLDER`, `npz:FOLDER`. A picture's ending is left out (`1.jpg` has `1.mat`).
        count: maximum number of proposals per picture; those with the best scores.

    Returns:
        A function from an image and its pixels to its proposals. Its errors are `ProposalError`.

    Raises:
        ExcitationError: another form, or a missing folder.
    """
    check_text("proposals", spec, PROPOSALS_FORM)
    kind, _, rest = spec.partition(":")
    if kind in ("superpixels", "selective-search") and not rest:
        make = superpixel_proposals if kind == "superpixels" else selective_search
        return lambda _, pixels: make(pixels, count)
    if kind == "edge-boxes" and rest:
        check_path("the model of EdgeBoxes", rest)
    elif kind in ENDINGS and rest:
        check_path("the folder of proposals", rest)
        if not Path(rest).is_dir():
            raise ExcitationError(f"{rest}: no such folder of proposals.")
    else:
        raise ExcitationError(f"proposals {spec!r} are not understood; give {PROPOSALS_FORM}.")
    return FileProposals(kind, Path(rest), count)


@dataclass(frozen=True)
class FileProposals:
    """Proposals that depend on files.

    Attributes:
        kind: a name in `ENDINGS`, or `edge-boxes`.
        place: folder of a file per image, or the model of EdgeBoxes.
        count: maximum number of proposals per picture.
    """

    kind: str
    place: Path
    count: int

    def __call__(self, image: CaptionedImage, pixels: UInt8[np.ndarray, "height width 3"]) -> Proposals:
        """The proposals of an image.

        Raises:
            ProposalError: a file is missing, cannot be read, or is of another size.
        """
        if self.kind == "edge-boxes":
            return edge_boxes(pixels, self.count, model=str(self.place))
        size = (pixels.shape[0], pixels.shape[1])
        found = self.files(image.id)
        file = next((place for place in found if place.is_file()), None)
        if file is None:
            raise ProposalError(f"{found[0]}: no such file of proposals.")
        if self.kind == "npz":
            return read_npz_proposals(file, size, self.count)
        proposals = read_mcg(file, self.count) if self.kind == "mcg" else read_edge_boxes(file, size, self.count)
        if tuple(proposals.size) != size:
            raise ProposalError(f"{file}: is of {tuple(proposals.size)} pixels, the picture has {size}.")
        return proposals

    def files(self, image_id: str) -> list[Path]:
        """The files that can have the proposals of an image; the first that exists is read."""
        if self.kind == "edge-boxes":
            return [self.place]
        names = dict.fromkeys((image_id, Path(image_id).stem))
        return [self.place / f"{name}{ending}" for name in names for ending in ENDINGS[self.kind]]

    def fingerprint(self, ids: Iterable[str]) -> str:
        """SHA-256 of the settings, and of the names and contents of the files of these images.

        Raises:
            ExcitationError: a file cannot be read.
        """
        whole = hashlib.sha256(repr((self.kind, self.count)).encode())
        for file in dict.fromkeys(place for image_id in ids for place in self.files(image_id)):
            if not file.is_file():
                continue
            try:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
            except OSError as error:
                raise ExcitationError(f"{file}: cannot be read: {error.strerror or error}.") from error
            whole.update(repr((file.name, content)).encode())
        return whole.hexdigest()
