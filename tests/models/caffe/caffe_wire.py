"""Caffemodels byte by byte, written without the reader's schema: the public wire format and field numbers."""

from __future__ import annotations

import struct

import numpy as np


def varint(number):
    out = bytearray()
    number &= (1 << 64) - 1
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def number(field, value):
    return varint(field << 3) + varint(value)


def chunk(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def blob(array, *, legacy=False, double=False, packed=True, shape=None):
    """A BlobProto; `shape` claims another one than the array's."""
    array = np.asarray(array, np.float64 if double else np.float32)
    shape = array.shape if shape is None else shape
    field, kind = (8, "<d") if double else (5, "<f")
    if packed:
        data = chunk(field, array.astype(kind).tobytes())
    else:
        tag = varint(field << 3 | (1 if double else 5))
        data = b"".join(tag + struct.pack(kind, value) for value in array.ravel())
    if legacy:
        sizes = (1,) * (4 - len(shape)) + tuple(shape)
        return b"".join(number(i, size) for i, size in enumerate(sizes, 1)) + data
    return data + chunk(7, chunk(1, b"".join(varint(size) for size in shape)))


def layer(name, *blobs, kind="Convolution"):
    """A layer of the new format, as a field of the network."""
    return chunk(100, chunk(1, name) + chunk(2, kind) + b"".join(chunk(7, item) for item in blobs))


def old_layer(name, *blobs, kind=4):
    """A layer of the old format."""
    return chunk(2, chunk(4, name) + number(5, kind) + b"".join(chunk(6, item) for item in blobs))
