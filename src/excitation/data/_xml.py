"""Untrusted XML annotations in the format of PASCAL VOC."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from .._errors import ExcitationError
from .._files import read_at_most
from ._annotations import Box

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 32


class XmlError(ExcitationError):
    """A file is not a readable annotation. The message is a sentence about the file."""


@dataclass(frozen=True)
class XmlObject:
    """One object in an annotation.

    Attributes:
        name: its category.
        box: xmin, ymin, xmax, ymax as in the file; `None` if missing or invalid.
        difficult: the `difficult` flag.
    """

    name: str
    box: Box | None
    difficult: bool


@dataclass(frozen=True)
class XmlAnnotation:
    """The content of one annotation file.

    Attributes:
        filename: file name of the picture, or `""`.
        size: `(height, width)`; `None` if missing or zero.
        objects: all objects with a name.
        nameless: number of objects without a name.
    """

    filename: str
    size: tuple[int, int] | None
    objects: tuple[XmlObject, ...]
    nameless: int


def read_xml(path: Path) -> XmlAnnotation:
    """Read one annotation with `xml_root`.

    Raises:
        XmlError: the file is missing, malformed, too large, or not an annotation.
    """
    root = xml_root(path)
    objects = root.findall("object")
    named = [item for item in objects if xml_text(item, "name")]
    return XmlAnnotation(
        filename=xml_text(root, "filename"),
        size=xml_size(root.find("size")),
        objects=tuple(
            XmlObject(
                xml_text(item, "name"), xml_box(item.find("bndbox")), xml_text(item, "difficult") in {"1", "true"}
            )
            for item in named
        ),
        nameless=len(objects) - len(named),
    )


def xml_root(path: Path) -> Element:
    """Parse an annotation and return its root element.

    Document type declarations, and therefore entities, are rejected, as are files larger than 4 MiB and deep nesting.
    The parser reads no other files.

    Raises:
        XmlError: the file is missing, malformed, too large, or not an annotation.
    """
    builder = TreeBuilder()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise XmlError(f"nests elements more than {MAX_DEPTH} deep.")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise XmlError("declares a document type, which annotations do not need and which can be made to harm.")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    too_large = f"is larger than {MAX_BYTES // 2**20} MiB, too large for an annotation."
    content = read_at_most(path, MAX_BYTES, XmlError, too_large)
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, XmlError):
            raise
        raise XmlError(f"is not well-formed XML: {error}.") from error
    root = builder.close()
    if root.tag != "annotation":
        raise XmlError(f"is no annotation: its outermost element is <{root.tag}>.")
    return root


def xml_text(element: Element, tag: str) -> str:
    """The text of the first child with this tag, without surrounding white space; `""` if there is none."""
    return (element.findtext(tag) or "").strip()


def _number(element: Element, tag: str) -> float | None:
    try:
        value = float(xml_text(element, tag))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def xml_size(element: Element | None) -> tuple[int, int] | None:
    """`(height, width)` from a `<size>` element; `None` if missing or not positive."""
    if element is None:
        return None
    height, width = _number(element, "height"), _number(element, "width")
    return (int(height), int(width)) if height and width and height >= 1 and width >= 1 else None


def xml_box(element: Element | None) -> Box | None:
    """xmin, ymin, xmax, ymax from a `<bndbox>` element as in the file; `None` if one is missing or invalid."""
    if element is None:
        return None
    x0, y0, x1, y1 = (_number(element, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
    return None if x0 is None or y0 is None or x1 is None or y1 is None else (x0, y0, x1, y1)
