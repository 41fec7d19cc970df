"""Untrusted MATLAB files with numeric arrays and cell arrays of them.

This module parses version 5 itself: SciPy's reader follows nested cells without limit, and a file of 5 MB with deep
nesting crashes the process. h5py reads version 7.3, which is HDF5.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .._files import read_at_most
from ._proposals import ProposalError

MAX_BYTES = 2**28
"""Maximum size of a file, and of its decompressed parts together."""

MAX_CELLS = 200_000
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
HEADER = 128

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15
CELL, FIRST_NUMERIC, LAST_NUMERIC = 1, 6, 15
COMPLEX = 0x0800

Value = np.ndarray | list[np.ndarray]


def read_matlab(path: Path, names: Iterable[str]) -> dict[str, Value]:
    """Read selected variables of a `.mat` file.

    Args:
        path: a file of version 5 (`save -v6` and `-v7`) or 7.3.
        names: names of the variables.

    Returns:
        The variables that are present: arrays as in MATLAB, cell arrays as lists in MATLAB's order.

    Raises:
        ProposalError: a missing package, or a file that is missing, damaged, too large, or with a selected variable
            that is not numeric.
    """
    selected = frozenset(names)
    too_large = f"is larger than {MAX_BYTES // 2**20} MiB, too large for a file of proposals."
    content = read_at_most(path, MAX_BYTES, lambda clause: ProposalError(f"{path}: {clause}"), too_large)
    # Version 7.3 files of MATLAB begin with MATLAB's header; files of other HDF5 writers do not.
    if any(content[place : place + 8] == HDF5_MAGIC for place in (0, 512)):
        return _read_hdf5(path, selected)
    try:
        return dict(_Version5(content).variables(selected))
    except (_BrokenError, struct.error, zlib.error, ValueError, OverflowError) as error:
        raise ProposalError(f"{path}: is no MATLAB file that can be read: {error}") from error


class _BrokenError(Exception):
    """The problem of a file of version 5."""


class _Version5:
    def __init__(self, content: bytes) -> None:
        order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
        if order is None:
            raise _BrokenError("it does not begin with the header of version 5 or 7.3.")
        self._order = order
        self._content = memoryview(content)
        self._budget = MAX_BYTES

    def variables(self, selected: frozenset[str]) -> Iterator[tuple[str, Value]]:
        for kind, data in self._elements(self._content[HEADER:], aligned=False):
            if kind == COMPRESSED:
                inner = list(self._elements(self._unpacked(data)))
                if len(inner) != 1:
                    raise _BrokenError(f"a compressed part holds {len(inner)} elements in place of one.")
                kind, data = inner[0]
            if kind != MATRIX:
                raise _BrokenError(f"an element of type {kind} stands where a variable is expected.")
            name, value = self._matrix(data, selected, cells=True)
            if value is not None:
                yield name, value

    def _unpacked(self, data: memoryview) -> memoryview:
        packed = zlib.decompressobj()
        plain = packed.decompress(data, self._budget + 1)
        self._budget -= len(plain)
        if self._budget < 0:
            raise _BrokenError(f"its compressed parts unpack to more than {MAX_BYTES // 2**20} MiB.")
        if not packed.eof:
            raise _BrokenError("a compressed part is cut off.")
        return memoryview(plain)

    def _elements(self, data: memoryview, *, aligned: bool = True) -> Iterator[tuple[int, memoryview]]:
        """Iterate over elements: type and content."""
        place = 0
        while place < len(data):
            if len(data) - place < 8:
                raise _BrokenError("it ends within an element's head.")
            kind, size = struct.unpack_from(f"{self._order}II", data, place)
            start = place + 8
            if kind >> 16:  # short form: type and size in one word, content in the next
                kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
                if size > 4:
                    raise _BrokenError(f"an element of the short form claims {size} bytes.")
                place += 8
            else:
                # Compressed data are followed by the next element without padding.
                place = start + (size if kind == COMPRESSED and not aligned else -(-size // 8) * 8)
            if start + size > len(data):
                raise _BrokenError(f"an element claims {size} bytes, {len(data) - start} are left.")
            yield kind, data[start : start + size]

    def _matrix(self, data: memoryview, selected: frozenset[str], *, cells: bool) -> tuple[str, Value | None]:
        """Read name and value of a matrix; `None` if not selected. Nested cells are rejected."""
        if not len(data):  # MATLAB's encoding of an empty array inside a cell
            return "", np.zeros((0, 0))
        parts = self._elements(data)
        flags = self._numbers(next(parts, None), "flags")
        shape = [int(side) for side in self._numbers(next(parts, None), "dimensions")]
        kind, word = next(parts, (0, memoryview(b"")))
        if flags.size != 2 or kind != 1 or len(shape) < 2 or min(shape) < 0:
            raise _BrokenError("a variable's head is broken.")
        name = bytes(word).decode("latin-1")
        if name not in selected:
            return name, None
        what, count = int(flags[0]) & 0xFF, math.prod(shape)
        if what == CELL and cells:
            if count > MAX_CELLS:
                raise _BrokenError(f"variable {name:.40} has {count} cells; {MAX_CELLS} are read at most.")
            inner = []
            for kind, cell in parts:
                if kind != MATRIX:
                    raise _BrokenError(f"a cell of {name:.40} holds an element of type {kind}.")
                inner.append(self._matrix(cell, frozenset({""}), cells=False)[1])
            arrays = [item for item in inner if isinstance(item, np.ndarray)]
            if len(inner) != count or len(arrays) != count:
                raise _BrokenError(f"variable {name:.40} should have {count} cells of numbers; it has {len(arrays)}.")
            return name, arrays
        if not FIRST_NUMERIC <= what <= LAST_NUMERIC or int(flags[0]) & COMPLEX:
            raise _BrokenError(f"variable {name:.40} holds no real numbers.")
        values = self._numbers(next(parts, None), "numbers")
        if values.size != count:
            raise _BrokenError(f"variable {name:.40} should hold {count} numbers; it holds {values.size}.")
        return name, values.reshape(shape, order="F")

    def _numbers(self, element: tuple[int, memoryview] | None, what: str) -> np.ndarray:
        kind, data = element if element is not None else (0, memoryview(b""))
        if kind not in NUMBERS or len(data) % int(NUMBERS[kind][1]):
            raise _BrokenError(f"{what} of a variable are missing, or of type {kind}.")
        return np.frombuffer(data, dtype=f"{self._order}{NUMBERS[kind]}")


def _read_hdf5(path: Path, selected: frozenset[str]) -> dict[str, Value]:
    try:
        import h5py
    except ImportError as error:
        raise ProposalError(
            f"{path}: is a MATLAB file of version 7.3, which needs h5py: pip install 'excitation[grounding]'."
        ) from error
    try:
        with h5py.File(path, "r") as file:
            return {name: _hdf5_value(h5py, file, name) for name in sorted(selected) if name in file}
    # h5py raises these errors for damaged files; errors of the HDF5 library appear as OSError or RuntimeError.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        if isinstance(error, ProposalError):
            raise ProposalError(f"{path}: {error}") from error
        raise ProposalError(f"{path}: is no MATLAB file that can be read: {' '.join(str(error).split())}.") from error


def _hdf5_value(h5py: Any, file: Any, name: str) -> Value:
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ProposalError(f"variable {name} is a link; only what stands in the file itself is read.")
    budget = MAX_BYTES
    dataset = _hdf5_dataset(h5py, file[name], name)
    if dataset.dtype != h5py.ref_dtype:
        return _hdf5_numbers(dataset, name, budget)
    if dataset.size > MAX_CELLS:
        raise ProposalError(f"variable {name} has {dataset.size} cells; {MAX_CELLS} are read at most.")
    cells = []
    for reference in dataset[()].T.flatten(order="F"):
        cells.append(_hdf5_numbers(_hdf5_dataset(h5py, file[reference], name), name, budget))
        budget -= cells[-1].nbytes
    return cells


def _hdf5_dataset(h5py: Any, item: Any, name: str) -> Any:
    if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
        raise ProposalError(f"variable {name} is no array in the file itself.")
    return item


def _hdf5_numbers(dataset: Any, name: str, budget: int) -> np.ndarray:
    if dataset.dtype.kind not in "iufb":
        raise ProposalError(f"variable {name} holds no real numbers.")
    if dataset.size * dataset.dtype.itemsize > budget:
        raise ProposalError(f"variable {name} is larger than {MAX_BYTES // 2**20} MiB, too large for proposals.")
    if dataset.attrs.get("MATLAB_empty", 0):
        return np.zeros((0, 0))
    # HDF5 is row-major, MATLAB column-major.
    values: np.ndarray = np.asarray(dataset[()]).T
    return values
