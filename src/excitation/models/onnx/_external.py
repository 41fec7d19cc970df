"""External data of an ONNX file: only regular files in the folder of the ONNX file are opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from .._loaded import ModelError


class ExternalData:
    """Reads the external data of one ONNX file.

    Args:
        path: the ONNX file. Files in other folders are not read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._regions: dict[tuple[str, int, int], bytes] = {}
        self._read: dict[str, int] = {}

    def locate(self, proto: Any, where: str) -> Path:
        """The file that holds the data of a tensor.

        Raises:
            ModelError: the entry names no file, a file outside the folder, a link, or something that is not a regular
                file.
        """
        name = _entries(proto).get("location", "")
        if not name or "\0" in name:
            raise ModelError(f"{where} lies in another file and does not say which.")
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name or PureWindowsPath(name).drive:
            raise ModelError(
                f"{where} names external data {name[:200]!r}, which do not lie in its own folder; only a plain relative"
                " path below the ONNX file's folder is read."
            )
        place = self._path.parent
        for part in parts:
            place = place / part
            # A link could lead to any file of this machine, or to an endless device.
            if place.is_symlink():
                raise ModelError(
                    f"{where} names external data {name[:200]!r}, which is a link or lies behind one; copy the file"
                    " itself into the ONNX file's folder."
                )
        try:
            regular = stat.S_ISREG(place.stat().st_mode)
        except (OSError, ValueError) as error:
            raise ModelError(f"{where} names external data {name[:200]!r}, which cannot be read: {error}.") from error
        if not regular:
            raise ModelError(f"{where} names external data {name[:200]!r}, which is no plain file.")
        return place

    def read(self, proto: Any, size: int, where: str) -> bytes:
        """Read the bytes of a tensor.

        Args:
            proto: the `TensorProto`.
            size: number of bytes for its shape.
            where: name of the tensor in messages.

        Raises:
            ModelError: the file cannot be read, or does not contain `size` bytes at the given offset.
        """
        place, entries = self.locate(proto, where), _entries(proto)
        offset, length = _number(entries, "offset", 0, where), _number(entries, "length", size, where)
        available = place.stat().st_size
        if length != size or offset + length > available:
            raise ModelError(
                f"{where} takes {length} bytes at {offset} of {place.name}, which has {available}; its shape asks for"
                f" {size}."
            )
        key = (str(place), offset, length)
        if key not in self._regions:
            # Tensors may share data. The limit prevents overlapping tensors in a small file from filling the memory.
            self._read[key[0]] = self._read.get(key[0], 0) + length
            if self._read[key[0]] > available:
                raise ModelError(f"{where} overlaps other tensors in {place.name}; save it again with onnx.save.")
            self._regions[key] = _bytes(place, offset, length, where)
        return self._regions[key]


def _bytes(place: Path, offset: int, length: int, where: str) -> bytes:
    try:
        with os.fdopen(os.open(place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            file.seek(offset)
            content = file.read(length)
    except OSError as error:
        raise ModelError(f"{where}: {place.name} cannot be read: {error.strerror or error}.") from error
    if len(content) != length:
        raise ModelError(f"{where}: {place.name} ended while it was read.")
    return content


def _entries(proto: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in proto.external_data}


def _number(entries: dict[str, str], key: str, default: int, where: str) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(f"{where} gives its external data the {key} {text[:40]!r}; a whole number is expected.")
    return int(text)
