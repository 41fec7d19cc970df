"""Reading picture files for classification, and finding them in folders."""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from .._errors import ExcitationError
from .._files import write_whole

MAX_PIXELS = 89_478_485
"""Pillow's threshold for suspicious sizes: a quarter of a gigabyte as RGB, more than current cameras produce."""

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Supported formats. Pillow supports more; some of these start other programs (EPS) or are not useful here."""

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".jp2", ".avif"}
)
"""File name extensions of pictures, in lower case, for the search in folders."""


class PictureError(ExcitationError):
    """A file is not a picture with an unambiguous RGB conversion. The message begins with its path."""


def read_picture(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture file as upright 8-bit RGB.

    Other formats are converted: grey, palette and CMYK to RGB (embedded colour profiles are not applied); 16 bits to 8
    bits (divided by 257 and rounded if Pillow preserves them; for 16-bit colour, Pillow itself keeps the upper 8 bits);
    transparency on white background; EXIF orientation applied. Of an MPO file, the first picture is used, which is the
    one that viewers show.

    Args:
        path: the file; its content, not its name, determines the format.
        max_pixels: maximum number of pixels, checked before decoding.

    Returns:
        A picture in mode `"RGB"`, of any size from 1 x 1.

    Raises:
        PictureError: the file is missing, not a picture, truncated or damaged, animated or of several pages; has 32-bit
            integer or floating-point values (which have no standard white), or more pixels than allowed.
    """
    place = Path(path)
    if not place.exists():
        raise PictureError(f"{place}: no such file.")
    if not place.is_file():
        raise PictureError(f"{place}: is not a file; give a picture.")
    try:
        with warnings.catch_warnings():
            # The size is checked below, with a limit chosen by the caller.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # If EXIF cannot be read, the orientation is unknown and the picture is used as stored.
            warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)
            with Image.open(place, formats=_known_formats()) as stored:
                _check(stored, place, max_pixels)
                stored.load()
                return _as_rgb(ImageOps.exif_transpose(stored), stored.format, place)
    except PictureError:
        raise
    except UnidentifiedImageError:
        kinds = ", ".join(FORMATS[:-1])
        raise PictureError(f"{place}: is not a picture in a format that is read ({kinds} or {FORMATS[-1]}).") from None
    except Image.DecompressionBombError as error:
        raise PictureError(f"{place}: would unpack to more pixels than is safe: {_sentence(error)}") from error
    except Exception as error:
        # Pillow's decoders raise many types of errors for damaged data: OSError, SyntaxError, struct.error, ...
        raise PictureError(f"{place}: is truncated or damaged: {_sentence(error)}") from error


