"""Reading a caffemodel and loading its weights into a network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf.message import DecodeError

from .._loaded import ModelError
from .._wire import WireError, fields
from ._schema import message
from ._weighted import Bias, Normalize, Scale

MAX_BYTES = (1 << 31) - 1
"""Size limit of protobuf."""

NEUTRAL = {torch.nn.PReLU: 0.25, Normalize: 1.0, Scale: 1.0, Bias: 0.0}
"""Initial value of `weight` in layers other than convolutions and fully connected layers."""

MAX_FIELDS = 20_000
"""Maximum number of fields in the file or in a layer; more than the largest networks need."""

MAX_CHUNKS = 1024
"""Maximum number of pieces of a blob's data; common writers create one."""

KINDS = {2: "OldLayer", 100: "Layer"}
"""Message types of the network's fields that are read."""

MAX_RANDOM = 150_000_000
"""Maximum number of parameters of a network without a caffemodel; VGG-19, a large network, has 144 million.

With a caffemodel, only parameters in the file are allocated, so the file size is the limit.
"""


@dataclass
class Slot:
    """One parameter of the network, which several layers can share.

    Attributes:
        shape: required shape.
        owner: name of the layer in messages.
        users: modules and the attribute names of the parameter in them.
        values: values from the file.
    """

    shape: tuple[int, ...]
    owner: str
    users: list[tuple[torch.nn.Module, str]] = field(default_factory=list)
    values: torch.Tensor | None = None

    def place(self, values: torch.Tensor) -> None:
        """Assign one tensor to all users: as a parameter, or as a buffer for stored statistics."""
        parameter = torch.nn.Parameter(values)
        for module, name in self.users:
            if name in module._buffers:
                module._buffers[name] = values
            else:
                module._parameters[name] = parameter


def read_weights(path: Path) -> Iterator[tuple[str, Any]]:
    """Iterate over the layers of a caffemodel with weights, in file order: the name, and the blobs as messages.

    Layers are parsed one at a time, after their fields were counted. Otherwise a file of empty messages could use
    forty times its size in memory.

    Raises:
        ModelError: the file is missing, or is not a complete caffemodel.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"caffemodel {path} has {size} bytes; protobuf files end at {MAX_BYTES}.")
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise ModelError(f"caffemodel {path} cannot be read: {error.strerror or error}.") from error
    try:
        layers = [(KINDS[field], part) for field, part in fields(content, MAX_FIELDS) if field in KINDS]
        if not layers:
            raise ModelError(f"caffemodel {path} holds no layers; is it a caffemodel?")
        for kind, part in layers:
            for _ in fields(part, MAX_FIELDS):
                pass
            layer = message("weights", kind)()
            layer.ParseFromString(part.tobytes())
            if kind == "OldLayer" and layer.HasField("layer"):
                raise ModelError(
                    f"caffemodel {path} is in Caffe's format before 2014; convert it with Caffe's"
                    " upgrade_net_proto_binary."
                )
            if layer.blobs:
                yield layer.name, layer.blobs
    except (DecodeError, WireError) as error:
        raise ModelError(f"caffemodel {path} is damaged or cut short, or no caffemodel: {error}.") from error


def take_blobs(slots: Iterable[Slot], blobs: Any, where: str, dtype: torch.dtype) -> None:
    """Check the blobs of a layer against its parameters and store their values.

    Raises:
        ModelError: another number of blobs, another shape, or missing or invalid values.
    """
    expected = list(slots)
    if len(blobs) != len(expected):
        raise ModelError(f"{where}: the caffemodel has {len(blobs)} blobs for it, {len(expected)} expected.")
    for place, (slot, blob) in enumerate(zip(expected, blobs, strict=True)):
        what = f"{where}: blob {place} of the caffemodel"
        given = tuple(blob.shape.dim[:32]) if blob.HasField("shape") else None
        if given is None:
            # Old blobs without a shape field have four dimensions, with leading ones.
            given = (blob.num, blob.channels, blob.height, blob.width)
            fits = given == (1,) * (4 - len(slot.shape)) + slot.shape
        else:
            fits = given == slot.shape
        if not fits:
            raise ModelError(f"{what} has shape {given[:8]}, {slot.shape} expected; it belongs to another network.")
        numbers = blob_numbers(blob, what)
        if numbers.size != math.prod(slot.shape):
            raise ModelError(f"{what} has {numbers.size} numbers, {math.prod(slot.shape)} expected.")
        if not np.isfinite(numbers).all():
            raise ModelError(f"{what} has numbers that are NaN or infinite; the file is damaged.")
        slot.values = torch.from_numpy(numbers.reshape(slot.shape)).to(dtype)


def blob_numbers(blob: Any, what: str) -> np.ndarray[Any, np.dtype[Any]]:
    """The values of a blob, in newly allocated memory."""
    for chunks, kind in ((blob.double_data, "<f8"), (blob.data, "<f4")):
        if len(chunks) > MAX_CHUNKS:
            raise ModelError(f"{what} comes in {len(chunks)} pieces; at most {MAX_CHUNKS} are read.")
        content = b"".join(chunks)
        if len(content) % np.dtype(kind).itemsize:
            raise ModelError(f"{what} ends within a number.")
        if content:
            return np.frombuffer(bytearray(content), kind)
    # The schema declares packed numbers as bytes, so unpacked numbers appear as unknown fields.
    loose = message("weights", "Numbers")()
    try:
        loose.ParseFromString(blob.SerializeToString())
    except DecodeError as error:
        raise ModelError(f"{what} is damaged: {error}.") from error
    return np.array(loose.double_data or loose.data, "<f8" if loose.double_data else "<f4")


def random_values(slots: Iterable[Slot], dtype: torch.dtype) -> None:
    """Initialise parameters without values: weights normal with variance `2 / fan_in` (He et al. 2015), others neutral.

    The same network gets the same values each time.

    Raises:
        ModelError: too many parameters for a network without a file.
    """
    empty = [slot for slot in slots if slot.values is None]
    count = sum(math.prod(slot.shape) for slot in empty)
    if count > MAX_RANDOM:
        raise ModelError(
            f"the prototxt asks for {count} parameters ({count * dtype.itemsize / 1e9:.1f} GB); without a caffemodel at"
            f" most {MAX_RANDOM} are made up. Give the network's caffemodel."
        )
    generator = torch.Generator().manual_seed(0)
    for slot in empty:
        module, name = slot.users[0]
        neutral = _neutral(module, name)
        if neutral is None:
            values = torch.randn(slot.shape, generator=generator).mul_((2 / math.prod(slot.shape[1:])) ** 0.5)
        else:
            values = torch.full(slot.shape, neutral)
        slot.values = values.to(dtype)


def _neutral(module: torch.nn.Module, name: str) -> float | None:
    """The initial value of a parameter in Caffe; `None` for weights of convolutions and fully connected layers."""
    if name == "weight":
        return NEUTRAL.get(type(module))
    return 1.0 if name in {"variance", "factor"} else 0.0
