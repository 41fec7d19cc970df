"""Protobuf's binary format, read field by field before a parser sees the file.

A parser makes an object of every message, also of an empty one of two bytes, so a hostile file can take forty times its
size in memory. Counting the fields first costs nothing but time, and the count is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator

FIXED = {1: 8, 5: 4}
"""Bytes of fields with a fixed length, by type."""


class WireError(ValueError):
    """Bytes are not protobuf's format, end within a field, or have more fields than allowed."""


def fields(content: memoryview, most: int) -> Iterator[tuple[int, memoryview]]:
    """The fields of one message: number and content, empty unless a text, bytes or a message.

    Args:
        content: the message.
        most: how many fields it may have.

    Raises:
        WireError: it ends within a field, is not protobuf's format, or has more than `most` fields.
    """
    place = count = 0
    while place < len(content):
        key, place = _varint(content, place)
        start = place
        if key & 7 == 0:
            _, place = _varint(content, place)
        elif key & 7 == 2:
            length, start = _varint(content, place)
            place = start + length
        elif key & 7 in FIXED:
            place += FIXED[key & 7]
        else:
            raise WireError(f"a field of type {key & 7} at byte {start}")
        count += 1
        if place > len(content):
            raise WireError(f"a field ends {place - len(content)} bytes after the message")
        if count > most:
            raise WireError(f"a message has more than {most} fields")
        yield key >> 3, content[start:place] if key & 7 == 2 else content[:0]


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    number = 0
    for shift, byte in enumerate(content[place : place + 10]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return number, place + shift + 1
    raise WireError(f"no number at byte {place}")
