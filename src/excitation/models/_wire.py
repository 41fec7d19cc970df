"""A check of protobuf's binary format, field by field, before a parser reads the file.

A parser creates an object for every message, including empty messages of two bytes. A hostile file can therefore use
forty times its size in memory. Counting the fields first needs no memory, and the count is limited.
"""

from __future__ import annotations

from collections.abc import Iterator

FIXED = {1: 8, 5: 4}
"""Number of bytes of fields with a fixed length, by type."""


class WireError(ValueError):
    """The bytes are not in protobuf's format, end within a field, or contain too many fields."""


def fields(content: memoryview, most: int) -> Iterator[tuple[int, memoryview]]:
    """Iterate over the fields of one message: number and content, empty unless the field is length-delimited.

    Args:
        content: the message.
        most: maximum number of fields.

    Raises:
        WireError: the message ends within a field, is not in protobuf's format, or has more than `most` fields.
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
