"""Datasets by a short text, the value of `--data`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .._checks import check_text
from ._annotations import DataError
from ._coco import read_coco
from ._dataset import AnnotatedImages
from ._imagenet import read_imagenet
from ._voc import read_voc

FORM = "coco:ROOT[@SPLIT], voc:ROOT[@SPLIT] or imagenet:ROOT"


def open_data(spec: str) -> AnnotatedImages:
    """Open a dataset.

    Args:
        spec: `coco:ROOT`, `voc:ROOT` or `imagenet:ROOT`; for the first two, `@SPLIT` is appended if there are several
            splits.

    Raises:
        DataError: an unknown format, folder or split.
    """
    check_text("data", spec, FORM)
    kind, _, rest = spec.partition(":")
    readers: dict[str, Callable[[str, str | None], AnnotatedImages]] = {"coco": read_coco, "voc": read_voc}
    if not rest or kind not in {*readers, "imagenet"}:
        raise DataError(f"data {spec!r} is not of the form {FORM}.")
    if kind == "imagenet":
        return read_imagenet(rest)
    root, at, split = rest.rpartition("@")
    # A folder name can contain an @.
    if not at or Path(rest).is_dir():
        return readers[kind](rest, None)
    return readers[kind](root, split)
