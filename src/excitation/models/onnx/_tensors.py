"""Conversion of ONNX tensors to PyTorch, after a check of the declared size against the available bytes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .._loaded import ModelError
from ._external import ExternalData

TYPES: dict[int, tuple[str, str]] = {
    1: ("FLOAT", "<f4"), 2: ("UINT8", "|u1"), 3: ("INT8", "|i1"), 4: ("UINT16", "<u2"), 5: ("INT16", "<i2"),
    6: ("INT32", "<i4"), 7: ("INT64", "<i8"), 9: ("BOOL", "|b1"), 10: ("FLOAT16", "<f2"), 11: ("DOUBLE", "<f8"),
    12: ("UINT32", "<u4"), 13: ("UINT64", "<u8"), 16: ("BFLOAT16", "<u2"),
}  # fmt: skip
"""By ONNX type number: name, and NumPy type of the raw bytes (for bfloat16, of the bits)."""

REFUSED = {8: "STRING", 14: "COMPLEX64", 15: "COMPLEX128"}

FLOATING = frozenset({1, 10, 11, 16})
"""Type numbers of floating-point types. Activations are in single precision for each of these."""

MAX_RANK = 16

_FIELDS = {1: "float_data", 7: "int64_data", 11: "double_data", 12: "uint64_data", 13: "uint64_data"}
"""Fields with values that are not stored as raw bytes; `int32_data` for all other types."""


def torch_type(number: int, where: str) -> torch.dtype:
    """The PyTorch type of an ONNX type number. Unsigned types with little support in PyTorch become wider signed types.

    Raises:
        ModelError: an unsupported type: text, complex numbers, or less than one byte.
    """
    known = {
        1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.int32, 5: torch.int16, 6: torch.int32, 7: torch.int64,
        9: torch.bool, 10: torch.float16, 11: torch.float64, 12: torch.int64, 13: torch.int64, 16: torch.bfloat16,
    }  # fmt: skip
    if number not in known:
        name = REFUSED.get(number, f"number {number}")
        names = ", ".join(name for name, _ in TYPES.values())
        raise ModelError(f"{where} is of type {name}; one of {names} is expected.")
    return known[number]


def read_tensor(proto: Any, where: str, outside: ExternalData) -> torch.Tensor:
    """Read one `TensorProto` into new memory.

    Args:
        proto: the message.
        where: name of the tensor in messages.
        outside: reader of external data.

    Raises:
        ModelError: an unsupported type, or a number of elements that does not match the shape.
    """
    dtype = torch_type(proto.data_type, where)
    shape = tuple(proto.dims[: MAX_RANK + 1])
    if len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise ModelError(f"{where} has shape {shape[:MAX_RANK]}; at most {MAX_RANK} sizes of at least 0 are expected.")
    if proto.HasField("segment"):
        raise ModelError(f"{where} comes in segments, which are not supported; save the model again with onnx.save.")
    _, kind = TYPES[proto.data_type]
    count = math.prod(shape)
    numbers = _numbers(proto, np.dtype(kind), count, where, outside)
    if proto.data_type == 16:
        return torch.from_numpy(numbers.view(np.int16)).view(torch.bfloat16).reshape(shape)
    if proto.data_type in {4, 12, 13}:
        if numbers.size and int(numbers.max()) > torch.iinfo(dtype).max:
            raise ModelError(f"{where} has numbers above {torch.iinfo(dtype).max}, which are not supported.")
        numbers = numbers.astype(np.int32 if dtype == torch.int32 else np.int64)
    return torch.from_numpy(numbers).reshape(shape)


def _numbers(proto: Any, kind: Any, count: int, where: str, outside: ExternalData) -> np.ndarray[Any, np.dtype[Any]]:
    """The elements as a flat array; their number must match the shape."""
    if proto.data_location == 1:
        raw: bytes | bytearray = outside.read(proto, count * kind.itemsize, where)
    elif proto.HasField("raw_data"):
        raw = proto.raw_data
    else:
        listed = getattr(proto, _FIELDS.get(proto.data_type, "int32_data"))
        if len(listed) != count:
            raise ModelError(f"{where} has {len(listed)} numbers; its shape asks for {count}.")
        numbers = np.array(listed)
        bits = kind.str == "<f2" or proto.data_type == 16
        limits = np.iinfo(np.uint16 if bits else kind) if bits or kind.kind in "iu" else None
        if limits is not None and count and not limits.min <= numbers.min() <= numbers.max() <= limits.max:
            raise ModelError(f"{where} has numbers that its type {TYPES[proto.data_type][0]} cannot hold.")
        typed: np.ndarray[Any, np.dtype[Any]] = numbers.astype(np.uint16).view(kind) if bits else numbers.astype(kind)
        return typed
    if len(raw) != count * kind.itemsize:
        raise ModelError(f"{where} has {len(raw)} bytes; its shape asks for {count * kind.itemsize}.")
    if kind.kind == "b":
        return np.array(np.frombuffer(raw, np.uint8), dtype=bool)
    return np.array(np.frombuffer(raw, kind))