ROTATED = {5, 6, 7, 8}
"""EXIF orientations that exchange width and height."""


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """`(height, width)` of a picture as `read_picture` returns it, from the head of the file.

    Returns:
        `None` if it cannot be read; `read_picture` reports the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_known_formats()) as stored:
                width, height = stored.size
                rotated = stored.getexif().get(ExifTags.Base.Orientation) in ROTATED
    except Exception:  # noqa: BLE001
        return None
    return (width, height) if rotated else (height, width)


@dataclass(frozen=True)
class FoundPictures:
    """The result of a search for pictures.

    Attributes:
        pictures: files to read, in the given order; files of one folder are sorted by path. The value is a name for
            results: a path without extension, relative to the searched folder.
        others: other files in the folders, for a report by the caller.
    """

    pictures: dict[Path, Path]
    others: tuple[Path, ...]


def find_pictures(
    places: Sequence[str | os.PathLike[str]], *, out: str | os.PathLike[str] | None = None, recursive: bool = True
) -> FoundPictures:
    """Find pictures among files and folders.

    A file given directly is used with any name. In a folder and its subfolders, files with an extension of pictures are
    used; hidden files and folders are skipped.

    The name of a picture in a folder is its path below that folder (`birds/3.jpg` has the name `birds/3`). With
    several folders, the name of the folder is prepended. A picture given as a file has its file name.
    Names that differ only in the extension (`3.jpg`, `3.png`) keep it (`3.jpg`, `3.png`).

    Args:
        places: files and folders.
        out: output folder; it is not searched, so that figures of an earlier run are not read as pictures.
        recursive: whether to search subfolders.

    Returns:
        Unique pictures with their names, and the other files in the folders.

    Raises:
        PictureError: a path does not exist, a folder contains no picture, or `out` is one of the folders.
    """
    pictures: dict[Path, Path] = {}
    others: dict[Path, None] = {}
    results = None if out is None else Path(out).resolve()
    several = sum(Path(place).is_dir() for place in places) > 1
    for place in map(Path, places):
        if not place.exists():
            raise PictureError(f"{place}: no such file or folder.")
        if not place.is_dir():
            pictures.setdefault(place, Path(place.name))
            continue
        if place.resolve() == results:
            raise PictureError(
                f"{place}: is the folder of the results too, where figures would lie among the pictures; choose"
                " another one for the results."
            )
        files = sorted(_visible_files(place, set() if results is None else {results}, recursive))
        inside = [file for file in files if file.suffix.lower() in SUFFIXES]
        if not inside:
            where = "neither this folder nor its subfolders contain" if recursive else "this folder does not contain"
            raise PictureError(f"{place}: {where} a picture (names ending in .jpg, .png, ...).")
        above = Path(place.resolve().name if several else "")
        for file in inside:
            pictures.setdefault(file, above / file.relative_to(place))
        others.update(dict.fromkeys(file for file in files if file.suffix.lower() not in SUFFIXES))
    return FoundPictures(_named(pictures), tuple(others))


def _named(pictures: dict[Path, Path]) -> dict[Path, Path]:
    """Names without extensions, unless two of them would be equal (some file systems ignore case)."""
    plain = {picture: name.with_suffix("") for picture, name in pictures.items()}
    uses = Counter(str(name).casefold() for name in plain.values())
    return {picture: name if uses[str(name).casefold()] == 1 else pictures[picture] for picture, name in plain.items()}


def _visible_files(folder: Path, seen: set[Path], recursive: bool) -> Iterator[Path]:
    """Files of a folder and, if requested, its subfolders. Each folder is visited once, even if links lead to it."""
    seen.add(folder.resolve())
    for item in folder.iterdir():
        if item.name.startswith("."):
            continue
        if item.is_file():
            yield item
        elif recursive and item.is_dir() and item.resolve() not in seen:
            yield from _visible_files(item, seen, recursive)


def _known_formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _sentence(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return f"{words.rstrip('.')}."


def _check(stored: Image.Image, place: Path, max_pixels: int) -> None:
    width, height = stored.size
    if width * height > max_pixels:
        raise PictureError(
            f"{place}: unpacks to {width} x {height} pixels, more than the {max_pixels:,} allowed; make it smaller, or"
            " raise `max_pixels` if you trust it."
        )
    frames = 1 if stored.format == "MPO" else getattr(stored, "n_frames", 1)
    if frames > 1:
        raise PictureError(f"{place}: holds {frames} pictures (an animation or pages); save the one you mean alone.")


def _as_rgb(picture: Image.Image, stored_format: str | None, place: Path) -> Image.Image:
    # Some readers return 16-bit grey as 32-bit integers; in these two formats the values never exceed 16 bits.
    if picture.mode.startswith("I;16") or (picture.mode == "I" and stored_format in {"PNG", "PPM"}):
        return _from_16_bits(picture)
    if picture.mode in {"I", "F"}:
        kind = "32-bit integer" if picture.mode == "I" else "floating-point"
        raise PictureError(
            f"{place}: holds {kind} values, whose value for white is not defined; save it with 8 or 16 bits."
        )
    if picture.mode in {"RGBA", "RGBa", "LA", "La", "PA"} or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _from_16_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.uint32)
    grey = ((values + 128) // 257).clip(0, 255).astype(np.uint8)
    see_through = picture.info.get("transparency")
    if isinstance(see_through, int):
        grey[values == see_through] = 255
    return Image.fromarray(grey).convert("RGB")


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG file atomically.

    Raises:
        OSError: the folder cannot be created or written to.
    """
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_whole(path, buffer.getvalue())
